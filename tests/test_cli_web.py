"""The page of ``topone account --web``: what it shows, to whom, and in a real browser."""

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from subprocess import PIPE, Popen
from urllib.parse import urlsplit

import pytest
from attrs import evolve

from accounts import order
from commands import BOUND, SECRET, ended, read_until, running
from topone_cli._account_view import AccountLife
from topone_cli._errors import CommandFailed
from topone_cli._output import PlainLines
from topone_cli._snapshot import snapshot
from topone_cli._web import WebPage, shown_on_page
from topone_proto import BALANCE, Balance, Connected, Order, Side
from topone_proto.account import (
    AggregatedFill,
    BalanceChanged,
    Knowledge,
    KnowledgeChanged,
    OrderChanged,
    OutcomeUnknown,
)
from topone_proto.exchange import DropConnections
from topone_simulator import Simulator, run_in_thread

pytestmark = pytest.mark.thorough

NOON = 1_800_000_000.0
BROWSER = Path(__file__).with_name("browser.py")
EVIL = "<script>alert(1)</script>"


@contextmanager
def page() -> Iterator[tuple[WebPage, str, list[str]]]:
    lines: list[str] = []
    urls: list[str] = []
    with shown_on_page(PlainLines(lines.append), lambda: "the title", 0, urls.append) as output:
        assert isinstance(output, WebPage)
        yield output, urls[0], lines


@contextmanager
def asked(url: str, **headers: str) -> Iterator[HTTPResponse]:
    parts = urlsplit(url)
    with closing(HTTPConnection(parts.hostname or "", parts.port, timeout=BOUND)) as connection:
        connection.putrequest("GET", parts.path, skip_host="Host" in headers)
        for name, text in headers.items():
            connection.putheader(name, text)
        connection.endheaders()
        with connection.getresponse() as answer:
            yield answer


def status(url: str, **headers: str) -> int:
    with asked(url, **headers) as answer:
        return answer.status


def shown(answer: HTTPResponse) -> dict[str, object]:
    """The next picture of a stream."""
    for line in answer:
        if line.startswith(b"data: {"):
            found: dict[str, object] = json.loads(line[6:])
            return found
    raise AssertionError("it has ended")


# --- what it shows -------------------------------------------------------------------------------


def test_a_snapshot_has_all_and_marks_what_is_not_certain() -> None:
    life = AccountLife()
    strange = evolve(order(1, 2), market=EVIL)
    for event in (
        Connected(1),
        OrderChanged(None, strange, None, healed=True),
        AggregatedFill(strange, None, Decimal(2), Decimal(4), healed=True),
        BalanceChanged(None, Balance("BTC", Decimal("1.50"), Decimal(0)), 5),
        KnowledgeChanged(BALANCE, Knowledge.UNKNOWN, Knowledge.WHOLE),
        OutcomeUnknown(order(7)),
    ):
        life.take(event, NOON)
    life.note(f"a note with {SECRET} in it", NOON)
    found = snapshot(life, "the title", NOON)
    assert found["balances"] == {
        "known": "whole",
        "rows": [{"cells": ["BTC", "1.5", "0", "stream"], "unsure": False}],
    }
    assert (found["open"]["known"], found["open"]["total"]) == ("so far", 1)
    assert found["open"]["rows"][0]["cells"][:2] == ["1", EVIL]
    assert found["fills"][0]["cells"][3:] == ["2*", "2", "HTTP"]
    assert found["closed"][0]["cells"][3] == "outcome unknown"
    assert "unknown outcomes 1" in found["facts"]
    assert SECRET not in json.dumps(found)


def test_the_stream_has_a_picture_at_once_and_after_each_change() -> None:
    with page() as (output, url, lines), asked(f"{url}events") as stream:
        assert stream.headers.get_content_type() == "text/event-stream"
        assert shown(stream)["state"] == "connecting"
        output.event(Connected(1), NOON)
        assert shown(stream)["state"] == "connected"
        output.note("hello", NOON)
        assert "hello" in json.dumps(shown(stream)["log"])
    assert len(lines) == 2  # the other output has it, too


def test_at_the_end_it_shows_the_last_picture_and_lets_go() -> None:
    with ExitStack() as stack:
        with page() as (output, url, _):
            stream = stack.enter_context(asked(f"{url}events"))
            shown(stream)
            output.note("the end", NOON)
        assert "the end" in stream.read().decode()
    assert not [each for each in threading.enumerate() if each.name == "topone page"]


