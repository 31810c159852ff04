"""Orders to tell an account of, and the questions that it asks."""

from decimal import Decimal
from typing import TypeVar

from topone_proto import Order, OrderStatus, OrderType, Side
from topone_proto.account import Account, BalancesQuery, OrdersQuery

T = TypeVar("T")


def order(
    number: int = 1,
    filled: Decimal | int | str = 0,
    status: OrderStatus = OrderStatus.PENDING,
    *,
    at: float = 100.0,
    paid: str | None = None,
) -> Order:
    """Ten of the stock at a price of 2."""
    done = Decimal(filled)
    return Order(
        id=number,
        market="ETH/BTC",
        type=OrderType.LIMIT,
        side=Side.BUY,
        status=status,
        price=Decimal(2),
        amount=Decimal(10),
        left=Decimal(10) - done,
        deal_stock=done,
        deal_money=done * 2 if paid is None else Decimal(paid),
        create_time=50.0,
        update_time=at,
    )


def orders_query(account: Account) -> OrdersQuery:
    """Return the only question, which is for orders."""
    return _only(account, OrdersQuery)


def balances_query(account: Account) -> BalancesQuery:
    """Return the only question, which is for balances."""
    return _only(account, BalancesQuery)


def _only(account: Account, kind: type[T]) -> T:
    [query] = account.ask()
    assert isinstance(query, kind)
    return query
