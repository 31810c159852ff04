"""The judge of budgets: what the exchange allows in which time, whoever asks (I9)."""

import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Never

from attrs import Factory, define

from topone_proto.account import AccountConfig
from topone_proto.exchange import HttpConfig
from topone_proto.testing.simulation.dials import HAIR
from topone_proto.wire.http import HttpResponse

__all__ = ["Asker", "Block", "Budgets"]

_RULE: Final = "I9"
_TOKEN: Final = "/u/v1/api/token"
_ORDERS: Final = "/t/v1/order/"
_NEVER: Final = float("-inf")
# The code in all forms of an error. Times and amounts may have these digits, too.
_LIMIT: Final = re.compile(rb'"(?:code|error_code)"[^0-9A-Za-z]*10027\b')


@define(eq=False)
class Block:
    """A block, once somebody was told of it."""

    until: float
    """The time at which it ends."""
    told: "Asker"
    """The life that was told of it."""
    stored_at: float | None = None
    """The time at which it was stored, so that everybody knows; None until then."""


@define(eq=False)
class Asker:
    """A life of a process, as far as it asks."""

    name: str
    """The process."""
    saved_at: float = _NEVER
    """The time of its latest write."""
    told: list[Block] = Factory(list[Block])
    """The blocks that it was told of."""


class Budgets:
    """Counts every request to one exchange.

    Args:
        http: the settings of the exchange.
        config: those of whoever asks.
        fail: raises a ``Violation`` of the rule that is its second argument.
    """

    def __init__(
        self, http: HttpConfig, config: AccountConfig, fail: Callable[[str, str, str], Never]
    ) -> None:
        self._http = http
        self._config = config
        self._fail = fail
        self._token_at = _NEVER
        self._orders_at: deque[float] = deque(maxlen=http.order_calls)
        self._blocks: dict[str, list[Block]] = {_TOKEN: [], _ORDERS: []}
        self.requests: int = 0
        """The number of requests so far."""

    def room(self, now: float) -> int:
        """Return the number of order calls that the exchange allows now."""
        recent = sum(now - at < self._http.order_period for at in self._orders_at)
        return self._http.order_calls - recent

    def left(self, asker: Asker, path: str, now: float) -> None:
        """A request leaves a process, which may know of a block."""
        self.requests += 1
        for kind, blocks in self._blocks.items():
            for block in blocks if path.startswith(kind) else ():
                is_known = block.told is asker or (
                    block.stored_at is not None and asker.saved_at >= block.stored_at
                )
                if is_known and now < block.until - HAIR:
                    self._fail(
                        asker.name,
                        _RULE,
                        f"{path} is asked though {block.told.name} was told of a block until "
                        f"{block.until:.3f}",
                    )

    def came(self, asker: Asker, path: str, now: float) -> None:
        """A request has come to the exchange, and counts there whatever comes of it."""
        if path == _TOKEN:
            if now - self._token_at < self._http.token_interval:
                before = f"at {self._token_at:.3f} and now"
                self._fail(asker.name, _RULE, f"a token is asked for {before}")
            self._token_at = now
        elif path.startswith(_ORDERS):
            calls = self._orders_at
            if self.room(now) < 1:
                self._fail(asker.name, _RULE, f"{len(calls) + 1} order calls since {calls[0]:.3f}")
            calls.append(now)

    def used(self, count: int, now: float) -> None:
        """The application has placed orders by itself."""
        self._orders_at.extend([now] * count)

    def told(self, asker: Asker, path: str, response: HttpResponse, now: float) -> None:
        """An answer has reached a process."""
        is_limit = _LIMIT.search(response.body) is not None
        if path == _TOKEN and (is_limit or response.status == 429):
            kind = _TOKEN
        elif is_limit and path.startswith(_ORDERS):
            kind = _ORDERS
        else:
            return
        block = Block(now + self._config.token_block, asker)
        self._blocks[kind].append(block)
        asker.told.append(block)

    def saved(self, asker: Asker, blocks: Iterable[Block], now: float) -> None:
        """A process has stored a state, with these blocks in it: those that it had been told of
        when the write began. Of one that it was told of during the write, the next write tells."""
        asker.saved_at = now
        for block in blocks:
            if block.stored_at is None:
                block.stored_at = now
