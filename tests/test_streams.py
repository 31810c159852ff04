"""WebSockets over byte streams, for a driver for callbacks: against websockets' own server side."""

import ssl
from typing import Any

import pytest
import trustme
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

import frames
from frames import balance
from topone_proto import (
    BALANCE,
    BalanceUpdate,
    Closed,
    Connected,
    Disconnected,
    Endpoint,
    Event,
    FailureKind,
    Session,
    SessionConfig,
    Subscribed,
    Token,
)
from topone_proto.adapters import CallbackDriver
from topone_websockets import StreamLink, over_streams

ACK = frames.ack({"id": "1", "method": "sub_balance"})
NOT_FOUND = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"


class Stream:
    """One TCP connection, and the server at its other end."""

    def __init__(self, link: StreamLink) -> None:
        self.link = link
        self.server = ServerProtocol()
        self.is_aborted = False
        self.written = bytearray()

    def write(self, data: bytes) -> None:
        assert data
        assert not self.is_aborted
        self.written += data

    def abort(self) -> None:
        self.is_aborted = True

    def heard(self) -> list[Any]:
        """Everything that the client has said since."""
        self.server.receive_data(bytes(self.written))
        self.written.clear()
        return list(self.server.events_received())

    def say(self, data: bytes = b"") -> None:
        """Let the client have what the server has to say, and these bytes."""
        self.link.bytes_received(b"".join(self.server.data_to_send()) + data)

    def accept(self) -> None:
        [request] = self.heard()
        assert isinstance(request, Request)
        self.server.send_response(self.server.accept(request))
        self.say()


class World:
    """A driver over streams, in virtual time."""

    def __init__(self, url: str = "ws://127.0.0.1:1/ws/user/", **settings: Any) -> None:
        self.now = 0.0
        self.events: list[Event] = []
        self.streams: list[Stream] = []
        session = Session(
            [BALANCE],
            endpoint=Endpoint(url),
            token=Token(frames.TOKEN),
            config=SessionConfig(max_frame_size=1000),
            jitter=lambda: 0.5,
        )
        self.driver = CallbackDriver(
            session,
            dial=over_streams(self.open, **settings),
            clock=lambda: self.now,
            on_event=self.events.append,
        )
        self.driver.start()

    def open(self, link: StreamLink) -> Stream:
        stream = Stream(link)
        self.streams.append(stream)
        return stream

    @property
    def kinds(self) -> list[type[Event]]:
        return [type(event) for event in self.events]

    @property
    def end(self) -> Any:
        """The reason for which there is no connection, as the last event says."""
        event: Any = self.events[-1]
        return event.reason


def connected() -> tuple[World, Stream]:
    world = World()
    [stream] = world.streams
    stream.link.connection_made()
    stream.accept()
    return world, stream


def test_a_life() -> None:
    world, stream = connected()
    assert stream.link.address == ("127.0.0.1", 1)
    assert stream.link.timeout == 10.0
    [request] = stream.heard()
    assert b'"sub_balance"' in request.data
    for text in (ACK, balance(), balance()):
        stream.server.send_text(text.encode())
    stream.server.send_ping(b"there?")
    stream.say()
    assert world.kinds == [Connected, Subscribed, BalanceUpdate, BalanceUpdate]
    assert [frame.opcode for frame in stream.heard()] == [Opcode.PONG]
    world.driver.close()
    [goodbye] = stream.heard()
    assert goodbye.opcode is Opcode.CLOSE
    assert not stream.is_aborted
    stream.say()
    assert stream.is_aborted
    assert world.kinds[-1] is Closed
    assert world.driver.is_over


def test_pings_are_sent_and_their_pongs_told() -> None:
    world, stream = connected()
    stream.server.send_text(ACK.encode())
    stream.say()
    for _ in range(5):
        world.now += 21
        world.driver.deadline_reached()
        assert [frame.opcode for frame in stream.heard()][-1:] == [Opcode.PING]
        stream.say()
    assert world.kinds == [Connected, Subscribed]


def test_a_peer_that_only_pings_is_there() -> None:
    world, stream = connected()
    stream.link.bytes_received(Frame(Opcode.TEXT, ACK.encode()).serialize(mask=False))
    for _ in range(200):
        world.now += 1
        stream.link.bytes_received(Frame(Opcode.PING, b"").serialize(mask=False))
        world.driver.deadline_reached()
    assert world.kinds == [Connected, Subscribed]


