"""A running server as a program sees it."""

from collections.abc import Callable
from typing import TypeVar

from topone_proto._values import value
from topone_proto.exchange import (
    ExchangeStep,
    Fault,
    GatewayConfig,
    HttpCall,
    HttpFault,
    LivingAccount,
    LivingMarket,
    MarketData,
    Publication,
)
from topone_proto.wire.balance import Balance
from topone_proto.wire.http import Credentials
from topone_proto.wire.orders import Order
from topone_proto.wire.topic import Topic
from topone_simulator._core import Core, Handshake

__all__ = ["Simulator", "Truth"]

_T = TypeVar("_T")


@value
class Truth:
    """The living account at one moment. These are copies, which do not live on."""

    balances: dict[str, Balance]
    """Every balance, by asset."""
    open_orders: dict[int, Order]
    """Every open order, by id."""
    closed_orders: dict[int, Order]
    """The last thousand finished orders, by id."""


class Simulator:
    """A running server. Get one from ``serve`` or ``run_in_thread``; every method may be called
    from any thread."""

    def __init__(
        self,
        core: Core,
        *,
        address: str,
        http_address: str,
        config: GatewayConfig,
        credentials: Credentials,
    ) -> None:
        self._core = core
        self._address = address
        self._http_address = http_address
        self._config = config
        self._credentials = credentials

    # What can be asked.

    @property
    def url(self) -> str:
        """The URL to dial, without the token: ``ws://127.0.0.1:<port>/ws/user/``."""
        return self._address + (self._config.path or "/")

    @property
    def market_url(self) -> str:
        """The URL to dial for market data, without a token: ``ws://127.0.0.1:<port>/ws/``."""
        return self._address + self._config.market_path

    @property
    def http_url(self) -> str:
        """The base of the URLs of the HTTP API: ``http://127.0.0.1:<port>``."""
        return self._http_address

    @property
    def credentials(self) -> Credentials:
        """The key pair of the living account. Its tokens open the private WebSocket, too."""
        return self._credentials

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        return int(self._address.rpartition(":")[2])

    @property
    def handshakes(self) -> tuple[Handshake, ...]:
        """The dials that came, the oldest first: the last thousand of them."""
        return self._core.call(lambda: tuple(self._core.handshakes))

    @property
    def requests(self) -> tuple[str | bytes, ...]:
        """The frames that clients sent, the oldest first: the last thousand of them."""
        return self._core.call(lambda: tuple(self._core.requests))

    @property
    def http_calls(self) -> tuple[HttpCall, ...]:
        """The requests over HTTP, the oldest first: the last thousand of them."""
        return self._core.call(lambda: tuple(self._core.desk.calls))

    @property
    def overruns(self) -> int:
        """The number of requests over HTTP that exceeded a budget: for tokens, and of order
        calls."""
        return self._core.call(lambda: self._core.desk.overruns)

    @property
    def publications(self) -> tuple[Publication, ...]:
        """The publications to clients, the oldest first: the last thousand of them.

        Whether it could reach them or not.
        """
        return self._core.call(lambda: tuple(self._core.publications))

    @property
    def goodbyes(self) -> tuple[int | None, ...]:
        """The code of the close frame that each client sent, in the order in which their
        connections ended: the last thousand of them. None if it sent no close frame."""
        return self._core.call(lambda: tuple(self._core.goodbyes))

    @property
    def peers(self) -> tuple[int, ...]:
        """The clients that are connected: the ``peer`` that each handshake's ``Accept`` named, and
        a fault can name."""
        return self._core.call(lambda: self._core.gateway.peers)

    @property
    def connections(self) -> int:
        """The number of clients that are connected."""
        return len(self.peers)

    @property
    def unsent(self) -> int:
        """The number of frames that wait for clients that do not read, because TCP takes no more of
        them."""
        return self._core.call(self._core.unsent)

    @property
    def orders(self) -> dict[int, Order]:
        """The living account's orders as they are now, by id: the open ones and the last thousand
        closed ones. A copy, which does not live on."""
        return self._core.call(lambda: self._core.living.account.orders)

    @property
    def balances(self) -> dict[str, Balance]:
        """The living account's balances as they are now, by asset. A copy, which does not live
        on."""
        return self._core.call(lambda: self._core.living.account.balances)

    def truth(self) -> Truth:
        """Return the living account as it is now, all of it at one moment."""

        def look() -> Truth:
            account = self._core.living.account
            orders = account.orders.values()
            return Truth(
                account.balances,
                account.open_orders,
                {order.id: order for order in orders if not order.is_open},
            )

        return self._core.call(look)

    # What can be done.

    def inject(self, fault: Fault | HttpFault) -> None:
        """Make something go wrong, now or at its next occasion; see the faults of
        ``topone_proto.exchange``.

        Clients that it disconnects are told of nothing that happens from then on, however late they
        notice.
        """
        self._core.call(self._core.inject, fault)

    def clear_faults(self) -> None:
        """Forget the faults that wait for their occasion."""
        self._core.call(self._core.clear_faults)

    def publish(self, *updates: Balance | Order, account: str | None = None) -> None:
        """Publish made-up updates, in order, to an account's clients; by default to the living
        account's."""
        self._core.call(self._core.publish, updates, account or self._core.account_name)

    def live(
        self, event: Callable[[LivingAccount, float], ExchangeStep]
    ) -> tuple[Order | Balance, ...]:
        """Make something happen to the living account, and publish it to whoever is connected.

        ``simulator.live(lambda account, now: account.place("ETH/BTC", Side.BUY, Decimal(1), now))``

        Args:
            event: is called once, in the server's thread, with the account and its present time:
                ``place``, ``fill`` or ``cancel`` one order.

        Returns:
            What changed and is on its way to the clients: the order, then the balances that it
            moved. When a client has it is not known here.

        Raises:
            LocalProtocolError: the account does not allow it, such as an order that costs more than
                is available. Nothing has happened then. Whatever else ``event`` raises comes out,
                too.
        """

        def happen() -> tuple[Order | Balance, ...]:
            living = self._core.living
            happening = living.happened(event(living.account, self._core.loop.time()))
            self._core.happened(happening)
            return happening.changes

        return self._core.call(happen)

    def market(self, name: str, event: Callable[[LivingMarket, float], _T]) -> _T:
        """Look at a market, or make something happen in it, and publish what has changed.

        ``simulator.market("BTC/USDT", lambda market, now: market.depth())``

        Args:
            name: the market, such as ``BTC/USDT``.
            event: is called once, in the server's thread, with the market and the present time.

        Returns:
            The result of ``event``. Whatever it raises comes out, too.

        Raises:
            KeyError: there is no such market.
        """
        return self._core.call(self._core.change_market, name, event)

    def publish_market(self, topic: Topic, data: MarketData) -> None:
        """Publish made-up market data to whoever is subscribed to its topic."""
        self._core.call(
            lambda: self._core.carry_out(
                self._core.gateway.publish_market(topic, data, self._core.loop.time())
            )
        )

    def allow(self, token: str, account: str) -> None:
        """Let ``token`` open ``account`` from now on."""
        self._core.call(self._core.gateway.allow, token, account)
