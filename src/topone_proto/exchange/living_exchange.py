"""A living account and the markets that it trades in, in the order of time."""

from collections.abc import Iterator, Mapping

from topone_proto._values import value
from topone_proto.exchange.living_account import ExchangeStep, LivingAccount
from topone_proto.exchange.market import DEFAULT_MARKETS, LivingMarket, Market
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order

__all__ = ["Happening", "LivingExchange"]


@value
class Happening:
    """One event of the account or of others."""

    changes: tuple[Order | Balance, ...] = ()
    """The updates to publish to the account, in order."""
    markets: tuple[str, ...] = ()
    """The markets whose book or deals changed."""


class LivingExchange:
    """One account and the markets that it trades in.

    The account's events and those of others happen in the order of their times, however late
    ``deadline_reached`` is called, so that the same seed gives the same life.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        rate: float = 0.0,
        market_rate: float = 0.0,
        history: float = 0.0,
        now: float = 0.0,
        start_time: float = 1561948335.075,
        markets: Mapping[str, Market] | None = None,
    ) -> None:
        """An account without orders, and markets with the orders of others.

        Args:
            seed: the source of all chance.
            rate: events of the account per second on average; 0 for none.
            market_rate: events of others per second and market on average; 0 for none.
            history: for how many seconds others have traded already, a deal every 20 s.
            now: the present moment.
            start_time: Unix seconds that order times and deals show at that moment.
            markets: what is traded, by name; None for ``DEFAULT_MARKETS``.

        Raises:
            ConfigurationError: a rate or the history is negative or not finite.
        """
        self.markets: dict[str, LivingMarket] = {
            name: LivingMarket(
                name,
                settings,
                seed=seed,
                rate=market_rate,
                history=history,
                now=now,
                start_time=start_time,
            )
            for name, settings in (DEFAULT_MARKETS if markets is None else markets).items()
        }
        """Every market, by its name."""
        self.account: LivingAccount = LivingAccount(
            seed, rate=rate, now=now, start_time=start_time, markets=self.markets
        )
        """The account."""

    @property
    def deadline(self) -> float | None:
        """The time at which the next event is due, on the clock of ``now``; None for never."""
        return min(self._deadlines(), default=None)

    def deadline_reached(self, now: float) -> tuple[Happening, ...]:
        """It is ``now``: return everything that was due by now, in order."""
        happenings: list[Happening] = []
        while (moment := self.deadline) is not None and moment <= now:
            if self.account.deadline == moment:
                changes = self.account.deadline_reached(moment).changes
                # Every price moves with it.
                happenings.append(Happening(changes, tuple(self.markets)))
            for name, market in self.markets.items():
                if market.deadline == moment:
                    market.deadline_reached(moment)
                    happenings.append(Happening(markets=(name,)))
        return tuple(happenings)

    @staticmethod
    def happened(step: ExchangeStep) -> Happening:
        """Return a step of the account with the markets that it changed."""
        names = {change.market: None for change in step.changes if isinstance(change, Order)}
        return Happening(step.changes, tuple(names))

    def _deadlines(self) -> Iterator[float]:
        for deadline in (self.account.deadline, *(m.deadline for m in self.markets.values())):
            if deadline is not None:
                yield deadline
