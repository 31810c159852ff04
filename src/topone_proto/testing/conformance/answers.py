"""Scenarios about the bytes below the exchange's messages: every form in which a server or a load
balancer answers a handshake.

The answer to a handshake is judged at the end of its final head, whatever comes behind it. None of
these servers hangs up by itself unless that is what the case is about: an adapter that waits for
more than the head does not pass.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from ssl import SSLContext
from typing import Final

from attrs import frozen

from topone_proto._version import __version__
from topone_proto.events import Connected, Disconnected
from topone_proto.failures import FailureKind
from topone_proto.session.address import Headers
from topone_proto.testing.conformance.certificates import client_context, server_context
from topone_proto.testing.conformance.kit import LATER, QUICK, Kit
from topone_proto.testing.conformance.raw import Peer, RawServer, accept_key, raw_server
from topone_proto.testing.conformance.scenario import Collection, Group

__all__ = ["ANSWERS"]

ANSWERS: Final = Collection(Group.ANSWERS)
"""These scenarios."""

_LF: Final = b"\n"


@frozen
class _Form:
    """A form of an answer."""

    text: str
    """The answer with the status line's end in the place of ``{}``; one line feed ends a line."""
    behind: bytes = b""
    """The bytes after the head."""
    end: Callable[[Peer], object] = Peer.listen
    """The server's next act."""
    say: Callable[[Peer, bytes], None] = Peer.say
    """The way in which it is sent."""
    newline: bytes = b"\r\n"
    """The end of a line on the wire."""

    def answer(self, peer: Peer, **parts: object) -> None:
        text = self.text.format(**parts).encode("latin-1")
        self.say(peer, text.replace(b"\n", self.newline) + self.behind)
        self.end(peer)


def _hang_up(_: Peer) -> None:
    pass


def _go_on(data: bytes) -> Callable[[Peer], None]:
    """Say the same until the client has gone."""

    def end(peer: Peer) -> None:
        while True:
            peer.say(data)

    return end


_RETRY: Final = "Retry-After: 7\n"
_PLAIN: Final = "HTTP/1.1 {status} Refused\n" + _RETRY
_CHUNK: Final = b"2\r\nno\r\n"

_REFUSALS: Final[dict[str, _Form]] = {
    "hangs up behind it": _Form(_PLAIN + "\n", end=_hang_up),
    "stays": _Form(_PLAIN + "\n"),
    "resets behind it": _Form(_PLAIN + "\n", end=Peer.reset),
    "HTTP/1.0": _Form("HTTP/1.0 {status} Refused\n" + _RETRY + "\n", end=_hang_up),
    "HTTP/1.0, stays": _Form("HTTP/1.0 {status} Refused\n" + _RETRY + "\n"),
    "no reason phrase": _Form("HTTP/1.1 {status} \n" + _RETRY + "\n"),
    "no reason phrase, no space": _Form("HTTP/1.1 {status}\n" + _RETRY + "\n"),
    "a reason phrase in Latin-1": _Form("HTTP/1.1 {status} Zur\xfcck\n" + _RETRY + "\n"),
    "a whole body": _Form(_PLAIN + "Content-Length: 2\n\n", b"no"),
    "a body that is cut off": _Form(_PLAIN + "Content-Length: 9\n\n", b"no", _hang_up),
    "a body that does not come": _Form(_PLAIN + "Content-Length: 9\n\n"),
    "a body without a length": _Form(_PLAIN + "\n", b"no", _hang_up),
    "a body without an end": _Form(_PLAIN + "\n", end=_go_on(b"no" * 1000)),
    "a body of 3 MB": _Form(_PLAIN + "Content-Length: 3000000\n\n", b"no" * 1_500_000),
    "a chunked body": _Form(_PLAIN + "Transfer-Encoding: chunked\n\n", _CHUNK + b"0\r\n\r\n"),
    "a chunked body, cut off": _Form(
        _PLAIN + "Transfer-Encoding: chunked\n\n", _CHUNK[:-3], _hang_up
    ),
    "a chunked body without an end": _Form(
        _PLAIN + "Transfer-Encoding: chunked\n\n", end=_go_on(_CHUNK)
    ),
    "a transfer coding of another kind": _Form(_PLAIN + "Transfer-Encoding: gzip\n\n"),
    "two lengths": _Form(_PLAIN + "Content-Length: 1\nContent-Length: 2\n\n"),
    "behind 100": _Form("HTTP/1.1 100 Continue\n\n" + _PLAIN + "\n"),
    "behind 102 and 103": _Form(
        "HTTP/1.1 102\n\nHTTP/1.1 103 Early Hints\nRetry-After: 9\n\n" + _PLAIN + "\n"
    ),
    "behind a hundred of 103": _Form("HTTP/1.1 103 \nLink: <a>\n\n" * 100 + _PLAIN + "\n"),
    "byte by byte": _Form(_PLAIN + "\n", say=Peer.say_slowly),
    "bare line feeds": _Form(_PLAIN + "\n", newline=_LF),
    "folded lines": _Form("HTTP/1.1 {status} No\nX-Note: a\n b\nRetry-After:\n\t7\n\n"),
    "names in capital letters": _Form("HTTP/1.1 {status} No\nRETRY-AFTER:7\n\n"),
    "a hundred of cookies": _Form(_PLAIN + "Set-Cookie: a=b; Path=/\n" * 100 + "\n"),
    "a long cookie": _Form(f"HTTP/1.1 {{status}} No\nSet-Cookie: {'a' * 20_000}\n{_RETRY}\n"),
    "a line that is no header": _Form(_PLAIN + "no header\n: none\n\n"),
    "a head that is cut off": _Form(_PLAIN, end=_hang_up),
    "a head without an end": _Form(_PLAIN, end=_go_on(b"X-More: and more\r\n" * 100)),
}


