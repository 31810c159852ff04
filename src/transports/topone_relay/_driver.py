"""The coroutines of a feed from a bus, in the event loop that the bus belongs to.

Theory. ``follow`` reads the account's messages from the place where the feed begins, and waits for
room while the feed is paused. ``watch`` keeps the core's deadline. ``keep`` of a durable feed
writes to the bus how far the application is: one write at a time and at most ten in a second,
whatever the rate of events.

Closing cancels ``follow`` and ``watch``. ``keep`` goes on until it has written what is left, within
the time that closing may take, and closes the connection to the bus.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from math import inf
from typing import Any, Final

from topone_proto import ConfigurationError, Failure, FailureKind
from topone_proto.adapters import Condition, Runtime, Task
from topone_proto.relay.feed_core import FeedPosition, Placed, RelayFeedCore
from topone_relay._bus import (
    Bus,
    BusRefused,
    BusUnavailable,
    Interrupted,
    Message,
    Received,
    Restored,
)

__all__ = ["RelayDriver"]

# Seconds between two writes of a durable feed's place.
_PAUSE: Final = 0.1

# Seconds for which a message that waits for room is taken for the last one on the bus.
_HELD: Final = 1.0

# Seconds to the second try of a call that the bus did not answer; every later one waits twice as
# long, up to the last number.
_RETRY: Final = (0.5, 10.0)


class RelayDriver:
    """The coroutines of one feed.

    Args:
        core: the feed without its I/O.
        bus: the bus, which this closes.
        account: the account's name on the bus.
        position: the place to begin behind; None for the latest snapshot.
        durable: the name under which the bus remembers the feed's place; None for not at all.
        runtime: the event loop.
    """

    def __init__(
        self,
        core: RelayFeedCore,
        bus: Bus,
        account: str,
        position: FeedPosition | None,
        durable: str | None,
        runtime: Runtime,
    ) -> None:
        self.core = core
        self.runtime = runtime
        self.now: Callable[[], float] = runtime.clock
        self.callers: int = 0
        """The number of the application's tasks that wait in a call."""
        self.tasks: int = 0
        """The number of the feed's tasks that run."""
        self.events_came: Condition = runtime.condition()
        self.task_ended: Condition = runtime.condition()
        self._room_came = runtime.condition()
        self._moved = runtime.condition()
        self._bus = bus
        self._account = account
        self._position = position
        self._durable = durable
        # The end of a watch that waits too long.
        self._armed = inf
        self._rearmed = runtime.condition()
        self._is_open = False
        self._loop = asyncio.get_running_loop()
        self._follower: Task = self._spawn(self._follow, "relay-follow")
        self._watcher: Task = self._spawn(self._watch, "relay-watch")
        self._spawn(self._keep, "relay-keep")

    def take(self, step: object) -> None:
        """See to what an input of the core has changed."""
        self.core.take(step)
        if self.core.is_closed:
            self._follower.cancel()
            self._watcher.cancel()
            self._moved.notify_all()
        elif (deadline := self.core.deadline) is not None and deadline < self._armed:
            self._rearmed.notify_all()
        self.events_came.notify_all()

    def pause_or_resume(self) -> None:
        """Read on if there is room again."""
        if self.core.is_paused and self.core.may_resume:
            self.core.resumed(self.now())
            self._room_came.notify_all()
            self.take(())

    def fail(self, fault: BaseException) -> None:
        """End with a fault of the program."""
        is_first = self.core.fault is None
        self.core.fail(fault)
        if is_first:
            self.take(self.core.close())
            if not self.callers:
                self.runtime.interrupt()

    async def closed(self) -> None:
        """Close the feed, and wait until nothing of it is left."""
        self.callers += 1
        try:
            self.take(self.core.close())
            while self.tasks:
                await self.task_ended.wait()
        finally:
            self.callers -= 1

    def _spawn(self, function: Callable[[], Coroutine[Any, Any, None]], name: str) -> Task:
        def ended(fault: BaseException | None) -> None:
            self.tasks -= 1
            if fault is not None:
                self.fail(fault)
            self.task_ended.notify_all()
            self._moved.notify_all()

        self.tasks += 1
        return self.runtime.spawn(function, name, ended)

    # Reading.

    async def _follow(self) -> None:
        try:
            start = await self._opened()
            async with aclosing(self._bus.read(self._account, start, self._take_at_once)) as stream:
                async for received in stream:
                    await self._take(received)
        except BusRefused as error:
            self.core.refuse(Failure(FailureKind.BUS, f"{error.problem}; {error.remedy}"))
            self.take(())

    async def _opened(self) -> str | None:
        """Open the core where the feed begins. Returns the place to read from."""
        position = self._position
        if position is None and self._durable is not None:
            durable = self._durable
            text = await self._asked(lambda: self._bus.bookmark(self._account, durable))
            if text:
                position = _parsed(text)
                if position is None:
                    self.core.forgot(text.decode("utf-8", "backslashreplace"))
        if position is not None:
            place: str | None = position.place
        else:
            pointer = await self._asked(lambda: self._bus.pointer(self._account))
            place = None if pointer is None else pointer.place
        self.core.opened(position, self.now())
        self._is_open = True
        self.take(())
        return place

    async def _asked(self, call: "Callable[[], Coroutine[Any, Any, Any]]") -> Any:
        """Return what the bus answers, however often it has to be asked."""
        wait, longest = _RETRY
        while True:
            try:
                return await call()
            except BusUnavailable as error:
                self.core.interrupted(error.detail)
                self.take(())
            await asyncio.sleep(wait * (0.5 + random.random() / 2))
            wait = min(2 * wait, longest)

    def _take_at_once(self, message: Message) -> bool:
        """Take a message in the call that brought it, if the application waits for one."""
        core = self.core
        if core.has_events or core.is_paused or core.is_closed:
            return False
        core.received(
            message.data, message.place, self.now(), age=message.age, is_last=message.is_last
        )
        self.events_came.notify_all()
        return True

    async def _take(self, received: Received) -> None:
        core = self.core
        match received:
            case Message(data, place, age, is_last):
                if core.is_paused:
                    # By the one before, which was taken at once: this one has come and waits.
                    since = self.now()
                    await self._until_room()
                    held = self.now() - since
                    age = None if age is None else age + held
                    is_last = is_last and held < _HELD
                core.received(data, place, self.now(), age=age, is_last=is_last)
                self.events_came.notify_all()
                # The application has its turn.
                await self.runtime.checkpoint()
                await self._until_room()
            case Interrupted(detail):
                core.interrupted(detail)
                self.take(())
            case Restored():
                core.restored(self.now())
                self.take(())

    async def _until_room(self) -> None:
        while self.core.is_paused:
            await self._room_came.wait()

    async def _watch(self) -> None:
        while True:
            deadline = self.core.deadline
            self._armed = inf if deadline is None else deadline
            if await self.runtime.timeout(self._armed, self._rearmed.wait()):
                self.core.deadline_reached(self.now())
                self.events_came.notify_all()

    # Remembering.

    async def _keep(self) -> None:
        try:
            kept: Placed | None = None
            while not self.core.is_closed:
                await self._until_settled(kept)
                if self._is_open and self._durable is not None:
                    kept = await self._kept(kept)
                    await self.runtime.timeout(self.now() + _PAUSE, self._until_closed())
            if self._is_open and self._durable is not None:
                patience = self.now() + self.core.config.close_timeout / 2
                await self.runtime.timeout(patience, self._kept_at_last(kept))
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.core.config.close_timeout / 2):
                    await self._bus.close()

    async def _until_settled(self, kept: Placed | None) -> None:
        """Wait until there is something to write, or the end."""
        core = self.core
        while not core.is_closed and (
            self._durable is None or not self._is_open or core.settled is (kept or core.start)
        ):
            # Otherwise nobody has to know.
            if self._durable is not None:
                core.on_settled = self._wake
            await self._moved.wait()

    async def _until_closed(self) -> None:
        while not self.core.is_closed:
            await self._moved.wait()

    def _wake(self) -> None:
        """Wake ``keep``, from any thread."""
        # A loop that is closed has nothing to write.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._moved.notify_all)

    async def _kept(self, kept: Placed | None) -> Placed | None:
        """Write how far the application is. Returns what is written."""
        settled = self.core.settled
        behind = settled.behind
        if settled is kept or behind is None or self._durable is None:
            return settled
        try:
            await self._bus.keep_bookmark(self._account, self._durable, str(behind).encode())
        except BusUnavailable:
            # Once more after the pause; until then somebody who starts again repeats some events.
            return kept
        return settled

    async def _kept_at_last(self, kept: Placed | None) -> None:
        while await self._kept(kept) is not self.core.settled:  # noqa: ASYNC110 - asked again after a pause
            await asyncio.sleep(_PAUSE)


def _parsed(text: bytes) -> FeedPosition | None:
    """Return the place that was kept; None for what no feed has written."""
    try:
        return FeedPosition.parse(text.decode())
    except (ConfigurationError, UnicodeDecodeError):
        return None
