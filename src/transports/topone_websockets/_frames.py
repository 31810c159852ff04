"""A short cut for nearly all frames, which are whole messages: they are cut out of the stream
before websockets' own parser, which takes several times as long for them as all the rest.

Anything else is websockets': control frames, fragments, and whatever is wrong. It is shown each
byte that is not of a whole message, in order, so its state is what it would be otherwise.

What makes that right: while there is a short cut, websockets gets whole frames only, though perhaps
in pieces, so that its parser stands between two frames whenever one is cut out. A frame whose end
is not certain, or that may be the last one, ends the short cut: from its first byte on, all goes to
websockets. So does everything once the connection is not open any more: whoever closes it calls
``end_short_cut``.
"""

from collections.abc import Callable, Sized
from typing import Final

from websockets.client import ClientProtocol
from websockets.protocol import State

__all__ = ["Frames"]

# The first byte of a frame (RFC 6455 section 5.2): a message of text or bytes that is whole; the
# start, the middle and the end of others; ping and pong.
_WHOLE: Final = b"\x81\x82"
_PART: Final = b"\x01\x02\x00\x80"
_CONTROL: Final = b"\x89\x8a"
_KNOWN: Final = _WHOLE + _PART + _CONTROL
# The longest length that the second byte says itself; then those that say how many bytes do. More
# of it is a mask, which no server may use.
_SHORT: Final = 125
_EXTENDED: Final = {126: 2, 127: 8}
_LONGEST: Final = 127


class Frames:
    """The stream of frames after the handshake.

    Args:
        protocol: websockets' state machine of this connection, which is open.
        limit: the largest message to take, in bytes, as ``protocol`` knows it, too.
        take_message: is given each message that is cut out.
        take_events: is called after ``protocol`` was shown something.
        fragments: not empty while a message has begun and not ended.
    """

    def __init__(
        self,
        protocol: ClientProtocol,
        limit: int,
        take_message: Callable[[bytes], None],
        take_events: Callable[[], None],
        fragments: Sized,
    ) -> None:
        self._protocol = protocol
        self._limit = limit
        self._take_message = take_message
        self._take_events = take_events
        self._fragments = fragments
        self._has_short_cut = True
        # The beginning of a frame, and how many bytes it takes to say more of it.
        self._held = bytearray()
        self._wanted = 0
        # How many bytes of a frame that websockets is being shown are still to come.
        self._through = 0
        # True if websockets was shown some of what is being taken in.
        self._is_shown = False

    def receive(self, data: bytes) -> bool:
        """Take in what the peer has sent; ``b""`` says that no more will come. Returns True if
        ``protocol`` was shown something."""
        self._is_shown = False
        if not data or not self._has_short_cut:
            self.end_short_cut()
            self._show(data)
        elif not self._held:
            self._cut(data)
        else:
            self._held += data
            if len(self._held) >= self._wanted:
                data = bytes(self._held)
                self._held.clear()
                self._cut(data)
        return self._is_shown

    def only_message(self, data: bytes) -> bytes | None:
        """Return the message that these bytes are, if they are a whole one and nothing else, as
        they are where there is time between two messages. None: nothing was done, and ``receive``
        takes them.
        """
        size = len(data)
        if size < 4 or data[0] not in _WHOLE or self._held or self._through or self._fragments:
            return None
        length, start = data[1], 2
        if length == _SHORT + 1:
            length, start = data[2] << 8 | data[3], 4
        elif length > _SHORT:
            return None
        is_one = start + length == size and length <= self._limit and self._has_short_cut
        return data[start:] if is_one else None

    def end_short_cut(self) -> None:
        """Show websockets everything from now on."""
        self._end_short_cut(b"")

    def _cut(self, data: bytes) -> None:
        take, limit, size = self._take_message, self._limit, len(data)
        at = self._through
        if at:
            self._through = max(0, at - size)
            self._show(data[:at])
            if self._protocol.state is not State.OPEN:
                return self._end_short_cut(data[at:])
        while at < size:
            if at + 1 == size:
                return self._hold(data[at:], 2)
            head, length, start = data[at], data[at + 1], at + 2
            if head not in _KNOWN or length > (_SHORT if head in _CONTROL else _LONGEST):
                return self._end_short_cut(data[at:])
            if length > _SHORT:
                start += _EXTENDED[length]
                if start > size:
                    return self._hold(data[at:], start - at)
                length = int.from_bytes(data[at + 2 : start], "big")
                if length > limit:
                    return self._end_short_cut(data[at:])
            end = start + length
            if head in _WHOLE and length <= limit and not self._fragments:
                if end > size:
                    return self._hold(data[at:], end - at)
                take(data[start:end])
            else:
                self._through = max(0, end - size)
                self._show(data[at:end])
                if self._protocol.state is not State.OPEN:
                    return self._end_short_cut(data[end:])
            at = end
        return None

    def _hold(self, data: bytes, wanted: int) -> None:
        self._held += data
        self._wanted = wanted

    def _end_short_cut(self, data: bytes) -> None:
        self._has_short_cut = False
        self._held += data
        if self._held:
            data = bytes(self._held)
            self._held.clear()
            self._show(data)

    def _show(self, data: bytes) -> None:
        self._is_shown = True
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._take_events()
