"""The coroutines that carry out what the core of an account decides beyond a feed's.

Theory. Each request is a task of its own, and so are each access to the store and each call for
another token. The machine decides how many there are: one request for a token and one question, and
one access to the store. They end with the account: nothing waits for an answer then.

A store may block, so it is called in a thread, unless its methods are coroutines, and given up
after ``_STORE_TIMEOUT`` seconds. While
a call that was given up still hangs, there is no other one: no disk that hangs can take one thread
after the other.

The application's token callable is never called twice at a time, though the connection and HTTP may
lose their token at the same moment: who comes second has the result of the first.
"""

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from topone_proto.account import (
    AccountSession,
    AccountStep,
    Fetch,
    LoadState,
    RenewToken,
    StoredState,
    StoreState,
)
from topone_proto.errors import ConnectionFailed
from topone_proto.failures import Failure, FailureKind
from topone_proto.feed.account_core import AccountCore
from topone_proto.feed.driver import Driver
from topone_proto.feed.http import AnyStore, Http, MemoryStore
from topone_proto.feed.runtime import Runtime, Task
from topone_proto.feed.websocket import OpenAsyncWebSocket
from topone_proto.secrets.token import AsyncTokenSource, Token, usable
from topone_proto.session.failures import failure_from_exception
from topone_proto.session.step import Step

if TYPE_CHECKING:
    from topone_proto.wire.http import HttpResponse

__all__ = ["AccountDriver"]

_STORE_TIMEOUT: Final = 10.0

_SLOW: Final = "it took too long"

_Found: TypeAlias = StoredState | None


class AccountDriver(Driver):
    """The coroutines of one account, which carry out what its core decides.

    Args:
        core: the account without its I/O.
        open_websocket: opens the WebSocket of each connection.
        runtime: the event loop.
        http: asks the exchange. It is closed at the end.
        store: keeps what outlives the process.
    """

    def __init__(
        self,
        core: AccountCore[AsyncTokenSource],
        open_websocket: OpenAsyncWebSocket,
        runtime: Runtime,
        http: Http,
        store: AnyStore,
    ) -> None:
        self.account: AccountSession = core.account
        """The machine, to be driven."""
        self._http = http
        self._store = store
        # Its methods never block.
        self._is_store_prompt = isinstance(store, MemoryStore) or iscoroutinefunction(store.save)
        self._is_store_busy = False
        self._requests: dict[int, Task] = {}
        self._requests_made = 0
        self._is_asking = False
        self._supplied: object = None
        super().__init__(core, open_websocket, runtime)
        self._begin_reading = core.begin_reading
        self.next: Callable[[], Any] = self._first

    def _first(self) -> Any:
        """The application takes an event for the first time."""
        self._begin_reading()
        self.next = self.core.get
        self.pause_or_resume()
        return self.next()

    def take(self, step: Step | AccountStep) -> None:
        """Pass on a step's events, and see to its actions and its deadline. Never waits."""
        super().take(step)
        if self.core.is_closed:
            for task in tuple(self._requests.values()):
                task.cancel()

    def _begin(self, action: object) -> None:
        match action:
            case Fetch():
                self._start(partial(self._fetch, action), "Fetch")
            case StoreState(state=state, previous=previous):
                call = partial(self._store.save, state, previous)
                self._start(partial(self._use_store, call), "StoreState")
            case LoadState():
                self._start(partial(self._use_store, self._store.load), "LoadState")
            case RenewToken(refused=refused):
                self._start(partial(self._renew_token, refused), "RenewToken")
            case _:
                super()._begin(action)

    def _start(self, function: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Start a task that ends with the account."""
        self._requests_made = number = self._requests_made + 1
        has_ended: list[bool] = []

        def ended() -> None:
            has_ended.append(True)
            self._requests.pop(number, None)

        task = self.spawn(function, name, ended)
        # An eager task runs in the call that starts it.
        if not has_ended:
            self._requests[number] = task

    async def _run(self) -> None:
        try:
            await super()._run()
            while self._requests:
                await self.task_ended.wait()
        finally:
            await self._http.aclose()

    # Requests.

    async def _fetch(self, fetch: Fetch) -> None:
        answers: list[HttpResponse] = []

        async def ask() -> None:
            answers.append(await self._http.fetch(fetch.request))

        failure = Failure(FailureKind.TIMEOUT)
        try:
            await self.runtime.timeout(self.now() + fetch.timeout, ask())
        except (ConnectionFailed, OSError) as error:
            failure = failure_from_exception(error)
        if answers:
            step = self.account.fetched(fetch.id, answers[0], self.now())
        else:
            step = self.account.fetch_failed(fetch.id, failure, self.now())
        self.take(step)

    # The store.

    async def _use_store(self, call: Callable[[], _Found | Awaitable[_Found]]) -> None:
        found: list[StoredState | None] = []

        async def wait() -> None:
            found.append(await self._called(call))

        problem = _SLOW
        if self._is_store_busy:
            problem = "the last access has not returned yet"
        else:
            try:
                await self.runtime.timeout(self.now() + _STORE_TIMEOUT, wait())
            except OSError as error:
                problem = error.strerror or type(error).__name__
        if not found:
            step = self.account.state_not_stored(problem, self.now())
        elif found[0] is None:
            step = self.account.state_stored(self.now())
        else:
            step = self.account.state_found(found[0], self.now())
        self.take(step)

    async def _called(self, call: Callable[[], _Found | Awaitable[_Found]]) -> _Found:
        if self._is_store_prompt:
            found = call()
            return await found if isawaitable(found) else found

        blocking = cast("Callable[[], _Found]", call)

        def in_thread() -> _Found:
            self._is_store_busy = True
            try:
                return blocking()
            finally:
                self._is_store_busy = False

        return await self.runtime.in_thread(in_thread)

    # Tokens.

    async def _renew_token(self, refused: Token) -> None:
        supplied: list[object] = []

        async def ask() -> None:
            supplied.append(await self._ask_for_token(refused))

        problem = _SLOW
        try:
            deadline = self.now() + self.core.config.token_timeout
            await self.runtime.timeout(deadline, ask())
        except BaseException as error:
            # Whatever the application's callable raises.
            is_stray = self.runtime.is_stray_cancellation(error)
            if not (isinstance(error, Exception) or is_stray):
                raise
            problem = type(error).__name__
        token = usable(supplied[0]) if supplied else problem
        if isinstance(token, Token):
            self.take(self.account.token_renewed(token, self.now()))
        else:
            self.take(self.account.token_not_renewed(token, self.now()))

    async def _ask_for_token(self, refused: Token | None) -> object:
        if self._is_asking:
            while self._is_asking:
                await self.task_ended.wait()
            if self._supplied is not None:
                return self._supplied
        self._is_asking, self._supplied = True, None
        try:
            self._supplied = await super()._ask_for_token(refused)
        finally:
            self._is_asking = False
            self.task_ended.notify_all()
        return self._supplied
