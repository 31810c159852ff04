"""Credentials, permissions and TLS of the buses on real servers, as `relay-buses.md` shows them."""

import asyncio
import io
import logging
import re
import ssl
import traceback
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import nkeys
import pytest
import trustme

import topone_nats
import topone_redis
from bus_plays import LONG, acquire, messages, take_messages
from bus_servers import NatsServer, Server, ValkeyServer, running
from proxies import fault_proxy
from topone_proto import ConfigurationError
from topone_relay import Bus, BusRefused, BusUnavailable

PAGE = (Path(__file__).parents[2] / "docs" / "relay-buses.md").read_text("utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SECRET = "s3cr3t-0f-the-bus"
NATS_USERS = f'authorization {{ users = [ {{ user: relay, password: "{SECRET}" }} ] }}'
VALKEY_USERS = f"user default off\nuser relay on >{SECRET} ~* &* +@all\n"


def shown(title: str) -> str:
    """Return the configuration in the page that begins with this comment."""
    [found] = re.findall(
        rf"^```text\n(# {re.escape(title)}.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    )
    assert isinstance(found, str)
    return found


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    names = ["", "nats", "nats.aio.client", "redis", "asyncio"]
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    yield text
    logging.getLogger().removeHandler(handler)
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def rendered(error: BaseException | None) -> str:
    """Return an exception, and whatever it came from, as the chattiest tools show it."""
    if error is None:
        return ""
    lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    # The frames of this very file have what they give.
    frames = [line for line in lines if f'File "{__file__}"' not in line]
    shown = "".join(frames) + repr(error) + str(error) + repr(error.__dict__)
    return shown + rendered(error.__context__) + rendered(error.__cause__)


# --- The page's own programs and settings


def test_the_first_program_of_relay_buses_md(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(NatsServer(tmp_path)) as server:
        program = PYTHON[0].replace("localhost:4222", server.address)
        exec(compile(program, "relay-buses.md", "exec"), {})
    assert capsys.readouterr().out == "b'hello'\n"


def test_the_other_programs_of_relay_buses_md_only_connect() -> None:
    for program in PYTHON[1:]:
        exec(compile(program, "relay-buses.md", "exec"), {"password": "x"})


async def check_permissions(relay: Bus, dashboard: Bus) -> None:
    """Everything that each of the two does, and some of what the dashboard must not."""
    lease = await acquire(relay, "main")
    other = await acquire(relay, "other")
    await relay.announce("node", b"info", LONG)
    place = await relay.publish(lease, 1, b"1")
    await relay.publish(other, 1, b"secret")
    await relay.point(lease, 1, place)
    assert await relay.renew(lease)
    assert (await relay.cluster()).leases["main"] == lease
    assert await relay.swap_state("main", b"state", b"") is None
    assert await relay.load_state("main") == b"state"
    await relay.leave("node")
    pointer = await dashboard.pointer("main")
    assert pointer is not None
    assert await messages(dashboard, "main", 1, pointer.place) == [b"1"]
    assert await dashboard.bookmark("main", "dashboard") == b""
    await dashboard.keep_bookmark("main", "dashboard", b"kept")
    assert await dashboard.bookmark("main", "dashboard") == b"kept"
    for refused in (
        messages(dashboard, "other", 1),
        dashboard.pointer("other"),
        dashboard.bookmark("main", "somebody"),
        dashboard.keep_bookmark("main", "somebody", b""),
        dashboard.load_state("main"),
        dashboard.swap_state("main", b"x", b"state"),
        dashboard.acquire("main", "dashboard", LONG),
        dashboard.release(lease),
        dashboard.announce("dashboard", b"", LONG),
        dashboard.publish(lease, 2, b"forged"),
        dashboard.point(lease, 2, place),
        dashboard.cluster(),
    ):
        with pytest.raises(BusRefused, match="permi"):
            await refused
    async with aclosing(dashboard.read("main")) as reading:
        assert await take_messages(reading, 1) == [b"1"]
        await relay.publish(lease, 2, b"2")
        assert await take_messages(reading, 1) == [b"2"]
    await relay.release(lease)


@pytest.mark.asyncio
async def test_the_permissions_on_nats_are_enough_and_no_more(tmp_path: Path) -> None:
    config = shown("authorization.conf")
    with running(NatsServer(tmp_path, config)) as server:
        url = f"nats://{server.address}"
        async with (
            topone_nats.connect(
                url, user="relay", password="change me 1", inbox_prefix="_INBOX.relay"
            ) as relay,
            topone_nats.connect(
                url, user="dashboard", password="change me 2", inbox_prefix="_INBOX.dashboard"
            ) as dashboard,
        ):
            await check_permissions(relay, dashboard)
        listens = topone_nats.connect(url, user="dashboard", password="change me 2")
        async with listens:
            with pytest.raises(BusRefused, match="subscribe to _inbox"):
                await listens.pointer("main")


@pytest.mark.asyncio
async def test_the_permissions_on_redis_are_enough_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "users.acl").write_text(shown("users.acl").partition("\n")[2], "utf-8")
    with running(ValkeyServer(tmp_path, f"aclfile {tmp_path}/users.acl")) as server:
        url = f"redis://{server.address}"
        async with (
            topone_redis.connect(url, username="relay", password="change-me-1") as relay,
            topone_redis.connect(url, username="dashboard", password="change-me-2") as dashboard,
        ):
            await check_permissions(relay, dashboard)


@pytest.mark.asyncio
async def test_a_relay_that_may_make_no_stream_uses_one_or_says_so(tmp_path: Path) -> None:
    config = re.sub(r'"\$JS.API.STREAM.CREATE.*"', "", shown("authorization.conf"))
    with running(NatsServer(tmp_path, config)) as server:
        options: dict[str, Any] = {
            "user": "relay",
            "password": "change me 1",
            "inbox_prefix": "_INBOX.relay",
        }
        async with topone_nats.connect(f"nats://{server.address}", **options) as relay:
            with pytest.raises(BusRefused, match="'KV_topone-leases', and this user is not"):
                await relay.acquire("main", "node", LONG)


# --- Credentials


@pytest.fixture(params=["nats", "redis"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "users.acl").write_text(VALKEY_USERS, "utf-8")
    server: Server
    if request.param == "nats":
        server = NatsServer(tmp_path, NATS_USERS)
    else:
        server = ValkeyServer(tmp_path, f"aclfile {tmp_path}/users.acl")
    with running(server):
        yield server


def open_bus(server: Server, user: str, password: str, *, in_url: bool) -> Bus:
    at = f"{user}:{password}@" if in_url else ""
    names: dict[str, Any]
    if server.kind == "nats":
        names = {} if in_url else {"user": user, "password": password}
        return topone_nats.connect(f"nats://{at}{server.address}", **names)
    names = {} if in_url else {"username": user, "password": password}
    return topone_redis.connect(f"redis://{at}{server.address}", **names)


@pytest.mark.asyncio
@pytest.mark.parametrize("in_url", [True, False])
async def test_a_password_lets_in_and_is_nowhere(
    guarded: Server, logged: io.StringIO, in_url: bool
) -> None:
    async with open_bus(guarded, "relay", SECRET, in_url=in_url) as bus:
        lease = await acquire(bus, "main")
        await bus.publish(lease, 1, b"1")
        guarded.stop()
        with pytest.raises(BusUnavailable) as lost:
            await bus.publish(lease, 2, b"2")
        with pytest.raises(BusUnavailable) as away:
            await bus.cluster()
        guarded.start()
        assert SECRET not in repr(bus) + repr(vars(bus))
    wrong = SECRET + "x"
    async with open_bus(guarded, "relay", wrong, in_url=in_url) as bus:
        with pytest.raises(BusRefused, match="refuses the credentials") as refused:
            await bus.acquire("main", "node", LONG)
        with pytest.raises(BusRefused, match="refuses the credentials"):
            await messages(bus, "main", 1)
    for error in (lost.value, away.value, refused.value):
        assert SECRET not in rendered(error)
        assert guarded.address not in str(error)
    assert SECRET not in logged.getvalue()


@pytest.mark.asyncio
async def test_a_token_of_the_nats_server_lets_in(tmp_path: Path) -> None:
    with running(NatsServer(tmp_path, f'authorization {{ token: "{SECRET}" }}')) as server:
        url = f"nats://{server.address}"
        async with topone_nats.connect(url, token=SECRET) as bus:
            await acquire(bus, "main")
        async with topone_nats.connect(url) as bus:
            with pytest.raises(BusRefused, match="refuses the credentials"):
                await bus.acquire("main", "node", LONG)


@pytest.mark.asyncio
async def test_an_nkey_lets_in(tmp_path: Path) -> None:
    seed = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER)
    pair: Any = nkeys.from_seed(bytearray(seed))
    public = pair.public_key.decode()
    (tmp_path / "seed").write_bytes(seed)
    config = f"authorization {{ users = [ {{ nkey: {public} }} ] }}"
    with running(NatsServer(tmp_path, config)) as server:
        url = f"nats://{server.address}"
        async with topone_nats.connect(url, nkeys_seed=str(tmp_path / "seed")) as bus:
            await acquire(bus, "main")


# --- TLS


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """A CA, with its certificate and one for localhost in files."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority


@pytest.mark.asyncio
async def test_nats_over_tls(tmp_path: Path, authority: trustme.CA) -> None:
    config = f'tls {{ cert_file: "{tmp_path}/cert.pem", key_file: "{tmp_path}/key.pem" }}'
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with running(NatsServer(tmp_path, config)) as server:
        url = f"tls://localhost:{server.port}"
        await check_tls(topone_nats.connect(url, tls=context), topone_nats.connect(url))


@pytest.mark.asyncio
async def test_redis_over_tls(tmp_path: Path, authority: trustme.CA) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    # The server of these tests is built without TLS.
    with running(ValkeyServer(tmp_path)) as server, fault_proxy(server.address, context) as proxy:
        url = f"rediss://localhost:{proxy.port}"
        bus = topone_redis.connect(url, ssl_ca_certs=str(tmp_path / "ca.pem"))
        await check_tls(bus, topone_redis.connect(url))


async def check_tls(bus: Bus, stranger: Bus) -> None:
    async with bus, stranger:
        lease = await acquire(bus, "main")
        await bus.publish(lease, 1, b"1")
        assert await messages(bus, "main", 1) == [b"1"]
        with pytest.raises(BusRefused, match="certificate is not accepted"):
            await stranger.acquire("main", "node", LONG)
        with pytest.raises(BusRefused, match="certificate is not accepted"):
            await messages(stranger, "main", 1)


# --- Options


@pytest.mark.parametrize("kind", ["nats", "redis"])
def test_an_option_that_cannot_be_used_is_refused_at_once(kind: str) -> None:
    connect: Any = topone_nats.connect if kind == "nats" else topone_redis.connect
    good = f"{kind}://localhost"
    for arguments, options in (
        (("",), {}),
        (("http://localhost",), {}),
        ((good,), {"prefix": "a.b"}),
        ((good,), {"prefix": ""}),
        ((good,), {"timeout": 0}),
        ((good,), {"heartbeat": float("inf")}),
        ((good,), {"no_such_option": SECRET}),
        ((good,), {"closed_cb" if kind == "nats" else "protocol": SECRET}),
        ((f"{kind}://relay:{SECRET}@localhost:port",), {}),
    ):
        with pytest.raises(ConfigurationError) as refused:
            connect(*arguments, **options)
        assert SECRET not in rendered(refused.value)


def test_limits_are_checked() -> None:
    for limits in (topone_nats.StreamLimits, topone_redis.StreamLimits):
        with pytest.raises(ValueError, match="max_age"):
            limits(max_age=0)


def test_a_bus_needs_no_loop_to_be_made() -> None:
    bus = topone_nats.connect(["nats://localhost:1", "localhost:2"])
    asyncio.run(bus.close())
    asyncio.run(topone_redis.connect("redis://localhost:1").close())
