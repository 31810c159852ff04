"""Topics: what a client can subscribe to. One value class, and the topics of the private
WebSocket."""

from typing import Final, Self

from attrs import field

from topone_proto._values import value
from topone_proto.errors import ConfigurationError

__all__ = ["Topic"]

_SUBSCRIBE: Final = "sub_"
_UNSUBSCRIBE: Final = "unsub_"


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name != "" and name.isascii() and name.isprintable()


def _check_name(_: object, __: object, name: str) -> None:
    if not _is_name(name):
        raise ConfigurationError(
            setting="topic",
            problem=f"a topic's name is printable ASCII text, not {name!r:.80}",
            remedy='use ORDERS or BALANCE, or a name such as Topic("kline_BTC/USDT_1m")',
        )


@value
class Topic:
    """One stream of updates.

    The exchange writes a topic as the tail of the method that subscribes to it: ``sub_orders`` is
    the topic ``orders``, ``sub_kline_BTC/USDT_1m`` the topic ``kline_BTC/USDT_1m``. That tail is
    the whole identity of a topic, its parameters included, so a parametrised topic is just another
    name.
    """

    name: str = field(validator=_check_name)
    """The tail of the subscribe method, such as ``"orders"``."""

    @property
    def subscribe_method(self) -> str:
        """``sub_…``: the method of the subscribe request, of its response and of every update."""
        return _SUBSCRIBE + self.name

    @property
    def unsubscribe_method(self) -> str:
        """``unsub_…``: the method of the unsubscribe request and of its response."""
        return _UNSUBSCRIBE + self.name

    @classmethod
    def from_method(cls, method: str) -> Self | None:
        """The topic that ``method`` subscribes to or publishes; None if it does neither."""
        name = method.removeprefix(_SUBSCRIBE)
        return cls(name) if name != method and _is_name(name) else None

    def __str__(self) -> str:
        return self.name
