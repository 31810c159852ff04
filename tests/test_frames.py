"""The short cut before websockets' parser, against websockets without one: after every piece of any
stream both have said, heard and ended the same."""

import random
import sys
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from websockets.frames import Frame
from websockets.server import ServerProtocol

from topone_proto import Connect, ConnectionEnded, Endpoint, Token
from topone_websockets import WebSocketClient

LIMIT = 300
CONNECT = Connect(Endpoint("ws://127.0.0.1:1/ws/user/"), Token("demo"), 5.0, LIMIT)


class Side:
    """A client behind its handshake, and all that comes out of it."""

    def __init__(self, *, has_short_cut: bool, early: bytes) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.client = WebSocketClient(
            CONNECT,
            lambda payload: self.heard.append(("pong", payload)),
            lambda payload: self.heard.append(("ping", payload)),
        )
        if not has_short_cut:
            self.client._frames.end_short_cut()
        self.server = ServerProtocol(max_size=None)
        self.server.receive_data(self.client.to_send())
        [request] = self.server.events_received()
        self.server.send_response(self.server.accept(request))  # type: ignore[arg-type]
        self.client.receive(b"".join(self.server.data_to_send()) + early)
        with suppress(ConnectionEnded):
            self.client.send_ping(b"")

    def receive(self, data: bytes) -> None:
        """Take bytes in as the asyncio adapter does."""
        message = self.client.only_message(data)
        to_send = len(self.client._protocol.writes)
        if message is not None:
            self.client.unread.append(message)
        elif not self.client.receive(data):
            assert len(self.client._protocol.writes) == to_send
            assert self.client.end() is None

    def seen(self) -> dict[str, Any]:
        """Everything that can be seen from outside."""
        client = self.client
        self.server.receive_data(client.to_send())
        sent = [
            (event.opcode, bytes(event.data), event.fin)
            for event in self.server.events_received()
            if isinstance(event, Frame)
        ]
        end = client.end()
        return {
            "unread": list(client.unread),
            "heard": list(self.heard),
            "sent": sent,
            "state": client._protocol.state,
            "end": end and (end.code, end.reason),
        }


def some_frame(rng: random.Random) -> bytes:
    """A frame: most often a good one, sometimes any kind of bad one."""
    kind = rng.random()
    size = rng.choice((0, 1, 2, rng.randrange(126), 125, 126, 127, rng.randrange(LIMIT), LIMIT))
    if kind < 0.4:
        return frame(rng.choice((1, 2)), size)
    if kind < 0.6:
        # As a conversation has it, and as none may.
        first = frame(rng.choice((1, 2)), rng.randrange(90), fin=False)
        middle = [frame(0, rng.randrange(90), fin=False) for _ in range(rng.randrange(2))]
        between = [frame(rng.choice((9, 10)), 3)] if rng.random() < 0.4 else []
        last = [frame(0, rng.randrange(90))] if rng.random() < 0.9 else []
        return b"".join((first, *middle, *between, *last))
    if kind < 0.8:
        return frame(rng.choice((9, 10)), min(size, 125))
    if kind < 0.86:
        code = rng.choice((1000, 1001, 1012, 4000, 1005, 1006, 5000, 999, 65535))
        said = code.to_bytes(2, "big") + rng.choice((b"", b"x", b"\xff"))
        body = rng.choice((b"", b"\x03", said))
        return bytes((0x88, len(body))) + body
    if kind < 0.9:
        return frame(rng.choice((0, 3, 7, 8, 9, 10, 11, 15)), size, fin=rng.random() < 0.5)
    if kind < 0.93:
        # Reserved bits, or masked.
        whole = bytearray(frame(rng.choice((0, 1, 2, 8, 9)), size))
        whole[rng.randrange(2)] |= rng.choice((0x10, 0x20, 0x40, 0x80))
        return bytes(whole)
    if kind < 0.96:
        # Too large, or a length that is longer than it has to be.
        long = rng.choice((LIMIT + 1, 65535, 3))
        return bytes((rng.choice((0x81, 0x01, 0x80, 0x89)), 126)) + long.to_bytes(2, "big")
    if kind < 0.98:
        long = rng.choice((5, LIMIT + 1, 2**16, 2**63, 2**64 - 1))
        return bytes((rng.choice((0x81, 0x02, 0x80)), 127)) + long.to_bytes(8, "big") + bytes(5)
    return rng.randbytes(rng.randrange(1, 12))


def frame(opcode: int, size: int, *, fin: bool = True) -> bytes:
    body = bytes(number % 251 for number in range(size))
    length = bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return bytes((opcode | (0x80 if fin else 0),)) + length + body


def pieces(rng: random.Random, frames: list[bytes]) -> list[bytes]:
    """The stream, cut at random: between frames, byte by byte, at a few places, or hardly."""
    stream = b"".join(frames)
    match rng.randrange(5):
        case 0:
            places = list(range(len(stream)))
        case 1:
            places = [rng.randrange(len(stream) + 1) for _ in range(rng.randrange(12))]
        case 2:
            step = rng.randrange(1, 40)
            places = list(range(0, len(stream), step))
        case 3:
            return [part for part in frames if part]
        case _:
            places = [rng.randrange(len(stream) + 1)]
    cuts = sorted({0, *places, len(stream)})
    return [stream[a:b] for a, b in pairwise(cuts)]


def compare(seed: int) -> None:
    rng = random.Random(seed)
    parts = pieces(rng, [some_frame(rng) for _ in range(rng.randrange(1, 9))])
    early = parts.pop(0) if parts and rng.random() < 0.5 else b""
    sides = [Side(has_short_cut=has, early=early) for has in (True, False)]
    leaves = rng.randrange(len(parts) + 1) if rng.random() < 0.2 else None
    for number, part in enumerate([*parts, b""]):
        for side in sides:
            if number == leaves:
                side.client.close(1000, "")
            side.receive(part)
        with_short_cut, without = (side.seen() for side in sides)
        assert with_short_cut == without, f"seed {seed}, piece {number}"


@pytest.mark.thorough
@pytest.mark.parametrize("first", range(0, 2000, 200))
def test_the_short_cut_changes_nothing(first: int) -> None:
    for seed in range(first, first + 200):
        compare(seed)


def test_whole_messages_never_see_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    side = Side(has_short_cut=True, early=frame(1, 5))
    monkeypatch.setattr(side.client._protocol, "receive_data", None)
    for part in (frame(1, 5), frame(2, 200)[:1], frame(2, 200)[1:3], frame(2, 200)[3:]):
        side.client.receive(part)
    assert [len(message) for message in side.client.unread] == [5, 5, 200]
    monkeypatch.setattr(side.client._frames, "_cut", None)
    for size in (2, 125, 126, LIMIT):
        message = side.client.only_message(frame(1, size))
        assert message is not None
        assert len(message) == size


def test_after_a_control_frame_the_short_cut_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    side = Side(has_short_cut=True, early=frame(9, 100)[:50])
    side.client.receive(frame(9, 100)[50:] + frame(1, 5, fin=False) + frame(0, 5))
    monkeypatch.setattr(side.client._protocol, "receive_data", None)
    side.client.receive(frame(1, 5))
    assert [len(message) for message in side.client.unread] == [10, 5]
    assert side.heard == [("ping", frame(9, 100)[2:])]


if __name__ == "__main__":
    # A hundred thousand streams: python tests/test_frames.py 0 100000
    for seed in range(int(sys.argv[1]), int(sys.argv[2])):
        compare(seed)
