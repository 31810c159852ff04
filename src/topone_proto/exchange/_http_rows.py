"""Rows and bodies of the simulated HTTP API, written from the exchange's pages by themselves."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import Any, Final, cast

from topone_proto.exchange.books import Fill
from topone_proto.exchange.http_config import HttpConfig, NumberForm, TimeName, ZeroForm
from topone_proto.exchange.market import Market
from topone_proto.wire.balance import Balance
from topone_proto.wire.orders import Order

__all__ = ["RowWriter"]

_NO_BREAK: Final = "\N{NO-BREAK SPACE}"
_ANCHOR_VALUE: Final = Decimal("0.00003567")
_FEE_DECIMALS: Final = 4
_MIN_AMOUNT: Final = Decimal("0.0001")


class RowWriter:
    """Writes rows and whole bodies in the forms that the settings say."""

    def __init__(self, config: HttpConfig, random: Random) -> None:
        """Write nothing yet.

        Args:
            config: the forms.
            random: decides where a form is one of several.
        """
        self._config = config
        self._random = random

    def body(self, answer: Mapping[str, Any]) -> bytes:
        """Return the body of an answer."""
        return _written(answer, _NO_BREAK if self._config.has_no_break_spaces else "").encode()

    def balance(self, balance: Balance) -> dict[str, Any]:
        """Return the row of a balance."""
        return {
            "asset": balance.asset,
            "available": self._amount(balance.available),
            "freeze": self._amount(balance.freeze),
            "total": self._amount(balance.available + balance.freeze),
            # The same for every asset: whatever the page's example means, it is no amount of it.
            "anchorValue": self._amount(_ANCHOR_VALUE),
        }

    def open_order(self, order: Order) -> dict[str, Any]:
        """Return the row of an open order. The page's example has no status."""
        row = self._order(order)
        row["updateTime"] = order.update_time
        row["left"] = self._amount(order.left or Decimal(0))
        if self._config.has_status:
            row["status"] = int(order.status)
        return row

    def finished_order(self, order: Order) -> dict[str, Any]:
        """Return the row of a finished order, in the order of the page's example."""
        row = {"id": order.id, "status": int(order.status), **self._order(order)}
        if self._config.finish_name is not TimeName.NEITHER:
            row[self._config.finish_name.value] = order.update_time
        if self._config.has_left:
            row["left"] = self._amount(order.left or Decimal(0))
        return row

    def fill(self, fill: Fill) -> dict[str, Any]:
        """Return the row of a fill. It does not say of which order."""
        return {
            "createTime": fill.order.update_time,
            "market": fill.order.market,
            "dealId": fill.id,
            "side": int(fill.side),
            "price": self._amount(fill.price),
            "dealStock": self._amount(fill.stock),
            "dealMoney": self._amount(fill.money),
            "feeAsset": fill.order.stock if fill.order.is_buy else fill.order.money,
            # There are no fees. The example has such a zero.
            "fee": self._amount(Decimal("0E-16")),
        }

    def market(self, name: str, market: Market) -> dict[str, Any]:
        """Return the row of a market."""
        stock, _, money = name.partition("/")
        return {
            "name": name,
            "stockName": stock,
            "stockPrec": _decimals(market.lot),
            "moneyName": money,
            "moneyPrec": _decimals(market.tick),
            # A number in the example, a text in the table.
            "feePrec": _FEE_DECIMALS,
            "minAmount": self._amount(_MIN_AMOUNT),
            "isTrading": True,
        }

    def _order(self, order: Order) -> dict[str, Any]:
        return {
            "id": order.id,
            "market": order.market,
            "type": int(order.type),
            "side": int(order.side),
            "price": self._amount(order.price or Decimal(0)),
            "amount": self._amount(order.amount or Decimal(0)),
            "dealStock": self._amount(order.deal_stock or Decimal(0)),
            "dealMoney": self._amount(order.deal_money or Decimal(0)),
            "createTime": order.create_time,
        }

    def _amount(self, number: Decimal) -> Decimal | str:
        """Return an amount as text, or as a number."""
        form = self._config.numbers
        if form is NumberForm.MIXED:
            form = self._random.choice((NumberForm.TEXT, NumberForm.NUMBER))
        if not number and self._config.zeros is ZeroForm.EXPONENT:
            number = Decimal("0E-16")
        return str(number) if form is NumberForm.TEXT else number


def _written(plain: object, gap: str) -> str:
    """Return a value as JSON, with ``gap`` between tokens. Decimals become numbers without any
    rounding."""
    if isinstance(plain, str):
        return json.dumps(plain)
    if isinstance(plain, Decimal):
        return str(plain)
    if isinstance(plain, Mapping):
        members = cast("Mapping[str, object]", plain).items()
        pairs = (
            f"{gap}{json.dumps(name)}:{gap}{_written(member, gap)}" for name, member in members
        )
        return f"{{{','.join(pairs)}{gap}}}"
    if isinstance(plain, Sequence):
        return f"[{','.join(_written(member, gap) for member in cast('Sequence[object]', plain))}]"
    return json.dumps(plain)


def _decimals(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
