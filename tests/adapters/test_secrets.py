"""The token is nowhere: not in a log of any library at any level, not in an exception, its chain or
its frames' locals, not in an event."""

import gc
import io
import logging
import ssl
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from rich.console import Console
from rich.traceback import Traceback

import topone_asyncio
import topone_threads
import topone_trio
from feedlog import hanging_up, until
from portals import Open
from topone_proto import ConfigurationError, Endpoint, FeedFailed, SessionConfig, Subscribed
from topone_proto.exchange import (
    AnswerGarbage,
    Fault,
    IgnoreHandshake,
    RefuseHandshake,
)
from topone_simulator import Simulator, run_in_thread

pytestmark = pytest.mark.thorough

# Never a local variable of a test: its own frames are in the tracebacks, too.
SECRET = "topapi:t0p-s3cr3t-%t0ken"
IN_URL = "t0p-s3cr3t-%25t0ken"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that any logger has to say at any level, also loggers that were made before."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s %(exc_info)s"))
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in logging.root.manager.loggerDict)]
    loggers.append(logging.getLogger("asyncio"))
    before = [(logger, logger.level, logger.disabled) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.disabled = False
    root.addHandler(handler)
    yield text
    root.removeHandler(handler)
    for logger, level, disabled in before:
        logger.setLevel(level)
        logger.disabled = disabled


def is_clean(text: str) -> bool:
    return SECRET not in text and IN_URL not in text and "t0p-s3cr3t" not in text


def rendered(error: BaseException) -> str:
    """An exception as the chattiest tools show it."""
    screen = Console(file=io.StringIO(), width=200)
    screen.print(
        Traceback.from_exception(
            type(error), error, error.__traceback__, show_locals=True, locals_max_length=1000,
            locals_max_string=100_000,
        )
    )  # fmt: skip
    assert isinstance(screen.file, io.StringIO)
    python = "".join(
        traceback.TracebackException.from_exception(error, capture_locals=True).format()
    )
    return python + screen.file.getvalue() + repr(error) + str(error) + repr(error.__dict__)


@pytest.fixture
def secretive() -> Iterator[Simulator]:
    with run_in_thread(tokens={SECRET: "account"}) as simulator:
        yield simulator


ONCE = SessionConfig(max_attempts=1, retry_first=1e-6, open_timeout=0.3)


@pytest.mark.parametrize(
    "fault",
    [
        RefuseHandshake(401, times=None),
        RefuseHandshake(403, times=None),
        RefuseHandshake(301, times=None),
        RefuseHandshake(200, times=None),
        RefuseHandshake(500, times=None),
        AnswerGarbage(times=None),
        IgnoreHandshake(times=None),
    ],
    ids=repr,
)
def test_a_handshake_that_fails(
    open_feed: Open, secretive: Simulator, logged: io.StringIO, fault: Fault
) -> None:
    secretive.inject(fault)
    with open_feed(url=secretive.url, token=SECRET, config=ONCE) as feed:
        assert is_clean(repr(until_the_end(feed)))
        with pytest.raises(FeedFailed) as caught:
            feed.next()
    assert is_clean(rendered(caught.value))
    assert is_clean(logged.getvalue())


def until_the_end(feed: Any) -> list[Any]:
    events: list[Any] = []
    while type(events[-1:] and events[-1]).__name__ != "Closed":
        events.append(feed.next())
    return events


def test_a_connection_that_is_refused_or_hung_up_on(open_feed: Open, logged: io.StringIO) -> None:
    with hanging_up() as url:
        for target in (url, "ws://127.0.0.1:1/", "wss://no-such-host.invalid/"):
            with open_feed(url=target, token=SECRET, config=ONCE) as feed:
                assert is_clean(repr(until_the_end(feed)))
                with pytest.raises(FeedFailed) as caught:
                    feed.next()
            assert is_clean(rendered(caught.value))
    assert is_clean(logged.getvalue())


def test_tls_that_fails(open_feed: Open, logged: io.StringIO) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with (
        run_in_thread(ssl_context=context) as simulator,
        open_feed(url=simulator.url, token=SECRET, config=ONCE) as feed,
    ):
        assert is_clean(repr(until_the_end(feed)))
        with pytest.raises(FeedFailed) as caught:
            feed.next()
    assert is_clean(rendered(caught.value))
    assert is_clean(logged.getvalue())


def test_an_error_of_the_application_in_the_middle(
    open_feed: Open, secretive: Simulator, logged: io.StringIO
) -> None:
    with pytest.raises(KeyError) as caught, open_feed(url=secretive.url, token=supply) as feed:
        until(feed, Subscribed)
        raise KeyError
    # The frames of this module's own portals know what they were given; those of the packages do
    # not.
    assert is_clean(rendered(caught.value))
    assert is_clean(logged.getvalue())


def supply() -> str:
    return SECRET


def fail_to_supply() -> str:
    raise RuntimeError(SECRET)


def test_a_callable_that_talks_while_it_fails(open_feed: Open, logged: io.StringIO) -> None:
    with open_feed(url="ws://127.0.0.1:1/", token=fail_to_supply, config=ONCE) as feed:
        assert is_clean(repr(until_the_end(feed)))
        with pytest.raises(FeedFailed) as caught:
            feed.next()
    assert is_clean(rendered(caught.value))
    assert is_clean(logged.getvalue())


@pytest.mark.parametrize("module", [topone_trio, topone_asyncio, topone_threads])
@pytest.mark.parametrize(
    "arguments",
    [
        {"token": f"{SECRET}\n"},
        {"token": SECRET, "url": "http://example.org/"},
        {"token": SECRET, "url": f"wss://example.org/?token={SECRET}"},
        {"token": SECRET, "url": f"wss://example.org/?x=1&token={IN_URL}&y=2"},
        {"token": SECRET, "url": "ws://example.org/"},
        {"token": SECRET, "origin": "a\nb"},
    ],
    ids="-".join,
)
def test_a_setting_that_cannot_be_used(module: Any, arguments: dict[str, str]) -> None:
    error = refused(module.open_feed, HIDDEN.setdefault(id(arguments), Hidden(arguments)))
    assert is_clean(rendered(error))


class Hidden:
    """Arguments that a frame can hold without showing them."""

    def __init__(self, arguments: dict[str, str]) -> None:
        self.call: Callable[[Any], Any] = lambda function: function(**arguments)


HIDDEN: dict[int, Hidden] = {}


def refused(function: Callable[..., object], hidden: Hidden) -> BaseException:
    try:
        hidden.call(function)
    except ConfigurationError as error:
        assert error.__cause__ is None
        assert error.__context__ is None
        # Without the frames of this module, which were given the token in clear.
        assert error.__traceback__ is not None
        frames = error.__traceback__.tb_next
        assert frames is not None
        return error.with_traceback(frames.tb_next)
    raise AssertionError


# --- in memory -----------------------------------------------------------------------------------

HALVES = ("s3cr3tOne", "AndTheOtherHalf")
HEAP = Path(__file__).parent.parent / "heap.py"
CHOICES = ["trio", "trio over websockets", "asyncio", "threads"]


def remaining(adapter: str, url: str, token: str) -> list[str]:
    """Return what ``heap.py`` prints."""
    command = [sys.executable, str(HEAP), adapter, url, *HALVES]
    process = subprocess.run(command, input=token, capture_output=True, text=True, check=True)
    return process.stdout.splitlines()


@pytest.mark.parametrize("adapter", CHOICES)
def test_no_token_is_in_memory_once_a_feed_is_closed(adapter: str) -> None:
    """The feed itself is still there, and nothing that it, a library or a cache refers to has the
    token. Nor has it after a dial that was refused."""
    token = f"topapi:{''.join(HALVES)}"
    with run_in_thread(tokens={token: "alice"}) as simulator:
        assert remaining(adapter, simulator.url, token) == ["Subscribed"]
        assert remaining(adapter, simulator.url, f"{token}-not") == ["Closed"]


def test_aiohttp_keeps_the_url_as_its_page_says() -> None:
    """docs/security.md and decisions/asyncio-websocket.md say so: change them with this."""
    token = f"topapi:{''.join(HALVES)}"
    with run_in_thread(tokens={token: "alice"}) as simulator:
        outcome, *found = remaining("asyncio over aiohttp", simulator.url, token)
    assert outcome == "Subscribed"
    assert {line.partition(" ")[0] for line in found} >= {"yarl.URL"}


def test_the_search_finds_what_a_cache_keeps() -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from urllib.parse import urlsplit
import heap
first, second = sys.argv[2:]
urlsplit(f"wss://example.org/?token={first}{second}").query
print(*heap.holders(first, second), sep="\\n")
"""
    command = [sys.executable, "-c", code, str(HEAP.parent), *HALVES]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "has a text of it" in process.stdout


def test_a_url_that_is_refused_for_its_token_is_in_no_cache() -> None:
    secret = "0nly-here-5ecret"
    for url in (f"wss://h/?%74oken={secret}", f"wss://{secret}@h/", f"wss://h/#{secret}"):
        with pytest.raises(ConfigurationError):
            Endpoint(url)
    assert secret not in repr(gc.get_referents(urlsplit))
