"""The examples: every one lives the same life, whatever framework it is made of.

Each runs in a process of its own, as frameworks that own their process want it.
"""

import importlib
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application
from websockets.utils import accept_key

from commands import BOUND, PLAIN, SECRET, ended, interrupt, read_until
from feedlog import ETH, ORDER
from topone_proto import FeedFailed
from topone_proto.exchange import (
    DropConnections,
    GoSilent,
    IgnoreHandshake,
    RefuseHandshake,
    SendRaw,
)
from topone_proto.wire.orders import OrderStatus
from topone_simulator import Simulator, run_in_thread, serve

pytestmark = pytest.mark.thorough

EXAMPLES = Path(__file__).parent.parent / "examples"
BROWSER = Path(__file__).parent / "browser.py"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
# As a program runs it, but with settings of a test's, and telling of pongs.
PROGRAM = f"""
import importlib, json, sys
from topone_proto import Session, SessionConfig

heard = Session.pong_received

def pong_received(self, payload, now):
    print("Pong")
    return heard(self, payload, now)

Session.pong_received = pong_received
sys.path.insert(0, {str(EXAMPLES)!r})
name, url, config = sys.argv[1:]
importlib.import_module(name).main(url, SessionConfig(**json.loads(config)))
"""
QUICK = {"retry_first": 0.01, "retry_base": 0.01}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with run_in_thread(tokens={SECRET: "someone"}) as simulator:
        yield simulator


@pytest.fixture
def secure_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """One that speaks TLS, with a certificate that examples find to be good."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setitem(PLAIN, "SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with run_in_thread(tokens={SECRET: "someone"}, ssl_context=context) as simulator:
        yield simulator


# txaio, below autobahn, on Python 3.14.
FOREIGN = "ignore:'asyncio.iscoroutinefunction':DeprecationWarning"


def running(name: str, url: str, **config: Any) -> AbstractContextManager["subprocess.Popen[str]"]:
    return started("-c", PROGRAM, name, url, json.dumps(QUICK | config))


@contextmanager
def started(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-uW", "error", "-W", FOREIGN, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=PLAIN | {"TOPONE_TOKEN": SECRET, "QT_QPA_PLATFORM": "offscreen", "PORT": "0"},
    )
    hung = threading.Timer(BOUND, process.kill)
    hung.start()
    try:
        yield process
    finally:
        hung.cancel()
        process.kill()
        process.communicate()


def told(lines: list[str]) -> list[str]:
    """The events among the lines: which, and of which topic if of any."""
    short = []
    for line in lines:
        topic = re.search(r"Topic\(name='(\w+)'\)", line)
        if event := re.match(r"([A-Z]\w+)\(", line):
            short.append(f"{event[1]} {topic[1]}" if topic else event[1])
    return short


def is_told(wanted: str | tuple[str, ...], text: str = "", times: int = 1) -> Callable[[str], bool]:
    """True at the given time that an event that is wanted comes, and its line has the text."""
    left = times

    def look(line: str) -> bool:
        nonlocal left
        left -= line.startswith(wanted) and text in line
        return left == 0

    return look


@pytest.mark.parametrize("name", NAMES)
def test_an_example_lives_the_life_of_a_feed(
    name: str, simulator: Simulator, secure_simulator: Simulator
) -> None:
    if name != "qt_client":  # which looks for certificates elsewhere
        simulator = secure_simulator
    with running(name, simulator.url) as process:
        lines = read_until(process, is_told("Subscribed", times=2))
        simulator.publish(ORDER)
        lines += read_until(process, is_told("OrderUpdate"))
        simulator.inject(DropConnections())
        lines += read_until(process, is_told("Gap", times=2))
        simulator.publish(ETH)
        lines += read_until(process, is_told("BalanceUpdate"))
        simulator.inject(RefuseHandshake(403))
        simulator.inject(DropConnections())
        code, out, err = ended(process)
    assert told(lines + out.splitlines()) == [
        "Connected",
        "Subscribed orders",
        "Subscribed balance",
        "OrderUpdate",
        "Disconnected",
        "Connected",
        "Subscribed orders",
        "Gap orders",
        "Subscribed balance",
        "Gap balance",
        "BalanceUpdate",
        "Disconnected",
        "Disconnected",
        "Closed",
    ]
    # What went wrong, and what to check.
    assert code == 1
    [line] = err.splitlines()
    assert "HTTP 403" in line
    assert "get a new one" in line
    assert SECRET not in "".join(lines) + out + err
    assert all(handshake.header("Origin") is None for handshake in simulator.handshakes)
    assert len(simulator.handshakes) == 3


@pytest.mark.parametrize("name", NAMES)
def test_an_example_gives_up_what_does_not_answer(name: str, simulator: Simulator) -> None:
    simulator.inject(IgnoreHandshake())
    config = {"open_timeout": 0.3, "ping_interval": 0.1, "pong_timeout": 0.5, "max_frame_size": 999}
    with running(name, simulator.url, **config) as process:
        read_until(process, is_told("Disconnected", "timeout"))
        read_until(process, is_told("Connected"))
        read_until(process, is_told("Pong", times=2))
        simulator.inject(SendRaw("x" * 1000))
        [*_, end] = read_until(process, is_told(("Disconnected", "Malformed")))
        assert "Malformed" not in end
        read_until(process, is_told("Connected"))
        simulator.inject(GoSilent())
        read_until(process, is_told("Disconnected", "pong_timeout"))
        read_until(process, is_told("Subscribed", times=2))
        # The one that went silent was dropped, and before the next one was made.
        assert simulator.connections == 1
        code, out, err = interrupt(process)
    assert told(out.splitlines())[-1] == "Closed"
    assert (code, err) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_an_example_follows_no_redirect_and_dials_only_when_told(name: str) -> None:
    # The second wait is without end, as far as a test can tell.
    config = {"retry_base": 1e6, "retry_cap": 1e6}
    with socket.create_server(("127.0.0.1", 0)) as server:
        # A client that never comes fails the test, in place of having it wait for ever.
        server.settimeout(60)
        url = f"ws://127.0.0.1:{server.getsockname()[1]}/"
        found = f"HTTP/1.1 302 Found\r\nLocation: {url}elsewhere\r\nContent-Length: 0\r\n\r\n"
        with running(name, url, **config) as process:
            for answer, text in ((found.encode(), "status=302"), (b"", "status=None")):
                connection, _ = server.accept()
                with connection:
                    assert connection.recv(65536).startswith(b"GET /?token=")
                    connection.sendall(answer)
                read_until(process, is_told("Disconnected", text))
            code, out, err = interrupt(process)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert told(out.splitlines()) == ["Closed"]
    assert (code, err) == (0, "")


READS_ONCE = f"""
import importlib, sys
sys.path.insert(0, {str(EXAMPLES)!r})
example = importlib.import_module(sys.argv[1])
lost = []
class Link:
    address, timeout, connection_made = ("127.0.0.1", 1), 1, lambda _: None
    connection_lost = lambda _, *why: lost.append(why)
    def bytes_received(self, data):
        raise ConnectionResetError("of a database")
