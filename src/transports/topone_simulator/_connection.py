"""One connection of websockets that can misbehave as the gateway says."""

import asyncio
import struct
from socket import SO_LINGER, SOL_SOCKET
from typing import Protocol

from websockets.asyncio.server import ServerConnection

__all__ = ["Connection", "Owner"]


class Owner(Protocol):
    """The owner of a connection, who is told what becomes of it."""

    def connected(self, connection: "Connection") -> None:
        """A TCP connection, and TLS if there is any, was made."""

    def disconnected(self, connection: "Connection") -> None:
        """It has ended."""

    def pong_received(self, connection: "Connection") -> None:
        """A pong came for one of the gateway's pings."""


class Connection(ServerConnection):
    """A connection of websockets that tells the simulator of its end, and can misbehave."""

    core: Owner
    """The owner, who is told."""
    peer: int = 0
    """The gateway's number for it; 0 until it is accepted."""
    is_mute: bool = False
    """True once nothing is written to it any more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Report the connection."""
        super().connection_made(transport)
        self.core.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report its end."""
        super().connection_lost(exc)
        self.core.disconnected(self)

    def pong_received(self, pong: "asyncio.Future[float]") -> None:
        """The future of a ping is done: by its pong, or by the end of the connection."""
        if not pong.cancelled() and pong.exception() is None:
            self.core.pong_received(self)

    def reset(self) -> None:
        """End the TCP connection with a reset."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def mute(self) -> None:
        """Read on, so that TCP sees nothing amiss and the client's leaving is noticed, but pass
        nothing on."""
        self.is_mute = True
        self.transport.set_protocol(_Deaf(self))


class _Deaf(asyncio.Protocol):
    """A stand-in for a muted connection: websockets would go on answering pings and closing
    frames."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)
