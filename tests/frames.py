"""Frames of the server for tests, written from the specification and not by the codec."""

import json
from typing import Any

from topone_proto import SendText, Step

TOKEN = "topapi:s3cr3t-t0k3n"


def requests(step: Step) -> list[dict[str, Any]]:
    """The requests among a step's actions."""
    texts = [action.text for action in step.actions if isinstance(action, SendText)]
    return [json.loads(text) for text in texts if '"params"' in text]


def ack(request: dict[str, Any], *, ts: int | None = 1000, code: int = 0, msg: str = "") -> str:
    """The server's answer to a request."""
    frame = {"id": request["id"], "method": request["method"], "code": code, "msg": msg}
    return json.dumps(frame if ts is None else frame | {"ts": ts})


def order(
    ts: int = 2000, *, number: int = 132991, status: int = 1, method: str = "sub_orders"
) -> str:
    data = {
        "id": number,
        "market": "ETH/BTC",
        "type": 1,
        "side": 2,
        "status": status,
        "price": "0.08132",
        "amount": "1.389",
        "left": "1.389",
        "dealStock": "0",
        "dealMoney": "0",
        "createTime": 1522235513.740678,
        "updateTime": 1522235513.740684,
    }
    return json.dumps({"method": method, "ts": ts, "data": data})


def balance(ts: int = 2000, *, asset: str = "ETH", available: str = "1.5") -> str:
    data = {"asset": asset, "available": available, "freeze": "0"}
    return json.dumps({"method": "sub_balance", "ts": ts, "data": data})
