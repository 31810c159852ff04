"""The inputs that a driver gives to the machine inside a core. Nothing here does anything."""

from typing import Protocol, TypeVar

from topone_proto.failures import Failure
from topone_proto.secrets.token import Token

__all__ = ["Machine"]

_Step_co = TypeVar("_Step_co", covariant=True)


class Machine(Protocol[_Step_co]):
    """A ``Session``, or an ``AccountSession``, as a driver drives it. What each input means is
    written in ``Session``."""

    @property
    def failure(self) -> Failure | None:
        """The reason why it has ended by itself; None if it has not."""
        ...

    @property
    def refused_token(self) -> Token | None:
        """The token that the exchange refuses; None if it does not."""
        ...

    def start(self, now: float) -> _Step_co:
        """Begin."""
        ...

    def close(self, now: float) -> _Step_co:
        """End, whatever it is doing."""
        ...

    def token_obtained(self, token: Token, now: float) -> _Step_co:
        """The application's callable supplied a token."""
        ...

    def token_failed(self, detail: str, now: float) -> _Step_co:
        """The application's callable supplied none."""
        ...

    def connection_made(self, now: float) -> _Step_co:
        """The WebSocket is open."""
        ...

    def connection_failed(self, failure: Failure, now: float) -> _Step_co:
        """The dial failed, or the connection did."""
        ...

    def connection_lost(self, code: int | None, reason: str, now: float) -> _Step_co:
        """The open WebSocket has ended."""
        ...

    def message_received(self, frame: str | bytes, now: float) -> _Step_co:
        """Take a text frame in."""
        ...

    def pong_received(self, payload: bytes, now: float) -> _Step_co:
        """Take the pong of a ``SendPing`` in."""
        ...

    def bytes_received(self, at: float, now: float) -> _Step_co:
        """Bytes of the peer came that are no whole frame yet."""
        ...

    def reading_paused(self, now: float) -> _Step_co:
        """The application is slow, and reading has stopped."""
        ...

    def reading_resumed(self, now: float) -> _Step_co:
        """Reading goes on."""
        ...

    def deadline_reached(self, now: float) -> _Step_co:
        """Do what is due."""
        ...
