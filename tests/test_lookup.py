"""Name lookups in threads of their own: few, given up at will, and in nobody's way."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from topone_proto import ConnectionFailed, Endpoint
from topone_proto.session.proxies import Proxy
from topone_websockets import _lookup, look_up, look_up_proxy
from topone_websockets._lookup import _Lookups

PATIENCE = 20.0
FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]


class Resolver:
    """In place of ``getaddrinfo``: names that begin with "slow" have to be let go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.asked: list[str] = []
        self.errors: dict[str, BaseException] = {}
        self.recovered: set[str] = set()

    def __call__(self, host: str, _port: int, *, flags: int = 0, **_: object) -> Any:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        self.asked.append(host)
        if host.startswith("slow") and host not in self.recovered:
            assert self.go_on.wait(PATIENCE)
        if host in self.errors:
            raise self.errors[host]
        return FOUND


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    monkeypatch.setattr(_lookup, "_lookups", _Lookups())
    before = set(threading.enumerate())
    yield resolver
    resolver.go_on.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_an_address_takes_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "Thread", None)
    for address in ("127.0.0.1", "::1"):
        result = look_up(address, 80)
        assert result.done()
        assert {info[4][:2] for info in result.result()} == {(address, 80)}


def test_a_name_is_looked_up_by_a_daemon(resolver: Resolver) -> None:
    result = look_up("slow.example", 443)
    [thread] = [it for it in threading.enumerate() if it.name == "topone-lookup"]
    assert thread.daemon
    resolver.go_on.set()
    assert result.result(PATIENCE) == FOUND


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "later"), socket.gaierror),
        (UnicodeError("label too long"), socket.gaierror),
        (ZeroDivisionError(), ZeroDivisionError),
    ],
    ids=repr,
)
def test_whoever_waits_is_told_of_the_error(
    resolver: Resolver, error: BaseException, kind: type[BaseException]
) -> None:
    resolver.errors["bad.example"] = error
    assert type(look_up("bad.example", 443).exception(PATIENCE)) is kind
    assert look_up("good.example", 443).result(PATIENCE) == FOUND


def lookups() -> int:
    return [thread.name for thread in threading.enumerate()].count("topone-lookup")


def test_a_name_that_hangs_takes_two_threads_however_often_it_is_dialled(
    resolver: Resolver,
) -> None:
    hanging = [look_up("slow.example", 443) for _ in range(100)]
    assert lookups() == 2
    given_up = hanging.pop()
    assert given_up.cancel()
    resolver.go_on.set()
    assert all(result.result(PATIENCE) == FOUND for result in hanging)
    assert resolver.asked == ["slow.example"] * 2


def test_names_that_hang_hold_no_other_up(resolver: Resolver) -> None:
    for number in range(20):
        look_up(f"slow{number}.example", 443)
        look_up(f"slow{number}.example", 443)
    assert look_up("slow0.example", 443).done() is False
    assert look_up("quick.example", 443).result(PATIENCE) == FOUND


def test_the_answer_that_comes_first_is_that_of_everybody_who_waits(resolver: Resolver) -> None:
    first = look_up("slow.example", 443)
    while not resolver.asked:
        pass
    # The trouble of the name server is over, and the first lookup still hangs.
    resolver.recovered.add("slow.example")
    assert look_up("slow.example", 443).result(PATIENCE) == FOUND
    assert first.result(PATIENCE) == FOUND
    assert len(resolver.asked) == 2


def test_a_name_is_forgotten_when_nothing_of_it_is_left(resolver: Resolver) -> None:
    for number in range(10):
        assert look_up(f"{number}.example", 443).result(PATIENCE) == FOUND
    assert (dict(_lookup._lookups._threads), dict(_lookup._lookups._waiting)) == ({}, {})


def test_those_given_up_do_not_pile_up(resolver: Resolver) -> None:
    for _ in range(100):
        look_up("slow.example", 443).cancel()
    assert len(_lookup._lookups._waiting["slow.example", 443]) <= 1


def test_without_a_thread_there_is_no_lookup(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert isinstance(look_up("one.example", 443).exception(0), OSError)
    assert look_up("two.example", 443).result(PATIENCE) == FOUND
    assert resolver.asked == ["two.example"]


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_a_proxy_is_looked_up_where_the_system_is_asked(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def proxy_for(endpoint: Endpoint) -> Proxy | None:
        asked_by.append(threading.current_thread().name)
        if endpoint.is_tls:
            raise failure
        return None

    asked_by: list[str] = []
    failure = ConnectionFailed(None)  # type: ignore[arg-type]  # nobody looks at it
    monkeypatch.setattr(_lookup, "proxy_for", proxy_for)
    monkeypatch.setattr(sys, "platform", platform)
    assert look_up_proxy(Endpoint("ws://localhost/")).result(0) is None
    result = look_up_proxy(Endpoint("wss://exchange.example/"))
    assert result.done() or platform != "linux"
    assert result.exception(PATIENCE) is failure
    here = threading.current_thread().name
    assert asked_by == [here, here if platform == "linux" else "topone-lookup"]


HANGING = """
import socket, threading
from topone_websockets import look_up

real, begun = socket.getaddrinfo, threading.Event()

def hang(*arguments, flags=0, **named):
    if flags:
        return real(*arguments, flags=flags, **named)
    begun.set()
    threading.Event().wait()

socket.getaddrinfo = hang
look_up("slow.example", 443)
begun.wait()
"""


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
    )


def test_no_exit_waits_for_a_lookup_that_hangs() -> None:
    done = python(HANGING + "print('ends')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ends\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_lookups_of_its_own() -> None:
    program = """
import os
hanging = [look_up("localhost", 443) for _ in range(2)]
socket.getaddrinfo = real
child = os.fork()
if not child:
    os._exit(0 if look_up("localhost", 443).result(15) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert not look_up("localhost", 443).done()
"""
    done = python("import warnings; warnings.simplefilter('ignore')" + HANGING + program)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    def info(address: str) -> Any:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return (family, socket.SOCK_STREAM, 6, "", (address, 443))

    found = [info(address) for address in ("::1", "::2", "::3", "192.0.2.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    addresses = [info[4][0] for info in look_up("exchange.example", 443).result(PATIENCE)]
    assert addresses == ["::1", "192.0.2.1", "::2", "::3"]
