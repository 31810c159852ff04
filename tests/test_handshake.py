"""Answers to a handshake, without I/O."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topone_proto import ConnectionFailed, Failure, FailureKind
from topone_proto.session.handshake import Answer, Head, HeadReader

HEAD = b"HTTP/1.1 101 Switching Protocols\r\n"
PLAIN = HEAD + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: key=\r\n\r\n"


def read(pieces: Iterable[bytes]) -> tuple[Head | Failure | None, bytes]:
    """Return what a reader makes of these pieces, and what it leaves of them."""
    reader = HeadReader("the server", FailureKind.NOT_WEBSOCKET)
    remaining = iter(pieces)
    for piece in remaining:
        try:
            head = reader.receive(piece)
        except ConnectionFailed as failed:
            return failed.failure, b""
        if head is not None:
            return head, reader.rest + b"".join(remaining)
    return None, b""


def judged(answer: bytes) -> Failure | bytes | None:
    try:
        return Answer().receive(answer)
    except ConnectionFailed as failed:
        return failed.failure


newlines = st.sampled_from([b"\r\n", b"\n"])
words = st.text("abcXYZ 09;=,", max_size=8).map(str.strip)
names = st.text("abcXYZ-09", min_size=1, max_size=8)


@st.composite
def heads(draw: st.DrawFn, status: int | None = None) -> tuple[Head, bytes]:
    """A head, and one of the ways to write it."""
    if status is None:
        status = draw(st.sampled_from([101, 200, 301, 401, 403, 429, 503, 999]))
    newline = draw(newlines)
    version = draw(st.sampled_from([b"1.1", b"1.0"]))
    reason = draw(st.sampled_from([b"", b" ", b" Fine", b" Zur\xfcck it is"]))
    text = b"HTTP/%b %d%b%b" % (version, status, reason, newline)
    headers = draw(st.lists(st.tuples(names, words), max_size=5))
    for name, value in headers:
        fold = draw(st.sampled_from([b"", b" ", newline + b" ", newline + b"\t"]))
        line = f"{name}:".encode() + fold + value.encode()
        text += line + draw(st.sampled_from([b"", b" "])) + newline
        if draw(st.booleans()) and not value:
            text += b"no header" + newline
    return Head(status, tuple(headers), is_whole=True), text + newline


@given(
    heads(),
    st.lists(st.sampled_from([100, 102, 103, 199]).flatmap(heads), max_size=3),
    st.binary(max_size=50),
    st.data(),
)
def test_however_a_head_is_written_and_cut_it_reads_the_same(
    final: tuple[Head, bytes],
    interim: list[tuple[Head, bytes]],
    rest: bytes,
    data: st.DataObject,
) -> None:
    wire = b"".join(text for _, text in interim) + final[1] + rest
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1), max_size=8)))
    pieces = [wire[a:b] for a, b in pairwise([0, *cuts, len(wire)])]
    assert read(pieces) == (final[0], rest)
    assert read(wire[at : at + 1] for at in range(len(wire))) == (final[0], rest)


@given(st.sampled_from([b"", b"HTTP/1.1 ", PLAIN[:-2]]), st.lists(st.binary(min_size=1)))
def test_nothing_but_a_failed_dial_comes_of_any_bytes(start: bytes, pieces: list[bytes]) -> None:
    answer = Answer()
    try:
        for piece in (start, *pieces, b""):
            if piece or not pieces:
                accepted = answer.receive(piece)
                assert accepted is None or accepted.startswith(HEAD)
                if accepted is not None:
                    return
    except ConnectionFailed as failed:
        assert failed.failure.kind in {FailureKind.NOT_WEBSOCKET, FailureKind.HANDSHAKE}


@pytest.mark.parametrize(
    ("start", "more", "status"),
    [
        (b"", b"\r\n", None),
        (b"", b" ", None),
        (b"HTTP/1.1 ", b"x", None),
        (b"HTTP/1.1 103 \r\n", b"X: y\r\n", None),
        (b"", b"HTTP/1.1 100 \r\n\r\n", None),
        (b"HTTP/1.1 101 \r\n", b"x", None),
        (b"HTTP/1.1 403 \r\n", b"X: y\r\n", 403),
        (b"HTTP/1.1 403 \r\nX: ", b"y", 403),
    ],
)
@pytest.mark.parametrize("times", [1, 1000, 100_000])
def test_what_has_no_end_is_read_in_bounds(
    start: bytes, more: bytes, status: int | None, times: int
) -> None:
    answer, size = Answer(), 0
    with pytest.raises(ConnectionFailed) as failed:
        answer.receive(start or more)
        while True:
            size += len(more) * times
            answer.receive(more * times)
    assert failed.value.failure.status == status
    assert size <= 65536 + len(more) * times


@pytest.mark.parametrize(
    ("cut", "status"),
    [
        (b"", None),
        (b"HTTP/1.1 403", None),
        (b"HTTP/1.1 403 No\r", None),
        (b"HTTP/1.1 403 No\r\n", 403),
        (b"HTTP/1.1 403 No\r\nRetry-After: 7\r\nX", 403),
        (b"HTTP/1.1 103 \r\n\r\n", None),
        (b"HTTP/1.1 103 \r\n\r\nHTTP/1.1 403 No\r\n", 403),
        (PLAIN[:-2], None),
    ],
)
def test_a_head_that_is_cut_off_counts_by_its_lines(cut: bytes, status: int | None) -> None:
    answer = Answer()
    with pytest.raises(ConnectionFailed) as failed:
        if cut:
            assert answer.receive(cut) is None
        answer.receive(b"")
    failure = failed.value.failure
    assert failure.status == status
    assert failure.kind is (FailureKind.NOT_WEBSOCKET if status is None else FailureKind.HANDSHAKE)
    assert failure.retry_after == (7 if b"Retry" in cut else None)


@pytest.mark.parametrize(
    "answer",
    [
        PLAIN,
        b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN,
        b"\r\n" + PLAIN,
        PLAIN.replace(b"Connection: Upgrade", b"Connection: keep-alive ,upgrade"),
        PLAIN.replace(b"Connection: Upgrade", b"connection: a\r\nCONNECTION: Upgrade"),
        PLAIN.replace(b"websocket", b"WebSocket"),
        PLAIN.replace(b"key=", b"key= \r\nSet-Cookie: a=b\r\nSec-WebSocket-Extensions:"),
        PLAIN.replace(b"\r\n", b"\n"),
    ],
)
def test_what_accepts_is_handed_on_in_plain_form(answer: bytes) -> None:
    assert judged(answer + b"frames") == PLAIN + b"frames"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b"Upgrade: websocket\r\n", b"", "something else"),
        (b"websocket", b"h2c", "something else"),
        (b"websocket", b"websocket, h2c", "something else"),
        (b"Connection: Upgrade\r\n", b"", "Connection"),
        (b"Connection: Upgrade", b"Connection: Upgraded", "Connection"),
        (b"Sec-WebSocket-Accept: key=\r\n", b"", "Accept"),
        (b"key=", b"key=\r\nSec-WebSocket-Accept: key=", "Accept"),
        (b"key=", b"key=\r\nSec-WebSocket-Extensions: x", "extension"),
        (b"key=", b"key=\r\nSec-WebSocket-Protocol: x", "subprotocol"),
        (b"HTTP", b"RTSP", "no HTTP"),
        (b" 101 ", b" 1010 ", "no HTTP"),
        (b" 101 ", b" 001 ", "no HTTP"),
    ],
)
def test_what_does_not_accept_says_why(before: bytes, after: bytes, words: str) -> None:
    failure = judged(PLAIN.replace(before, after, 1))
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.NOT_WEBSOCKET
    assert words in failure.detail


def test_a_fold_of_nothing_is_passed_over() -> None:
    failure = judged(b"HTTP/1.1 403 No\r\n folded\r\nRetry-After: 7\r\n\r\n")
    assert isinstance(failure, Failure)
    assert (failure.status, failure.retry_after) == (403, 7)


def test_headers_are_found_in_any_case_and_without_those_that_are_empty() -> None:
    head = Head(101, (("A", "1"), ("b", "2"), ("a", ""), ("a", "3")), is_whole=True)
    assert head.values("a") == ["1", "3"]
