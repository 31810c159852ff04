"""Failures that exceptions and HTTP answers stand for, and what is never told."""

import pickle
import socket
import ssl
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topone_proto.failures import Failure, FailureKind, failure_from_response
from topone_proto.session.failures import failure_from_exception
from topone_proto.testing.strategies import failures

SECRET = "topapi:0123456789abcdef"  # what no failure may show
URL = f"wss://gateway.topone.run/ws/user/?token={SECRET}"


class LibraryError(Exception):
    """A WebSocket library's own, with the URL in its text, as some have."""

    def __init__(self) -> None:
        super().__init__(f"handshake with {URL} failed")


class LibraryOSError(OSError):
    """A library's own error that is an ``OSError`` as well."""


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


def chained(outer: BaseException, cause: BaseException) -> BaseException:
    outer.__cause__ = cause
    return outer


def in_context(outer: BaseException, context: BaseException) -> BaseException:
    outer.__context__ = context
    return outer


def from_none(outer: BaseException, context: BaseException) -> BaseException:
    outer.__context__ = context
    outer.__suppress_context__ = True
    return outer


REFUSED = ConnectionRefusedError(111, "Connection refused")
UNREACHABLE = OSError(113, "No route to host")


@pytest.mark.parametrize(
    ("error", "kind", "detail"),
    [
        (REFUSED, FailureKind.REFUSED, "Connection refused"),
        (OSError(111, "Connection refused"), FailureKind.REFUSED, "Connection refused"),
        (socket.gaierror(-2, "Name not known"), FailureKind.DNS, "Name not known"),
        (untrusted(), FailureKind.TLS, "self-signed certificate"),
        (ssl.SSLError(1, "wrong version number"), FailureKind.TLS, "wrong version number"),
        (ssl.SSLEOFError(8, "EOF occurred"), FailureKind.TLS, "EOF occurred"),
        (TimeoutError(), FailureKind.TIMEOUT, ""),
        (TimeoutError(110, "Connection timed out"), FailureKind.TIMEOUT, "Connection timed out"),
        (UNREACHABLE, FailureKind.NETWORK, "No route to host"),
        (ConnectionResetError(104, "Reset by peer"), FailureKind.NETWORK, "Reset by peer"),
        (BrokenPipeError(), FailureKind.NETWORK, ""),
        (OSError(f"all attempts to connect to {URL} failed"), FailureKind.NETWORK, ""),
        (OSError(5, object()), FailureKind.NETWORK, ""),
        (LibraryError(), FailureKind.NOT_WEBSOCKET, "LibraryError"),
        (ValueError(URL), FailureKind.NOT_WEBSOCKET, "ValueError"),
        (EOFError(URL), FailureKind.NOT_WEBSOCKET, "EOFError"),
        (KeyboardInterrupt(), FailureKind.NOT_WEBSOCKET, "KeyboardInterrupt"),
    ],
)
def test_the_kind_of_an_exception(error: BaseException, kind: FailureKind, detail: str) -> None:
    assert failure_from_exception(error) == Failure(kind, detail)


@pytest.mark.parametrize("wrapped", [chained, in_context])
def test_the_cause_tells_more_than_the_library(
    wrapped: Callable[[BaseException, BaseException], BaseException],
) -> None:
    assert failure_from_exception(wrapped(LibraryError(), REFUSED)) == Failure(
        FailureKind.REFUSED, "Connection refused"
    )
    deep = wrapped(LibraryError(), wrapped(ValueError(URL), wrapped(LookupError(), UNREACHABLE)))
    assert failure_from_exception(deep) == Failure(FailureKind.NETWORK, "No route to host")


@pytest.mark.parametrize("wrapped", [chained, in_context])
def test_an_oserror_that_wraps_another_does_not_hide_it(
    wrapped: Callable[[BaseException, BaseException], BaseException],
) -> None:
    for cause, kind in (
        (REFUSED, FailureKind.REFUSED),
        (socket.gaierror(-2, "Name not known"), FailureKind.DNS),
        (untrusted(), FailureKind.TLS),
    ):
        assert failure_from_exception(wrapped(LibraryOSError(), cause)).kind is kind
    assert failure_from_exception(wrapped(LibraryOSError(), UNREACHABLE)) == Failure(
        FailureKind.NETWORK, "No route to host"
    )


def test_what_a_traceback_would_not_show_plays_no_part() -> None:
    assert failure_from_exception(from_none(UNREACHABLE, REFUSED)).kind is FailureKind.NETWORK
    assert failure_from_exception(from_none(LibraryError(), REFUSED)) == Failure(
        FailureKind.NOT_WEBSOCKET, "LibraryError"
    )
    cause_hides_context = chained(in_context(LibraryError(), REFUSED), untrusted())
    assert failure_from_exception(cause_hides_context).kind is FailureKind.TLS


def test_members_of_groups_are_looked_at() -> None:
    group = ExceptionGroup("all attempts failed", [LibraryError(), UNREACHABLE, REFUSED])
    assert failure_from_exception(group).kind is FailureKind.REFUSED
    assert failure_from_exception(ExceptionGroup("x", [group])).kind is FailureKind.REFUSED
    nested = chained(OSError(f"all attempts to {URL}"), ExceptionGroup("x", [REFUSED, REFUSED]))
    assert failure_from_exception(nested).kind is FailureKind.REFUSED
    assert failure_from_exception(BaseExceptionGroup("x", [KeyboardInterrupt()])) == Failure(
        FailureKind.NOT_WEBSOCKET, "BaseExceptionGroup"
    )