def _server(
    kit: Kit, form: _Form, ssl_context: SSLContext | None = None, **parts: object
) -> AbstractContextManager[RawServer]:
    def serve(peer: Peer, server: RawServer) -> None:
        request = peer.request()
        server.requests.append(request)
        form.answer(peer, accept=accept_key(request).decode(), **parts)

    return raw_server(serve, kit.patience, ssl_context)


@ANSWERS.add_each(_REFUSALS, lambda _: ["disconnected handshake", "closed handshake"])
async def a_403_ends_the_feed(kit: Kit, form: _Form) -> None:
    """A refused token is dialled with once, in whatever form the server puts it."""
    with _server(kit, form, status=403) as server:
        async with kit.open(url=server.url, config=QUICK) as feed:
            kit.same((await feed.failure()).status, 403, "the status")
        kit.same(len(server.requests), 1, "the number of dials")


@ANSWERS.add_each(_REFUSALS, lambda _: ["disconnected handshake, retry", "closed"])
async def a_429_is_heeded(kit: Kit, form: _Form) -> None:
    """The status and ``Retry-After`` of a server that wants to be left alone for a while are told,
    and the feed leaves it alone, in whatever form the server puts it."""
    with _server(kit, form, status=429) as server:
        async with kit.open(url=server.url, config=QUICK) as feed:
            event = await feed.take(Disconnected)
            kit.same(event.reason.status, 429, "the status")
            kit.same(event.reason.retry_after, 7, "Retry-After")
            kit.check(event.retry_in and event.retry_in >= 7, f"retry in {event.retry_in} s")
            await feed.close()
            await feed.rest()
        kit.same(len(server.requests), 1, "the number of dials")


_OVER_TLS: Final = (
    "hangs up behind it",
    "stays",
    "resets behind it",
    "a body without an end",
    "behind 102 and 103",
    "byte by byte",
    "a head that is cut off",
)


@ANSWERS.add_each(
    {name: _REFUSALS[name] for name in _OVER_TLS},
    lambda _: ["disconnected handshake", "closed handshake"],
)
async def a_403_over_tls_ends_the_feed(kit: Kit, form: _Form) -> None:
    """It is the same over TLS, whose own goodbye many servers leave out."""
    with _server(kit, form, server_context(), status=403) as server:
        async with kit.open(url=server.url, ssl_context=client_context(), config=QUICK) as feed:
            kit.same((await feed.failure()).status, 403, "the status")


@ANSWERS.add(["disconnected not_websocket, retry"])
async def a_server_that_hangs_up_over_tls(kit: Kit) -> None:
    """Behind its handshake, TLS is not to blame."""
    with _server(kit, _NO_ACCEPTANCES["nothing"], server_context()) as server:
        async with kit.open(url=server.url, ssl_context=client_context(), config=LATER) as feed:
            await feed.take(Disconnected)