def test_a_handshake_and_frames_may_come_in_one_piece() -> None:
    world = World()
    [stream] = world.streams
    stream.link.connection_made()
    [request] = stream.heard()
    stream.server.send_response(stream.server.accept(request))
    stream.say(Frame(Opcode.TEXT, balance().encode()).serialize(mask=False))
    assert world.kinds == [Connected, BalanceUpdate]


@pytest.mark.parametrize("end", [b"", ConnectionResetError()])
def test_an_end_without_a_close_frame_is_lost(end: bytes | Exception) -> None:
    world, stream = connected()
    if isinstance(end, bytes):
        stream.link.bytes_received(end)
    else:
        stream.link.connection_lost(end)
    assert world.end.kind is FailureKind.LOST
    assert stream.is_aborted
    stream.link.bytes_received(b"more")
    stream.link.connection_lost()
    assert world.kinds == [Connected, Disconnected]


def test_a_close_frame_says_why() -> None:
    world, stream = connected()
    stream.server.send_close(1001, "restart")
    stream.say()
    assert (world.end.code, world.end.detail) == (1001, "restart")
    assert stream.is_aborted


def test_what_is_too_large_ends_the_connection() -> None:
    world, stream = connected()
    stream.say(Frame(Opcode.TEXT, b"x" * 1001).serialize(mask=False))
    assert world.kinds == [Connected, Disconnected]


class OfAFramework(Exception):
    """An error of a framework's own, as Twisted's for a refused connection."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(), FailureKind.REFUSED),
        (TimeoutError(), FailureKind.TIMEOUT),
        (None, FailureKind.NETWORK),
        (OfAFramework(), FailureKind.NETWORK),
    ],
)
def test_a_dial_that_fails(error: Exception | None, kind: FailureKind) -> None:
    world = World()
    [stream] = world.streams
    stream.link.connection_lost(error)
    assert world.end.kind is kind
    assert stream.is_aborted


def test_an_answer_that_refuses_is_told() -> None:
    world = World()
    [stream] = world.streams
    stream.link.connection_made()
    stream.link.bytes_received(NOT_FOUND)
    assert world.events[0].reason.status == 403  # type: ignore[union-attr]
    assert stream.is_aborted


def test_a_dial_that_was_given_up_and_succeeds_is_aborted_again() -> None:
    world = World()
    [stream] = world.streams
    world.now += 10
    world.driver.deadline_reached()
    assert stream.is_aborted
    stream.is_aborted = False
    stream.link.connection_made()
    assert stream.is_aborted


class AtOnce(World):
    """A framework whose dial blocks, and is done when it returns."""

    def open(self, link: StreamLink) -> Stream:
        link.connection_made()
        return super().open(link)


class Closing(World):
    """An application that closes while it dials."""

    def open(self, link: StreamLink) -> Stream:
        stream = super().open(link)
        self.driver.close()
        return stream


def test_a_dial_may_be_done_before_it_returns() -> None:
    world = AtOnce()
    world.streams[0].accept()
    assert world.kinds == [Connected]


def test_a_dial_that_is_given_up_while_it_is_made_is_aborted() -> None:
    assert Closing().streams[0].is_aborted


@pytest.mark.parametrize("is_trusted", [True, False])
def test_tls_needs_nothing_of_the_framework(is_trusted: bool) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context()
    if is_trusted:
        authority.configure_trust(context)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = server.wrap_bio(incoming, outgoing, server_side=True)
    world = World("wss://localhost:1/ws/user/", ssl_context=context)
    [stream] = world.streams
    stream.link.connection_made()
    request = b""
    while not request:
        incoming.write(bytes(stream.written))
        stream.written.clear()
        try:
            request = peer.read()
        except ssl.SSLWantReadError:
            stream.link.bytes_received(outgoing.read())
        except ssl.SSLError as error:
            # It is told why.
            assert "unknown ca" in str(error)
            assert world.end.kind is FailureKind.TLS
            assert not is_trusted
            return
    assert request.startswith(b"GET /ws/user/")
    peer.write(NOT_FOUND)
    stream.link.bytes_received(outgoing.read())
    assert world.events[0].reason.status == 403  # type: ignore[union-attr]
