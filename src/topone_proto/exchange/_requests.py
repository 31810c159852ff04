"""Requests of clients, read from the exchange's pages and from nothing of the client's."""

import json
from collections.abc import Mapping
from typing import Any, cast

from attrs import field

from topone_proto._values import value

__all__ = ["Request", "read_request"]


@value
class Request:
    """A client's request, as far as it can be read."""

    id: str | None = None
    """The id that the response repeats; None if there is none that is a text."""
    method: str | None = None
    """The method, such as ``sub_orders``; None if there is none that is a text."""
    params: Mapping[str, Any] = field(factory=dict[str, Any])
    """The parameters."""
    is_pong: bool = False
    """True if the frame is no request and answers a ping."""
    pong: object = None
    """The number that a pong of the form ``{"pong":1561948335075}`` repeats."""
    problem: str = ""
    """The reason that the request cannot be carried out; empty if it can."""


def read_request(frame: str | bytes) -> Request:
    """Return the request in a frame; one that cannot be carried out says its ``problem``."""
    if frame in {"pong", b"pong"}:
        return Request(is_pong=True)
    try:
        parsed = json.loads(frame)
    except (ValueError, RecursionError):
        return Request(problem="not JSON")
    if not isinstance(parsed, dict):
        return Request(problem="not a JSON object")
    members = cast("dict[str, Any]", parsed)
    if members.get("method") == "pong" or ("method" not in members and "pong" in members):
        return Request(is_pong=True, pong=members.get("pong"))
    identity, method = (
        members[name] if isinstance(members.get(name), str) and members[name] else None
        for name in ("id", "method")
    )
    if identity is None:
        problem = "id is not a text"
    elif method is None:
        problem = "method is not a text"
    elif not isinstance(members.get("params", {}), dict):
        problem = "params is not an object"
    elif not isinstance(members.get("lang", ""), str):
        problem = "lang is not a text"
    else:
        problem = ""
    return Request(
        identity, method, params={} if problem else members.get("params", {}), problem=problem
    )
