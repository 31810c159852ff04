"""The calls of an application's token callable, each in a thread of its own."""

import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from topone_asyncio._dial import in_thread
from topone_proto import FeedClosed, LocalProtocolError, Token, TopOneError
from topone_proto.adapters import wrapped
from topone_proto.secrets.token import call_source

__all__ = ["TokenCalls", "TokenSource"]

TokenSource: TypeAlias = Callable[[], str | Token] | Callable[[Token | None], str | Token]
"""A callable that supplies a token. It may take one argument: the token that was refused, or
None."""

# Calls that have not returned: with so many, there is no further one.
_MOST: Final = 4


class TokenCalls:
    """The calls for one feed or account. At most one of them is waited for; those that were given
    up may go on.

    Args:
        source: the application's callable; None if there is none to call.
        fail: ends the feed with a fault of the program. Called in the thread of a call.
    """

    def __init__(self, source: Any, fail: Callable[[BaseException], object]) -> None:
        self._source = source
        self._fail = fail
        # The call that is waited for, and the threads of all that have not returned.
        self._awaited: object = None
        self._threads: dict[object, threading.Thread | None] = {}

    async def call(self, refused: Token | None) -> object:
        """Return what the callable supplies. Raises what it raises."""
        if len(self._threads) >= _MOST:
            raise TooManyTokenCallsError
        self._awaited = this = object()
        self._threads[this] = None

        def call() -> object:
            self._threads[this] = thread = threading.current_thread()
            thread.name = "topone-feed-token"
            try:
                return wrapped(call_source(self._source, refused))
            except (SystemExit, KeyboardInterrupt) as fault:
                # A coroutine that raised it would end the event loop.
                self._fail(fault)
                raise FeedClosed from None
            finally:
                self._threads.pop(this, None)

        try:
            return await in_thread(call)
        except Exception:
            # There may have been no thread.
            self._threads.pop(this, None)
            raise
        finally:
            self._awaited = None

    def refuse(self, caller: threading.Thread, method: str) -> None:
        """Raise if the call that is waited for takes place in this thread."""
        if self._threads.get(self._awaited) is caller:
            raise LocalProtocolError(
                state="the feed waits for its token callable, which asks for it",
                input=method,
                remedy="call it after the token callable has returned; get(timeout=...), close() "
                "and metrics() are possible there",
            )


class TooManyTokenCallsError(TopOneError):
    """The token callables called before have not returned."""