class Socket:
    settimeout, recv = lambda *_: None, lambda *_: b"x"
example.socket.create_connection = lambda *_: Socket()
stream = object.__new__(example.Stream)
stream.link, stream.sock = Link(), Socket()
try:
    stream.read()
except ConnectionResetError as error:
    print(error, lost)
"""


@pytest.mark.parametrize("name", ["gevent_client", "poller"])
def test_what_an_application_raises_is_no_end_of_its_connection(name: str) -> None:
    with started("-c", READS_ONCE, name) as process:
        out, err = process.communicate()
    assert (out, err) == ("of a database []\n", "")


@pytest.mark.parametrize("name", ["gevent_client", "poller"])
def test_code_that_sends_by_itself_gives_up_a_server_that_reads_nothing(name: str) -> None:
    # So that nothing else ends it.
    config = {"open_timeout": 0.3, "ping_interval": None, "silence_timeout": 1000.0}
    with socket.create_server(("127.0.0.1", 0)) as server:
        # A client that never comes fails the test, in place of having it wait for ever.
        server.settimeout(60)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        url = f"ws://127.0.0.1:{server.getsockname()[1]}/"
        with running(name, url, **config) as process:
            connection, _ = server.accept()
            with connection:
                key = re.search(rb"Sec-WebSocket-Key: (\S+)", connection.recv(65536))
                assert key is not None
                connection.sendall(
                    b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_key(key[1].decode()).encode()
                )
                read_until(process, is_told("Connected"))
                # Each of these has to be answered.
                pings = (b"\x89\x7d" + b"x" * 125) * 1000
                with suppress(OSError):
                    while True:
                        connection.sendall(pings)
                read_until(process, is_told("Disconnected"))
            code, _, err = interrupt(process)
    assert (code, err) == (0, "")


@pytest.mark.asyncio
async def test_a_page_says_that_its_feed_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    example = importlib.import_module("aiohttp_sse")
    app = Application()
    async with serve() as simulator:
        example.add_account(app, url=simulator.url, token="wrong")
        async with TestClient(TestServer(app)) as client, client.get("/events") as page:
            said = b""
            while b"the feed has ended" not in said:
                said = await page.content.readline()
            assert b"get a new one" in said
        with pytest.raises(FeedFailed):
            await app[example.FOLLOWER]


def test_a_page_in_a_browser_shows_the_account_as_it_changes(simulator: Simulator) -> None:
    with running("aiohttp_sse", simulator.url) as server:
        [*_, line] = read_until(server, is_told("open"))
        read_until(server, is_told("Subscribed", times=2))
        look = (
            'document.querySelector("#feed").textContent == "connected, connection 1"',
            'document.querySelectorAll("tbody tr").length == 2 && document.body.innerText',
            'document.querySelector("#feed").textContent.includes("2 gaps")',
            "document.documentElement.scrollWidth",
        )
        with started(str(BROWSER), line.split()[1], "360", *look) as browser:
            read_until(browser, lambda found: found == "true\n")
            simulator.publish(ETH, attrs.evolve(ORDER, status=OrderStatus.PENDING))
            [found] = read_until(browser, lambda _: True)
            simulator.inject(DropConnections())
            code, out, err = ended(browser)
        interrupt(server)
    rows = json.loads(found).splitlines()
    assert "ETH\t99999980.24173\t23.596" in rows
    assert "ETH/BTC\tbuy\t0.08132\t0" in rows
    # It fits a phone.
    assert (code, out) == (0, "true\n360\n"), err
