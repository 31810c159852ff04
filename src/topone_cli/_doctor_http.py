"""Obstacles between this machine and a whole account: keys, the clock, the token service and the
answers over HTTP. No output here: the results come out one check after the other."""

import time
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Final

from attrs import define, evolve, field

from topone_cli._access import Access
from topone_cli._checks import Check
from topone_cli._errors import CommandFailed, explain_failure
from topone_cli._format import clock, printable
from topone_cli._prove import Prover, explain_refusal
from topone_cli._token import RereadToken
from topone_proto import ConnectionFailed, Token
from topone_proto.account import AccountConfig
from topone_proto.adapters import HttpEndpoint, StateStore
from topone_proto.wire.answers import Page, read_balances, read_open_orders
from topone_proto.wire.http import ApiError, HttpRequest, HttpResponse
from topone_proto.wire.requests import balances_request, markets_request, open_orders_request

__all__ = ["HttpDoctor", "http_doctor"]

# A signature that is older is refused somewhere between this and a few minutes.
_TOLERANCE: Final = 30.0
_MINUTE: Final = 60.0
_DEFECTS: Final = 3

_HTTP: Final = "HTTP"
_CLOCK: Final = "clock"
_SERVICE: Final = "token service"
_BALANCES: Final = "balances"
_ORDERS: Final = "open orders"


@define
class HttpDoctor:
    """The checks, in order; ``token`` is what they have found.

    Args:
        url: the base of the HTTP API.
        fetch: sends a request with a timeout in seconds. It raises ``ConnectionFailed``.
        access: the keys or the token.
        store: the place of the budgets that all processes share; None with a token.
        timeout: seconds that any one request may take.
    """

    url: str
    fetch: Callable[[HttpRequest, float], HttpResponse]
    access: Access
    store: StateStore | None
    timeout: float
    token: Token | None = field(init=False, default=None)
    """The token to go on with; None if there is none."""

    def checks(self) -> Generator[Check, None, None]:
        """Look at everything in order, up to the first thing without which the rest is of no
        use."""
        found = self.access.token
        self.token = found() if isinstance(found, RereadToken) else found
        what = "a key pair" if self.token is None else "a token"
        yield Check("keys", ok=True, text=f"{what} in {self.access.place}")
        reached = yield from self._reach()
        if not reached:
            return
        if self.token is None:
            yield self._get_token()
        if self.token is not None:
            yield self._ask(_BALANCES, balances_request(self.token), read_balances, "assets")
            yield self._ask_orders(self.token)

    def without_http(self) -> Generator[Check, None, None]:
        """Find the token only: nobody has said where HTTP is."""
        found = self.access.token
        self.token = found() if isinstance(found, RereadToken) else found
        yield Check("keys", ok=True, text=f"a token in {self.access.place}")
        yield Check(_HTTP, ok=None, text="not looked at: no --http-url")

    def _reach(self) -> Generator[Check, None, bool]:
        started, began_at = time.monotonic(), time.time()
        try:
            response = self.fetch(markets_request(), self.timeout)
        except ConnectionFailed as error:
            yield Check(_HTTP, ok=False, text=printable(explain_failure(error.failure)))
            return False
        took = time.monotonic() - started
        is_fine = response.status == 200
        text = f"{self.url} answers in {took * 1000:.0f} ms"
        if not is_fine:
            text += f", but to the list of markets with HTTP {response.status}"
        yield Check(_HTTP, ok=True if is_fine else None, text=text)
        yield self._clock(response, began_at + took / 2)
        return True

    def _clock(self, response: HttpResponse, at: float) -> Check:
        if response.date is None:
            return Check(_CLOCK, ok=None, text="the server does not say its time")
        # A date is cut to the second before.
        ahead = at - response.date - 0.5
        way = "fast" if ahead > 0 else "slow"
        if abs(ahead) <= _TOLERANCE:
            return Check(_CLOCK, ok=True, text=f"within {max(1.0, abs(ahead)):.0f} s of the server")
        text = f"this machine's clock is {abs(ahead):.0f} s {way}: set it, best by NTP; a token is "
        return Check(_CLOCK, ok=False, text=f"{text}asked for with the exchange's time meanwhile")

    def _get_token(self) -> Check:
        keys, store = self.access.keys, self.store
        assert keys is not None  # one of the two
        assert store is not None  # with keys
        notes: list[str] = []
        prover = Prover(self._fetch_soon, store, notes.append, patience=0.0)
        try:
            before = store.load().token.token
            self.token = prover.prove(keys, is_new=False)
        except (CommandFailed, OSError) as error:
            return Check(_SERVICE, ok=False, text=printable("; ".join((*notes, str(error)))))
        how = (
            "has given one before, which is good still" if self.token == before else "has given one"
        )
        return Check(_SERVICE, ok=True, text=f"it {how}")

    def _fetch_soon(self, request: HttpRequest, timeout: float) -> HttpResponse:
        return self.fetch(request, min(timeout, self.timeout))

    def _ask_orders(self, token: Token) -> Check:
        free_at = self._reserve()
        if free_at is not None:
            text = f"not asked for: so many calls about orders were made, up to {clock(free_at)}"
            return Check(_ORDERS, ok=None, text=text)
        return self._ask(_ORDERS, open_orders_request(token), read_open_orders, "on the first page")

    def _reserve(self) -> float | None:
        """Count one call about orders in what all processes share. Return None, or, if none is
        free, the time at which one is."""
        if self.store is None:
            return None
        limit = AccountConfig().order_calls_per_minute
        try:
            state = self.store.load()
            while True:
                now = time.time()
                if state.orders_not_before is not None and now < state.orders_not_before:
                    return state.orders_not_before
                calls = tuple(at for at in state.order_calls if now - _MINUTE < at <= now)
                if len(calls) >= limit:
                    return calls[0] + _MINUTE
                found = self.store.save(evolve(state, order_calls=(*calls, now)), state)
                if found is None:
                    return None
                state = found
        except OSError:
            # Without a place for it nothing is asked that counts.
            return time.time() + _MINUTE

    def _ask(
        self,
        name: str,
        request: HttpRequest,
        read: Callable[[HttpResponse], Page[Any]],
        what: str,
    ) -> Check:
        try:
            page = read(self.fetch(request, self.timeout))
        except ConnectionFailed as error:
            return Check(name, ok=False, text=printable(explain_failure(error.failure)))
        except ApiError as error:
            return Check(name, ok=False, text=explain_refusal(error))
        if page.unreadable:
            defects = "; ".join(page.unreadable[:_DEFECTS])
            text = f"{len(page.unreadable)} of the rows cannot be read: {defects}"
            return Check(name, ok=False, text=printable(text))
        return Check(name, ok=True, text=f"{len(page.rows)} {what}")


def http_doctor(endpoint: HttpEndpoint, access: Access, timeout: float) -> HttpDoctor:
    """Return the checks for an exchange, with the budgets that all processes share."""
    from topone_accounts import FileStore, default_path
    from topone_cli._http import fetch

    store = None
    if access.keys is not None:
        store = FileStore(default_path(access.keys.app_id, endpoint))
    return HttpDoctor(endpoint.url, partial(fetch, endpoint), access, store, timeout)
