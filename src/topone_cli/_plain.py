"""Events, changes and reports as plain data: what ``json`` can write."""

from typing import Any

from topone_cli._events import AnyEvent
from topone_proto.account import Resynced
from topone_proto.plain import to_plain

__all__ = ["plain_of"]


def plain_of(event: AnyEvent) -> dict[str, Any]:
    """Return an event with its class's name first, and those within it as well.

    >>> from topone_proto import Connected
    >>> plain_of(Connected(epoch=1))
    {'event': 'Connected', 'epoch': 1}
    """
    found: dict[str, Any] = to_plain(event)  # type: ignore[arg-type]  # it writes any value
    if isinstance(event, Resynced):
        found["differences"] = [plain_of(difference) for difference in event.differences]
    return found
