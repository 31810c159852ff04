"""Topics, the families that they belong to, and what every update has in common.

Theory. The exchange writes a topic as the tail of the method that subscribes to it: ``sub_orders``
is the topic ``orders``, ``sub_kline_BTC/USDT_1m`` the topic ``kline_BTC/USDT_1m``. That tail is the
whole identity of a topic. All topics whose updates have one shape are a *family*. A family is one
file of this folder: the value, the update, the shape on the wire, the topics. ``register`` makes it
known, and then the codec reads it, the connection follows it, the buffer conflates it and the
strategies draw it. Nothing else in the package lists topics.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Generic, Literal, Self

import msgspec
from attrs import field

from topone_proto._values import value
from topone_proto.errors import ConfigurationError

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    # So that a Topic without an argument is a topic of anything.
    T_co = TypeVar("T_co", default=Any, covariant=True)
else:
    from typing import TypeVar

    T_co = TypeVar("T_co", covariant=True)

__all__ = [
    "FIRST_MS",
    "LAST_MS",
    "Family",
    "Frame",
    "Socket",
    "Topic",
    "Update",
    "families",
    "family_of",
    "register",
]

# Milliseconds from 1973 to 5138. Seconds, microseconds and nanoseconds of the same years are other
# numbers, so that the size of a number tells its unit.
FIRST_MS: Final = 10**11
"""The least server time that is milliseconds for certain."""
LAST_MS: Final = 10**14
"""The first number above those times."""

_SUBSCRIBE: Final = "sub_"
_UNSUBSCRIBE: Final = "unsub_"

Socket = Literal["private", "public"]
"""The WebSocket that serves a topic: the account's own, or that of market data."""


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name != "" and name.isascii() and name.isprintable()


def _check_name(_: object, __: object, name: str) -> None:
    if not _is_name(name):
        raise ConfigurationError(
            setting="topic",
            problem=f"a topic's name is printable ASCII text, not {name!r:.80}",
            remedy='use ORDERS, BALANCE or kline("BTC/USDT", "1m"), or a name such as '
            'Topic("kline_BTC/USDT_1m")',
        )


@value
class Topic(Generic[T_co]):
    """One stream of updates. ``T_co`` is the value that its updates bring.

    Topics are equal if their names are.
    """

    name: str = field(validator=_check_name)
    """The tail of the subscribe method, such as ``"orders"``."""

    @property
    def family(self) -> "Family[T_co] | None":
        """The family that the topic belongs to; None if this version does not know it."""
        return family_of(self.name)

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
        """Return the topic that ``method`` subscribes to or publishes; None if it does neither."""
        name = method.removeprefix(_SUBSCRIBE)
        return cls(name) if name != method and _is_name(name) else None

    def __str__(self) -> str:
        return self.name


class Update:
    """Base of everything that a subscription brings."""

    __slots__ = ()

    topic: Topic[Any]
    """The topic that it is an update of."""
    ts: int | None
    """Server time in milliseconds; None if the server gave none that can be read."""

    @property
    def key(self) -> tuple[object, ...] | None:
        """The name of the thing that the update is about. A newer update of the same key replaces
        it for an application that wants the newest only. None: no other update replaces it."""
        return None

    @property
    def is_final(self) -> bool:
        """True if it tells the end of the thing that it is about, which no later update repeats."""
        return False

    @property
    def text(self) -> str:
        """The name in it that is the server's own choice, such as a coin's; ``""`` if there is
        none."""
        return ""


class Frame(msgspec.Struct, gc=False):
    """An update on the wire, as the exchange's pages have it: what one typed pass reads."""

    ts: Annotated[int, msgspec.Meta(ge=FIRST_MS, lt=LAST_MS)]
    """Server time in milliseconds."""
    data: Any
    """The content of the update, in the shape of its family."""
    code: None = None
    """Absent: with a code the frame may be a response, which has the method of its subscription."""

    topic: ClassVar[Topic[Any]]
    """The topic; each has a class of its own."""

    def read(self) -> Update | None:
        """Return the update; None if it has to be read member by member."""
        raise NotImplementedError


@value
class Family(Generic[T_co]):
    """All topics whose updates have one shape. ``T_co`` is the value that they bring."""

    name: str
    """The first word of its topics' names, such as ``kline``."""
    socket: Socket
    """The WebSocket that serves its topics."""
    update: type[Update]
    """The class of its updates."""
    example: Update
    """An update as the exchange's page shows one."""
    has: Callable[[str], bool]
    """Returns True for the names of this family's topics."""
    frame: type[Frame]
    """The shape of an update on the wire, and how it is read in one typed pass."""
    read: Callable[[Topic[Any], bytes, int | None], Update] = field(eq=False)
    """Reads an update from its topic, its data in whatever form, and its server time. Raises
    ``Wrong`` for data that are no such update."""
    write: Callable[[Any], Any] = field(eq=False)
    """Returns the data of an update as plain JSON: what ``read`` reads."""
    marks: tuple[bytes, ...]
    """The members by which the data of an update are known, whatever is around them."""
    pulled: Callable[[Topic[Any], Any], tuple[T_co, ...] | str] | None = field(
        default=None, eq=False
    )
    """Reads the data of the answer to a pull: the values, each with its ``time`` in whole seconds,
    or in words why there are none. None if its topics cannot be pulled."""
    period: Callable[[Topic[T_co]], int] | None = field(default=None, eq=False)
    """Returns the seconds between two values of a topic that can be pulled, at least."""
    topic: Topic[T_co] | None = None
    """Its only topic; None if its topics have parameters."""


_families: Final[list[Family[Any]]] = []


def register(family: Family[Any]) -> None:
    """Make a family known. Of two that have the same topic the first counts.

    ``topone_proto`` has done so for all of its own. Do it before the first frame comes.
    """
    _families.append(family)


def families() -> tuple[Family[Any], ...]:
    """Return all families that are known."""
    return tuple(_families)


def family_of(name: str) -> Family[Any] | None:
    """Return the family of the topic of this name; None if there is none."""
    for family in _families:
        if family.has(name):
            return family
    return None