@ANSWERS.add(["disconnected handshake", "closed handshake"])
async def a_401_that_does_not_wait_for_the_question(kit: Kit) -> None:
    """A server may answer and hang up before it has read the request, and the client's part of the
    connection is broken then. What it said counts."""

    def serve(peer: Peer, _: RawServer) -> None:
        peer.say(b"HTTP/1.1 401 Unauthorized\r\n\r\n")

    with raw_server(serve, kit.patience) as server:
        async with kit.open(url=server.url, config=QUICK) as feed:
            kit.same((await feed.failure()).status, 401, "the status")


_ACCEPT: Final = "Sec-WebSocket-Accept: {accept}\n"
_UPGRADE: Final = "Upgrade: websocket\n"
_CONNECTION: Final = "Connection: Upgrade\n"
_SWITCH: Final = "HTTP/1.1 101 Switching Protocols\n"
_ACCEPTED: Final = _SWITCH + _UPGRADE + _CONNECTION + _ACCEPT
_CLOSE_3000: Final = b"\x88\x02\x0b\xb8"


def _accepted(text: str, say: Callable[[Peer, bytes], None] = Peer.say) -> _Form:
    return _Form(text, _CLOSE_3000, Peer.listen, say)


_ACCEPTANCES: Final[dict[str, _Form]] = {
    "with a frame": _accepted(_ACCEPTED + "\n"),
    "byte by byte": _accepted(_ACCEPTED + "\n", Peer.say_slowly),
    "behind 100": _accepted("HTTP/1.1 100 Continue\n\n" + _ACCEPTED + "\n"),
    "behind 102 and 103": _accepted(
        "HTTP/1.1 102\n\nHTTP/1.1 103 Early Hints\nLink: <a>\n\n" + _ACCEPTED + "\n"
    ),
    "behind a hundred of 103": _accepted("HTTP/1.1 103 \nLink: <a>\n\n" * 100 + _ACCEPTED + "\n"),
    "no reason phrase": _accepted(_ACCEPTED.replace("101 Switching Protocols", "101 ") + "\n"),
    "no reason phrase, no space": _accepted(
        _ACCEPTED.replace(" Switching Protocols", "") + "\n"
    ),
    "keep-alive in the same line": _accepted(
        _SWITCH + _UPGRADE + "Connection: keep-alive, Upgrade\n" + _ACCEPT + "\n"
    ),
    "keep-alive in a line of its own": _accepted(
        _SWITCH + _UPGRADE + _CONNECTION + "Connection: keep-alive\n" + _ACCEPT + "\n"
    ),
    "keep-alive in a line before": _accepted(
        _SWITCH + _UPGRADE + "Connection: keep-alive\n" + _CONNECTION + _ACCEPT + "\n"
    ),
    "in capital letters": _accepted(
        _SWITCH + "UPGRADE: WebSocket\nCONNECTION: UPGRADE\nSEC-WEBSOCKET-ACCEPT:{accept}\n\n"
    ),
    "in small letters": _accepted(
        _SWITCH + "upgrade: websocket\nconnection: upgrade\nsec-websocket-accept: {accept}\n\n"
    ),
    "folded lines": _accepted(_SWITCH + _UPGRADE + "Connection: keep-alive,\n Upgrade\n" + _ACCEPT
                              + "\n"),
    "bare line feeds": _Form(_ACCEPTED + "\n", _CLOSE_3000, newline=_LF),
    "a hundred of cookies": _accepted(_ACCEPTED + "Set-Cookie: a=b; Path=/\n" * 100 + "\n"),
    "a long cookie": _accepted(f"{_ACCEPTED}Set-Cookie: {'a' * 20_000}\n\n"),
    "with a length": _accepted(_ACCEPTED + "Content-Length: 0\n\n"),
}  # fmt: skip


@ANSWERS.add_each(_ACCEPTANCES, lambda _: ["connected 1", "disconnected closed, retry"])
async def a_101_is_a_101(kit: Kit, form: _Form) -> None:
    """A server accepts in more than one form. What came behind its head, here a close frame, is not
    lost."""
    with _server(kit, form) as server:
        async with kit.open(url=server.url, topics=[], config=LATER) as feed:
            await feed.take(Connected)
            kit.same((await feed.take(Disconnected)).reason.code, 3000, "the close code")


