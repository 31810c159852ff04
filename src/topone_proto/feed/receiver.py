"""The frames that a WebSocket pushes, and those of them that there is no room for yet.

Theory. Frames are taken in the call that pushes them, until one is left over or the application is
behind. Then they are *held*: reading pauses, and what still comes waits in the backlog until the
task ``reader`` has taken all of it. The end of the connection is held, too, so that it is reported
after the last frame. So the backlog holds no more than what was pushed in one call and what came
before the WebSocket has stopped to read.
"""

from collections.abc import Callable, Sequence
from typing import Any

from topone_proto.errors import ConnectionEnded
from topone_proto.feed.base import BaseCore
from topone_proto.feed.runtime import Condition
from topone_proto.feed.websocket import PushingWebSocket

__all__ = ["Receiver"]


class Receiver:
    """The ``FrameReceiver`` of one connection.

    Args:
        websocket: pushes frames, and can be paused.
        core: says whether the application is behind.
        changed: wakes the task ``reader``.
        read: takes frames out of the backlog, as many as it can.
        read_one: takes one frame, for which there is room.
        fail: ends the feed with a fault of the program.
    """

    def __init__(
        self,
        websocket: PushingWebSocket,
        core: BaseCore[Any, Any, Any],
        changed: Condition,
        *,
        read: Callable[[list[str | bytes]], object],
        read_one: Callable[[str | bytes], object],
        fail: Callable[[BaseException], object],
    ) -> None:
        self._websocket = websocket
        self._core = core
        self._changed = changed
        self._read = read
        self._read_one = read_one
        self._fail = fail
        self._is_held = False
        self._end: Exception | None = None
        self.backlog: list[str | bytes] = []
        """The frames that were pushed and not taken yet."""
        self.is_over = False
        """True once nothing is to be read any more."""

    def frames_received(self, frames: Sequence[str | bytes]) -> None:
        """Take whole messages, the oldest first."""
        if self.is_over:
            return
        if self._is_held:
            self.backlog.extend(frames)
            return
        # The WebSocket library is not to see what a recorder raises.
        try:
            if len(frames) == 1:
                self._read_one(frames[0])
            else:
                self.backlog.extend(frames)
                self._read(self.backlog)
        except ConnectionEnded as end:
            self.connection_lost(end)
        except BaseException as fault:
            self._fail(fault)
            if not isinstance(fault, Exception):
                raise
        else:
            if self.backlog or self._core.is_paused:
                self.hold_or_go_on()

    def connection_lost(self, end: Exception) -> None:
        """Note the end, after the last frame."""
        if self._end is None:
            self._end = end
            self._is_held = True
            self._changed.notify_all()

    async def held(self) -> None:
        """Wait until there is something that could not be taken in the call that pushed it.

        Raises:
            Exception: how the connection ended, once all frames before are taken.
        """
        while not self._is_held:
            await self._changed.wait()
        if self._end is not None and not self.backlog:
            raise self._end

    def hold_or_go_on(self) -> None:
        """Pause the reading of the WebSocket while frames wait here, or must not come."""
        is_held = bool(self.backlog) or self._core.is_paused
        if self._end is None and is_held is not self._is_held and not self.is_over:
            self._is_held = is_held
            if is_held:
                self._websocket.pause_reading()
                self._changed.notify_all()
            else:
                self._websocket.resume_reading()
