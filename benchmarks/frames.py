"""The frames that the benchmarks feed to everybody: drawn once, with a fixed seed.

Sixty-four different frames of a kind, because one frame repeated for ever would measure caches.
"""

import json
import random
from itertools import cycle, islice
from typing import Any

COUNT = 64

# The example of the exchange's page, "Subscribe to Order Updates", without the white space.
ORDER_FRAME = json.dumps(
    {
        "method": "sub_orders",
        "ts": 1561948335075,
        "data": {
            "id": 132991,
            "market": "ETH/BTC",
            "type": 1,
            "side": 2,
            "status": 2,
            "price": "0.08132",
            "amount": "1.389",
            "left": "0",
            "dealStock": "1.389",
            "dealMoney": "0.10953654",
            "createTime": 1522235513.740678,
            "updateTime": 1522235513.740684,
        },
    },
    separators=(",", ":"),
).encode()

MARKETS = ("ETH/BTC", "BTC/USDT", "ETH/USDT", "LTC/BTC")


def _dumps(frame: Any) -> str:
    return json.dumps(frame, separators=(",", ":"))


def _decimal(random_: random.Random, digits: int) -> str:
    return f"{random_.uniform(0.001, 100):.{digits}f}"


def orders(**extra: Any) -> list[str]:
    """Order updates: each with its own number, market, enums, decimals and times."""
    random_ = random.Random(5)
    return [
        _dumps(
            {
                "method": "sub_orders",
                "ts": 1561948335075 + number,
                "data": {
                    "id": 132991 + number,
                    "market": random_.choice(MARKETS),
                    "type": random_.randint(1, 2),
                    "side": random_.randint(1, 2),
                    "status": random_.randint(1, 4),
                    "price": _decimal(random_, 5),
                    "amount": _decimal(random_, 3),
                    "left": _decimal(random_, 3),
                    "dealStock": _decimal(random_, 3),
                    "dealMoney": _decimal(random_, 8),
                    "createTime": round(1522235513 + random_.random(), 6),
                    "updateTime": round(1522235514 + random_.random(), 6),
                    **extra,
                },
            }
        )
        for number in range(COUNT)
    ]


def fills(count: int) -> list[bytes]:
    """So many updates of open orders, each with a little more filled."""
    updates = []
    for number in range(count):
        filled = number // COUNT + 1
        updates.append(
            _dumps(
                {
                    "method": "sub_orders",
                    "ts": 1561948335075 + number,
                    "data": {
                        "id": 132991 + number % COUNT,
                        "market": MARKETS[number % len(MARKETS)],
                        "type": 1,
                        "side": 1,
                        "status": 1,
                        "price": "0.08132",
                        "amount": "1000000.5",
                        "left": f"{1000000 - filled}.5",
                        "dealStock": str(filled),
                        "dealMoney": f"{filled * 0.08132:.5f}",
                        "createTime": 1522235513.740678,
                        "updateTime": round(1522235514 + number / 1000, 6),
                    },
                }
            ).encode()
        )
    return updates


def balances() -> list[str]:
    """Balance updates."""
    random_ = random.Random(5)
    return [
        _dumps(
            {
                "method": "sub_balance",
                "ts": 1561948335075 + number,
                "data": {
                    "asset": random_.choice(("ETH", "BTC", "USDT")),
                    "available": _decimal(random_, 8),
                    "freeze": _decimal(random_, 3),
                },
            }
        )
        for number in range(COUNT)
    ]


def responses() -> list[str]:
    """Acknowledgements of a subscription."""
    return [
        _dumps(
            {
                "id": str(number),
                "method": "sub_orders",
                "code": 0,
                "msg": "",
                "ts": 1561948335075 + number,
            }
        )
        for number in range(COUNT)
    ]


def truncated() -> list[str]:
    """Order updates that end too early, which everybody refuses."""
    return [frame[:-20] for frame in orders()]


def order_frames(count: int) -> list[bytes]:
    """So many order updates, as bytes."""
    return list(islice(cycle([frame.encode() for frame in orders()]), count))


def whitebit_orders() -> list[str]:
    """The same orders in the shape that WhiteBIT documents for its ordersPending updates."""
    frames = []
    for text in orders():
        order = json.loads(text)["data"]
        order_of_theirs = {
            "id": order["id"],
            "market": order["market"].replace("/", "_"),
            "type": order["type"],
            "side": order["side"],
            "ctime": order["createTime"],
            "mtime": order["updateTime"],
            "price": order["price"],
            "amount": order["amount"],
            "taker_fee": "0.001",
            "maker_fee": "0.001",
            "left": order["left"],
            "deal_stock": order["dealStock"],
            "deal_money": order["dealMoney"],
            "deal_fee": "0",
            "client_order_id": "",
        }
        kind = 2 if order["status"] == 1 else 3
        frame = {"method": "ordersPending_update", "params": [kind, order_of_theirs], "id": None}
        frames.append(_dumps(frame))
    return frames


def binance_orders() -> list[str]:
    """The same orders in the shape that Binance documents for its executionReport events."""
    frames = []
    for text in orders():
        order = json.loads(text)["data"]
        created, updated = (round(order[name] * 1000) for name in ("createTime", "updateTime"))
        frames.append(
            _dumps(
                {
                    "e": "executionReport",
                    "E": updated,
                    "s": order["market"].replace("/", ""),
                    "c": "mUvoqJxFIILMdfAW5iGSOW",
                    "S": "SELL" if order["side"] == 1 else "BUY",
                    "o": "LIMIT" if order["type"] == 1 else "MARKET",
                    "f": "GTC",
                    "q": order["amount"],
                    "p": order["price"],
                    "P": "0.00000000",
                    "F": "0.00000000",
                    "g": -1,
                    "C": "",
                    "x": "TRADE",
                    "X": "PARTIALLY_FILLED",
                    "r": "NONE",
                    "i": order["id"],
                    "l": order["dealStock"],
                    "z": order["dealStock"],
                    "L": order["price"],
                    "n": "0",
                    "N": None,
                    "T": updated,
                    "t": 7,
                    "I": 8641984,
                    "w": True,
                    "m": False,
                    "M": False,
                    "O": created,
                    "Z": order["dealMoney"],
                    "Y": order["dealMoney"],
                    "Q": "0.00000000",
                }
            )
        )
    return frames


def candles() -> list[str]:
    """Updates of a candle that goes on."""
    random_ = random.Random(6)
    prices = [[_decimal(random_, 5) for _ in range(4)] for _ in range(COUNT)]
    return [
        _dumps(
            {
                "method": "sub_kline_BTC/USDT_1m",
                "ts": 1561948335075 + number,
                "data": {"list": [[1561948320, *four, _decimal(random_, 3), _decimal(random_, 6)]]},
            }
        )
        for number, four in enumerate(prices)
    ]


def books(levels: int) -> list[str]:
    """Updates of one order book of so many levels a side; in each a few amounts have changed."""
    random_ = random.Random(7)
    sides = {
        "asks": [[f"{10150 + at / 2:.2f}", _decimal(random_, 2)] for at in range(levels)],
        "bids": [[f"{10149 - at / 2:.2f}", _decimal(random_, 2)] for at in range(levels)],
    }
    found = []
    for number in range(COUNT):
        for side in sides.values():
            for _ in range(max(1, levels // 20)):
                random_.choice(side)[1] = _decimal(random_, 2)
        data = {"time": 1561948335.075 + number, **sides}
        ts = 1561948335075 + 1000 * number
        found.append(_dumps({"method": "sub_depth_BTC/USDT_1x", "ts": ts, "data": data}))
    return found
