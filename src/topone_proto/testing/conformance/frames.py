"""Scenarios about frames: those that no server should send, and every close code that one may."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from topone_proto.events import Connected, Disconnected
from topone_proto.testing.conformance.kit import LATER, Kit
from topone_proto.testing.conformance.raw import Peer, RawServer, accept_key, raw_server
from topone_proto.testing.conformance.scenario import Collection, Group

__all__ = ["FRAMES"]

FRAMES: Final = Collection(Group.ANSWERS)
"""These scenarios."""

_ACCEPTED: Final = (
    "HTTP/1.1 101 Switching Protocols\n"
    "Upgrade: websocket\n"
    "Connection: Upgrade\n"
    "Sec-WebSocket-Accept: {accept}\n\n"
)


def _accepting(
    kit: Kit, frames: bytes, then: Callable[[Peer, RawServer], object]
) -> AbstractContextManager[RawServer]:
    """A server that accepts, and then says this."""

    def serve(peer: Peer, server: RawServer) -> None:
        request = peer.request()
        answer = _ACCEPTED.format(accept=accept_key(request).decode()).replace("\n", "\r\n")
        peer.say(answer.encode() + frames)
        then(peer, server)

    return raw_server(serve, kit.patience)


def _close(code: int) -> bytes:
    return b"\x88\x02" + code.to_bytes(2, "big")


_NO_FRAMES: Final[dict[str, tuple[bytes, int]]] = {
    "masked": (b"\x81\x85\x00\x00\x00\x00hello", 1002),
    "close code 0": (_close(0), 1002),
    "close code 999": (_close(999), 1002),
    "close code 1004": (_close(1004), 1002),
    "close code 1005": (_close(1005), 1002),
    "close code 1006": (_close(1006), 1002),
    "close code 1015": (_close(1015), 1002),
    "close code 2999": (_close(2999), 1002),
    "close code 5000": (_close(5000), 1002),
    "close code 65535": (_close(65535), 1002),
    "half a close code": (b"\x88\x01\x03", 1002),
    "a close reason that is no UTF-8": (b"\x88\x03\x03\xe8\xff", 1007),
    "RSV1": (b"\xc1\x05hello", 1002),
    "RSV2": (b"\xa1\x05hello", 1002),
    "RSV3": (b"\x91\x05hello", 1002),
    "opcode 3": (b"\x83\x05hello", 1002),
    "opcode 11": (b"\x8b\x00", 1002),
    "a fragmented ping": (b"\x09\x01!", 1002),
    "a ping of 126 bytes": (b"\x89\x7e\x00\x7e" + b"!" * 126, 1002),
    "a rest without a beginning": (b"\x80\x05hello", 1002),
    "a message within another": (b"\x01\x03hel\x81\x02lo", 1002),
}


@FRAMES.add_each(_NO_FRAMES, lambda _: ["connected 1", "disconnected lost, retry"])
async def a_frame_that_is_none_ends_the_connection(kit: Kit, case: tuple[bytes, int]) -> None:
    """The client says what it thinks of it, with a close frame, and blames no close code of its own
    on the peer."""
    frames, code = case

    def then(peer: Peer, server: RawServer) -> None:
        server.heard.append(peer.listen())

    with _accepting(kit, frames, then) as server:
        async with kit.open(url=server.url, topics=[], config=LATER) as feed:
            await feed.take(Connected)
            reason = (await feed.take(Disconnected)).reason
            kit.same(reason.code, None, "the code")
            kit.check(reason.detail, "the failure does not say what was wrong")
        await kit.eventually(lambda: server.heard, "the client hangs up")
        kit.same(server.close_codes, [code], "the close codes that were sent")


_CODES: Final = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999)


@FRAMES.add_each(
    {str(code): code for code in _CODES},
    lambda _: ["connected 1", "disconnected closed, retry"],
)
async def the_peers_close_code_is_the_peers(kit: Kit, code: int) -> None:
    """Also one that the client's own library uses for what it cannot read."""

    def then(peer: Peer, _: RawServer) -> None:
        peer.listen_for_close()

    with _accepting(kit, _close(code)[:1] + b"\x06" + _close(code)[2:] + b"why!", then) as server:
        async with kit.open(url=server.url, topics=[], config=LATER) as feed:
            await feed.take(Connected)
            reason = (await feed.take(Disconnected)).reason
            kit.same((reason.code, reason.detail), (code, "why!"), "code and reason")


@FRAMES.add(["connected 1", "disconnected closed, retry"])
async def a_close_frame_that_comes_in_pieces(kit: Kit) -> None:
    """The frames that were said before it are not lost, nor is its code."""

    def then(peer: Peer, _: RawServer) -> None:
        peer.say_slowly(_close(1007))
        peer.listen_for_close()

    with _accepting(kit, b"", then) as server:
        async with kit.open(url=server.url, topics=[], config=LATER) as feed:
            await feed.take(Connected)
            kit.same((await feed.take(Disconnected)).reason.code, 1007, "the close code")