def test_a_circle_of_exceptions_ends() -> None:
    one, other = LibraryError(), LibraryError()
    one.__context__, other.__context__ = other, one
    assert failure_from_exception(one).kind is FailureKind.NOT_WEBSOCKET


@pytest.mark.parametrize(
    "error",
    [
        LibraryError(),
        OSError(URL),
        LibraryOSError(URL),
        ExceptionGroup(URL, [LibraryError()]),
        chained(LibraryError(), ValueError(URL)),
        in_context(RuntimeError(URL), OSError(URL)),
    ],
)
def test_an_exceptions_own_text_is_never_kept(error: BaseException) -> None:
    error.add_note(URL)
    failure = failure_from_exception(error)
    assert SECRET not in repr(failure)
    assert SECRET not in str(failure)


# --- HTTP answers


DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([("Retry-After", "0")], 0.0),
        ([("Retry-After", "120")], 120.0),
        ([("retry-after", " 7 ")], 7.0),
        ([("RETRY-AFTER", "007")], 7.0),
        ([("Retry-After", "999999999")], 999999999.0),
        ([("Retry-After", "9999999999")], None),
        ([("Retry-After", "9" * 10_000)], None),
        ([("Retry-After", "-1")], None),
        ([("Retry-After", "1.5")], None),
        ([("Retry-After", "1e3")], None),
        ([("Retry-After", "٣")], None),
        ([("Retry-After", "²")], None),
        ([("Retry-After", "")], None),
        ([("Retry-After", "soon")], None),
        ([("Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT"), ("Date", DATE)], 60.0),
        ([("Date", DATE), ("Retry-After", "Mon, 07 Nov 1994 08:49:37 GMT")], 86400.0),
        ([("Retry-After", "Sun, 06 Nov 1994 08:00:00 GMT"), ("Date", DATE)], 0.0),
        ([("Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT")], None),
        ([("Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT"), ("Date", "today")], None),
        ([("Retry-After", "Sun, 31 Feb 1994 08:50:37 GMT"), ("Date", DATE)], None),
        ([("Retry-After", "Sun, 06 Foo 1994 08:50:37 GMT"), ("Date", DATE)], None),
        ([("Retry-After", "Sun, 06 Nov 1994 24:50:37 GMT"), ("Date", DATE)], None),
        ([("Retry-After", "Sun, 06 Nov 0000 08:50:37 GMT"), ("Date", DATE)], None),
        ([("Retry-After", "Sun, 06 Nov 1994 08:50:37 CET"), ("Date", DATE)], None),
        ([("Retry-After", "Sun, ٠٦ Nov 1994 08:50:37 GMT"), ("Date", DATE)], None),
        ([("Date", DATE)], None),
    ],
)
def test_retry_after(headers: list[tuple[str, str]], seconds: float | None) -> None:
    failure = failure_from_response(429, headers)
    assert failure == Failure(FailureKind.HANDSHAKE, status=429, retry_after=seconds)


@given(
    st.integers(100, 599),
    st.lists(st.tuples(st.sampled_from(["Retry-After", "Date", "X"]), st.text()), max_size=4),
)
def test_any_answer_is_a_failure(status: int, headers: list[tuple[str, str]]) -> None:
    failure = failure_from_response(status, headers)
    assert failure.status == status
    assert failure.kind is FailureKind.HANDSHAKE
    assert failure.retry_after is None or failure.retry_after >= 0


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (200, ["HTTP 200", "path included"]),
        (301, ["HTTP 301", "path included"]),
        (404, ["HTTP 404", "path included"]),
        (401, ["HTTP 401", "token", "get a new one"]),
        (403, ["HTTP 403", "Origin", 'origin=""', "token", "get a new one"]),
        (429, ["HTTP 429", "too many"]),
        (500, ["HTTP 500", "wait"]),
        (503, ["HTTP 503", "wait"]),
    ],
)
def test_what_an_answer_advises(status: int, words: list[str]) -> None:
    text = str(failure_from_response(status, []))
    assert all(word in text for word in words), text


@pytest.mark.parametrize("status", [None, 200, 401, 403, 404, 429, 500])
def test_which_answers_refuse_the_token(status: int | None) -> None:
    failure = Failure(FailureKind.HANDSHAKE, status=status)
    assert failure.refuses_token is (status in {401, 403})


@pytest.mark.parametrize("kind", FailureKind)
def test_every_kind_has_advice(kind: FailureKind) -> None:
    failure = Failure(kind, "so and so")
    assert failure.advice
    assert str(failure) == f"{kind.replace('_', ' ')} (so and so): {failure.advice}"


def test_a_close_code_is_told() -> None:
    failure = Failure(FailureKind.CLOSED, "going away", code=1001)
    assert str(failure).startswith("closed with code 1001 (going away): ")


@given(failures())
def test_failures_are_values(failure: Failure) -> None:
    other = pickle.loads(pickle.dumps(failure))
    assert other == failure
    assert hash(other) == hash(failure)
    assert other.kind is failure.kind
    assert str(failure)
