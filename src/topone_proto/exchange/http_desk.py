"""The exchange's HTTP API, pure: the token service, the account's lists and the list of markets.

Written from the exchange's pages and from nothing of the client's: it reads targets and headers as
text and writes bodies by itself. It has no state of the account: every answer is read out of its
books, as they are or were a moment ago. Time is an argument, and all chance comes from one seed.

What the exchange leaves open is a setting of ``HttpConfig``, or decided here as follows:

- a request is counted first, then a fault strikes, then a block, then it is carried out;
- the budget of order calls is one for each account, that of tokens one for each application;
- a token is judged before the parameters of a request are;
- open orders and histories stand with the newest first;
- an account without books, such as that of a made-up token, has empty lists.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any, Final
from urllib.parse import parse_qsl

from attrs import evolve

from topone_proto._values import value
from topone_proto.exchange._budget import Budget
from topone_proto.exchange._http_answers import Answers, Refusal, http_date
from topone_proto.exchange._http_lists import HttpLists
from topone_proto.exchange._http_rows import RowWriter
from topone_proto.exchange._token_office import TokenOffice
from topone_proto.exchange.books import Books, Snapshot
from topone_proto.exchange.http_actions import Breakage, HttpCall, HttpReply
from topone_proto.exchange.http_config import HttpConfig
from topone_proto.exchange.http_faults import (
    AnswerFault,
    BlockOrders,
    BlockTokens,
    CutHttp,
    DelayHistory,
    DelayHttp,
    ExpireTokens,
    GarbleHttp,
    HangHttp,
    HttpFault,
    KillOldTokens,
    LagHttp,
    LoseRow,
    RefuseHttp,
    RejectHttp,
    ResetHttp,
    ShiftPages,
    WaitingFaults,
)
from topone_proto.exchange.market import DEFAULT_MARKETS, LivingMarket, Market
from topone_proto.exchange.tokens import App, Tokens

__all__ = ["HttpDesk"]

_KEPT: Final = 1000
_START: Final = 1561948335.075

_TOKEN: Final = "/u/v1/api/token"
_BALANCES: Final = "/t/v1/balance/query"
_OPEN_ORDERS: Final = "/t/v1/order/query"
_HISTORY: Final = "/t/v1/order/history"
_DEALS: Final = "/t/v1/deals/history"
_MARKETS: Final = "/t/v1/market/list"
_SERVED: Final = frozenset({_TOKEN, _BALANCES, _OPEN_ORDERS, _HISTORY, _DEALS, _MARKETS})
_ORDER_CALLS: Final = frozenset(
    {_OPEN_ORDERS, "/t/v1/order/limit", "/t/v1/order/market", "/t/v1/order/cancel"}
)


@value
class _Asked:
    """A request as it was read."""

    method: str
    path: str
    query: dict[str, str]
    account: str | None
    """The account that its token opens."""
    now: float


class HttpDesk:
    """The HTTP API of one exchange.

    The caller asks ``answer`` for each request, and carries the reply out. ``now`` is in seconds on
    any clock that never goes back.

    >>> from topone_proto.exchange import App, LivingAccount
    >>> desk = HttpDesk({"demo": LivingAccount(1)}, [App("my-app", "my-key")])
    >>> desk.answer("GET", "/t/v1/market/list", [], now=0.0).status
    200
    >>> print(desk.answer("GET", "/t/v1/balance/query", [], now=0.0).body.decode())
    {"code":10003,"msg":"the token is not valid"}
    """

    def __init__(
        self,
        accounts: Mapping[str, Books],
        apps: Iterable[App] = (),
        *,
        tokens: Tokens | None = None,
        config: HttpConfig | None = None,
        markets: Mapping[str, Market | LivingMarket] | None = None,
        clock: Callable[[float], float] | None = None,
        seed: int = 0,
    ) -> None:
        """A desk that nobody has asked.

        Args:
            accounts: the books of each account, by its name.
            apps: the key pairs that there are.
            tokens: who may open which account; None for nobody yet. Share it with the ``Gateway``,
                so that new tokens open its WebSocket.
            config: what kind of server it is.
            markets: what is traded, by name; None for ``DEFAULT_MARKETS``.
            clock: returns the exchange's time in seconds since 1970 UTC; None for one that begins
                in 2019 at 0.0.
            seed: the source of all chance.
        """
        self._accounts = dict(accounts)
        self._tokens = Tokens() if tokens is None else tokens
        self._config = config = config or HttpConfig()
        self._markets = {
            name: market.settings if isinstance(market, LivingMarket) else market
            for name, market in (DEFAULT_MARKETS if markets is None else markets).items()
        }
        self._clock = clock or _clock
        self._random = Random(f"{seed} http")
        self._rows = RowWriter(config, self._random)
        self._lists = HttpLists(config, self._rows, self._markets)
        self._answers = Answers(config, self._rows)
        self._office = TokenOffice(apps, self._tokens, config, seed)
        self._budgets: dict[str, Budget] = {}
        self._faults = WaitingFaults()
        self._lost: set[int] = set()
        self._losing: list[frozenset[int]] = []
        self.calls: deque[HttpCall] = deque(maxlen=_KEPT)
        """The requests, the oldest first: the last thousand of them."""

    # What can be asked.

    @property
    def overruns(self) -> int:
        """The number of requests that exceeded a budget so far: for tokens, and of order calls."""
        orders = sum(budget.overruns for budget in self._budgets.values())
        return self._office.overruns + orders

    # What comes in from the network.

    def answer(
        self, method: str, target: str, headers: Iterable[tuple[str, str]], now: float
    ) -> HttpReply:
        """Return the answer to a request.

        Args:
            method: the HTTP method.
            target: path and query, such as ``/t/v1/order/query?page=1``.
            headers: the request's headers, names in any case. The token stands bare in
                ``Authorization``.
            now: the time.
        """
        path, _, written = target.partition("?")
        token = next((text for name, text in headers if name.lower() == "authorization"), "")
        account = self._tokens.account(token.strip(), now)
        query = dict(parse_qsl(written, keep_blank_values=True))
        asked = _Asked(method, path, query, account, now)
        is_allowed = self._count(asked)
        fault = self._faults.answer(path, now)
        code: int | str | None = None
        match fault:
            case RefuseHttp(status=status, retry_after=retry_after):
                reply = self._answers.status(status, retry_after)
            case GarbleHttp(body=body, status=status):
                reply = self._answers.page(body, status)
            case RejectHttp(code=code, msg=msg):
                reply = self._answers.refusal(path, Refusal(code, msg))
            case _:
                try:
                    data = self._carry_out(asked, is_allowed=is_allowed)
                except Refusal as refusal:
                    reply, code = self._answers.refusal(path, refusal), refusal.code
                else:
                    reply, code = self._answers.success(data), 0
                reply = _struck(reply, fault)
        shown = tuple((name, "***" if name == "sig" else text) for name, text in query.items())
        self.calls.append(HttpCall(now, method, path, shown, reply.status, code, fault))
        if self._config.has_date:
            date = ("Date", http_date(self._clock(now)))
            reply = evolve(reply, headers=(*reply.headers, date))
        return reply

    # What the owner of the desk does.

    def inject(self, fault: HttpFault, now: float) -> None:
        """Make something go wrong, now or when its occasion comes."""
        match fault:
            case LoseRow(order_id=number):
                if number is None:
                    self._losing.append(frozenset(self._finished(now)))
                else:
                    self._lost.add(number)
            case ExpireTokens():
                self._office.expire()
            case KillOldTokens():
                self._office.kill_old(fault)
            case BlockTokens(seconds=seconds):
                self._office.block(seconds, now)
            case BlockOrders(seconds=seconds):
                for name in self._accounts:
                    self._budget(name).block(seconds, now)
            case _:
                self._faults.add(fault, now)

    def clear_faults(self) -> None:
        """Forget the faults that wait for their occasion. What struck already stays, as blocks and
        lost rows do."""
        self._faults.clear()
        self._office.clear_faults()
        self._losing.clear()

    # How it is done.

    def _count(self, asked: _Asked) -> bool:
        """Count a request that has a budget. Return True if it is allowed."""
        path, account = asked.path, asked.account
        if path == _TOKEN:
            return self._office.count(asked.query.get("appId", ""), asked.now)
        is_order_call = path in _ORDER_CALLS or (path == _HISTORY and self._config.counts_history)
        if is_order_call and account is not None:
            return self._budget(account).take(asked.now)
        return True

    def _budget(self, account: str) -> Budget:
        if account not in self._budgets:
            config = self._config
            self._budgets[account] = Budget(
                config.order_calls, config.order_period, config.order_block
            )
        return self._budgets[account]

    def _carry_out(self, asked: _Asked, *, is_allowed: bool) -> dict[str, Any]:
        """Return the data of the answer.

        Raises:
            Refusal: there is none.
        """
        if asked.method != "GET" or asked.path not in _SERVED:
            raise Refusal(10002, "unknown command")
        if asked.path == _TOKEN:
            return self._token(asked, is_allowed=is_allowed)
        if asked.path == _MARKETS:
            rows = [self._rows.market(name, market) for name, market in self._markets.items()]
            return {"list": rows}
        if asked.account is None:
            raise Refusal(10003, "the token is not valid")
        if not is_allowed:
            raise Refusal(10027, "too many order calls")
        return self._list(asked, asked.account)

    def _token(self, asked: _Asked, *, is_allowed: bool) -> dict[str, Any]:
        app_id = asked.query.get("appId", "")
        if not is_allowed:
            blocked = self._office.blocked(app_id, asked.now)
            raise Refusal(10027, "too many requests for tokens", blocked=blocked)
        time = self._clock(asked.now)
        self._office.check(asked.query, time)
        return {"apiToken": self._office.issue(app_id, time, asked.now)}

    def _list(self, asked: _Asked, account: str) -> dict[str, Any]:
        """Return a list of an account, from its books as they are or were a moment ago."""
        config = self._config
        lag = self._faults.books(LagHttp, asked.path, asked.now)
        most = max(config.lag, lag.seconds if lag is not None else 0.0)
        moment = asked.now - self._random.random() * most
        books = self._accounts[account].at(moment) if account in self._accounts else Snapshot()
        if asked.path == _BALANCES:
            return self._lists.balances(books, asked.query)
        if asked.path == _OPEN_ORDERS:
            return self._lists.open_orders(books, asked.query, lambda: self._shift(asked))
        late = self._faults.books(DelayHistory, asked.path, asked.now)
        until = moment - max(config.history_delay, late.seconds if late is not None else 0.0)
        if asked.path == _HISTORY:
            return self._lists.history(books, asked.query, until, self._lost_by(asked.now))
        return self._lists.deals(books, asked.query, until)

    def _shift(self, asked: _Asked) -> int:
        fault = self._faults.books(ShiftPages, asked.path, asked.now)
        return 0 if fault is None else fault.rows

    def _finished(self, now: float) -> dict[int, float]:
        """Return the moment at which each finished order of any account ended."""
        books = [books.at(now) for books in self._accounts.values()]
        return {number: at for each in books for number, at in each.finished.items()}

    def _lost_by(self, now: float) -> frozenset[int]:
        """Return the orders that are in no list; the next one to finish may have done so now."""
        while self._losing:
            known = self._losing[0] | self._lost
            fresh = [(at, n) for n, at in self._finished(now).items() if n not in known]
            if not fresh:
                break
            self._lost.add(min(fresh)[1])
            del self._losing[0]
        return frozenset(self._lost)


def _clock(now: float) -> float:
    return _START + now


def _struck(reply: HttpReply, fault: AnswerFault | None) -> HttpReply:
    match fault:
        case HangHttp():
            return evolve(reply, fault=Breakage.HANG)
        case ResetHttp():
            return evolve(reply, fault=Breakage.RESET)
        case CutHttp():
            return evolve(reply, fault=Breakage.CUT)
        case DelayHttp(seconds=seconds):
            return evolve(reply, delay=seconds)
        case _:
            return reply