_NO_ACCEPTANCES: Final[dict[str, _Form]] = {
    "wrong Accept": _Form(_SWITCH + _UPGRADE + _CONNECTION + "Sec-WebSocket-Accept: AAAA\n\n"),
    "no Accept": _Form(_SWITCH + _UPGRADE + _CONNECTION + "\n"),
    "two of Accept": _Form(_ACCEPTED + _ACCEPT + "\n"),
    "no Upgrade": _Form(_SWITCH + _CONNECTION + _ACCEPT + "\n"),
    "another Upgrade": _Form(_SWITCH + "Upgrade: h2c\n" + _CONNECTION + _ACCEPT + "\n"),
    "no Connection": _Form(_SWITCH + _UPGRADE + _ACCEPT + "\n"),
    "another Connection": _Form(_SWITCH + _UPGRADE + "Connection: close\n" + _ACCEPT + "\n"),
    "an extension": _Form(_ACCEPTED + "Sec-WebSocket-Extensions: permessage-deflate\n\n"),
    "a subprotocol": _Form(_ACCEPTED + "Sec-WebSocket-Protocol: chat\n\n"),
    "a head that is cut off": _Form(_ACCEPTED, end=_hang_up),
    "a head without an end": _Form(_ACCEPTED, end=_go_on(b"X-More: and more\r\n" * 100)),
    "a header without an end": _Form(_ACCEPTED + "X-More: ", end=_go_on(b"and more " * 100)),
    "a status line without an end": _Form("HTTP/1.1 101 ", end=_go_on(b"and more " * 100)),
    "103 without an end": _Form("HTTP/1.1 103 \n\n", end=_go_on(b"HTTP/1.1 103 \r\n\r\n" * 100)),
    "103 and nothing more": _Form("HTTP/1.1 103 \n\n", end=_hang_up),
    "no HTTP": _Form("SSH-2.0-OpenSSH_9.6\n"),
    "no text": _Form("\x15\x03\x01\x00\x02\x02\x46"),
    "a status of four digits": _Form("HTTP/1.1 4030 No\n\n"),
    "nothing": _Form("", end=_hang_up),
}  # fmt: skip


@ANSWERS.add_each(_NO_ACCEPTANCES, lambda _: ["disconnected not_websocket, retry"])
async def what_is_no_answer(kit: Kit, form: _Form) -> None:
    """``NOT_WEBSOCKET``: neither a refusal nor a WebSocket, and it is tried again. What has no end
    is not read for ever."""
    with _server(kit, form) as server:
        async with kit.open(url=server.url, config=LATER) as feed:
            reason = (await feed.take(Disconnected)).reason
            kit.same(reason.status, None, "the status")
            kit.check(reason.kind is FailureKind.NOT_WEBSOCKET, f"the failure is {reason.kind}")


# --- what the client says ------------------------------------------------------------------------

_HANDSHAKE: Final = {
    "host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version"
}  # fmt: skip
_AGENT: Final = f"topone-proto/{__version__}"

_HEADERS: Final[dict[str, tuple[Headers, str | None, dict[str, str]]]] = {
    "by default": ((), None, {"user-agent": _AGENT}),
    "another user agent": ({"user-agent": "bot/1.0 (a b)"}, None, {"user-agent": "bot/1.0 (a b)"}),
    "no user agent": ({"User-Agent": None}, None, {}),
    "an empty user agent": ({"User-Agent": ""}, None, {}),
    "an origin": ((), "", {"user-agent": _AGENT, "origin": ""}),
    "more of them": (
        [("X-Name", "a, b"), ("Accept-Language", "de")],
        "https://example.org",
        {
            "user-agent": _AGENT,
            "origin": "https://example.org",
            "x-name": "a, b",
            "accept-language": "de",
        },
    ),
}  # fmt: skip


@ANSWERS.add_each(_HEADERS, lambda _: ["disconnected handshake", "closed handshake"])
async def what_leaves_the_socket(
    kit: Kit, case: tuple[Headers, str | None, dict[str, str]]
) -> None:
    """The headers that make a handshake, those of the endpoint, and no other."""
    headers, origin, expected = case
    with _server(kit, _REFUSALS["stays"], status=403) as server:
        async with kit.open(url=server.url, headers=headers, origin=origin) as feed:
            await feed.failure()
        [request] = server.requests
    line, *lines = request.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    kit.check(line.startswith("GET /?token="), "the request line is another")
    pairs = [(name.lower(), text.strip(" ")) for name, _, text in _partitioned(lines)]
    names = [name for name, _ in pairs]
    kit.same(sorted(names), sorted(_HANDSHAKE | set(expected)), "the names of the headers")
    sent = dict(pairs)
    kit.same({name: sent[name] for name in expected}, expected, "the headers")
    kit.same(sent["host"], server.url.split("/")[2], "Host")


def _partitioned(lines: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    return (line.partition(":") for line in lines)