def test_a_reader_that_has_left_costs_nothing() -> None:
    with page() as (output, url, _):
        for _ in range(3):
            with asked(f"{url}events"):
                pass
        output.event(Connected(1), NOON)
        with asked(f"{url}events") as stream:
            assert shown(stream)["state"] == "connected"


# --- who may see it ------------------------------------------------------------------------------


def test_its_parts_come_from_it_alone() -> None:
    with page() as (_, url, _):
        for name, kind in (("", "html"), ("page.css", "css"), ("page.js", "javascript")):
            with asked(url + name) as answer:
                text = answer.read().decode()
            assert (answer.status, answer.headers.get_content_subtype()) == (200, kind)
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'")
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert "://" not in text.replace("https://www.w3.org", "")


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}"),
        *("127.0.0.1", "localhost:1", ""),
    ],
)
def test_another_host_is_refused(host: str) -> None:
    with page() as (_, url, _), asked(url, Host=host.format(port=urlsplit(url).port)) as answer:
        assert answer.status == 421
        assert b"<" not in answer.read()


def test_localhost_is_this_machine() -> None:
    with page() as (_, url, _):
        assert status(url, Host=f"localhost:{urlsplit(url).port}") == 200


def test_without_its_path_there_is_nothing() -> None:
    with page() as (_, url, _), page() as (_, other, _):
        assert urlsplit(url).path != urlsplit(other).path
        root = url.removesuffix(urlsplit(url).path)
        for path in ("/", "/events", "/index.html", urlsplit(other).path):
            assert status(root + path) == 404
        assert status(f"{url}_web.py") == 404
        assert status(f"{url}..%2f_web.py") == 404


def test_it_listens_on_loopback_only() -> None:
    with page() as (_, url, _):
        port = urlsplit(url).port
        assert urlsplit(url).hostname == "127.0.0.1"
        with socket.socket() as other:
            # Another address of this machine is free.
            other.bind(("127.0.0.2", port or 0))


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(CommandFailed, match=rf"cannot listen on 127.0.0.1:{port} .*--port"),
            shown_on_page(PlainLines(), str, port, pytest.fail),
        ):
            pass


# --- in a browser --------------------------------------------------------------------------------


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with run_in_thread(rate=0.0, tokens={SECRET: "demo"}) as simulator:
        yield simulator


def place(simulator: Simulator) -> int:
    changes = simulator.live(
        lambda account, now: account.place(
            "ETH/BTC", Side.BUY, Decimal(2), now, price=Decimal("0.01")
        )
    )
    return next(each.id for each in changes if isinstance(each, Order))


def test_in_a_browser_it_is_whole_then_marked_then_whole_again(simulator: Simulator) -> None:
    number = place(simulator)
    urls = ("--url", simulator.url, "--http-url", simulator.http_url)
    with running("account", *urls, "--web", "--json", token=SECRET) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert said.startswith("topone: the page is at http://127.0.0.1:")
        look = (
            (
                "document.querySelector('#open-title .whole') && "
                f"document.getElementById('open').textContent.includes('{number}')"
            ),
            "document.querySelectorAll('tr.unsure').length",
            "/missed [1-9]/.test(document.getElementById('facts').textContent)",
            # Nothing is cut at the width of a phone.
            "document.documentElement.scrollWidth <= window.innerWidth",
            (
                "[...document.querySelectorAll('#open td, #balances td')]"
                ".every(td => td.scrollWidth <= td.clientWidth + 1)"
            ),
            "document.documentElement.outerHTML",
            "!document.getElementById('gone').hidden",
        )
        page = said.split()[-1]
        with Popen(
            [sys.executable, BROWSER, page, "380", *look], stdout=PIPE, text=True
        ) as browser:
            read_until(browser, lambda found: found == "true\n")
            simulator.inject(DropConnections())
            simulator.live(lambda account, now: account.fill(number, Decimal(1), now))
            read_until(browser, lambda found: found.strip().isdigit())
            for _ in range(3):
                read_until(browser, lambda found: found == "true\n")
            [html] = read_until(browser, lambda _: True)
            assert SECRET not in html
            process.terminate()
            read_until(browser, lambda found: found == "true\n")
            code, _, _ = ended(browser)
        assert code == 0
        assert process.wait(BOUND) == 130
