"""Messages on the bus, and how they are read and written.

One message is one JSON object::

    {"version": 1, "account": "main", "epoch": 3, "number": 17, "items": [
        {"kind": "BalanceUpdate", "payload": {"balance": {…}, "ts": 1561948335075}}, …]}

An item is an event, whose kind is the name of its class and whose payload is that of
``topone_proto.plain``, or one of the kinds of ``topone_proto.relay``: ``opened``, ``snapshot``,
``left_out``. A message without items only says that the holder is alive. A reader skips kinds and
members that it does not know, so that holders may be newer than consumers.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, cast

import msgspec
from attrs import field

from topone_proto._values import value
from topone_proto.errors import TopOneError

__all__ = [
    "ENVELOPE_VERSION",
    "Count",
    "Envelope",
    "EnvelopeError",
    "Item",
    "decode_envelope",
    "encode_envelope",
    "encode_item",
    "join_items",
]

ENVELOPE_VERSION: Final = 1
"""The version of the messages that are written and read here."""

_MAX_KEPT: Final = 200


class EnvelopeError(TopOneError, ValueError):
    """A message on the bus is none of a relay, or one of another version.

    ``problem`` says which. Let only the relay's machines publish to its subjects; for a newer
    version, update topone-proto.
    """

    def __init__(self, *, problem: str, beginning: str) -> None:
        super().__init__(
            f"not a message of a relay: {problem}; let only the relay's machines publish to its "
            "subjects, and update topone-proto if they have a newer one"
        )
        self.problem = problem
        """The defect, in a few words."""
        self.beginning = beginning
        """The beginning of the message."""


@value
class Item:
    """One thing that a message tells."""

    kind: str
    """The kind of thing: the name of an event's class, or one of the relay's own."""
    payload: Mapping[str, Any] = field(factory=dict[str, Any], hash=False)
    """Its members, as plain data."""


@value
class Envelope:
    """One message on the bus."""

    account: str
    """The account's name on the bus."""
    epoch: int
    """The number of the lease under which it is published."""
    number: int
    """The number of the message within the epoch: 1, 2, 3, without holes."""
    items: tuple[Item, ...] = ()
    """Everything that it tells, in order; nothing if it only says that the holder is alive."""
    version: int = ENVELOPE_VERSION
    """The version of its form."""


# --- writing --------------------------------------------------------------------------------------


def encode_item(item: Item) -> bytes:
    """Return one item as it stands in a message."""
    plain = {"kind": item.kind, "payload": item.payload}
    try:
        return msgspec.json.encode(plain)
    except (UnicodeEncodeError, OverflowError, ValueError):
        # Texts of a peer may have lone surrogates, and numbers any size.
        return msgspec.json.encode(_encodable(plain))


def join_items(account: str, epoch: int, number: int, items: Iterable[bytes]) -> bytes:
    """Return the message that has these items, each as ``encode_item`` gave it."""
    head = msgspec.json.encode(
        {"version": ENVELOPE_VERSION, "account": account, "epoch": epoch, "number": number}
    )
    return b'%b,"items":[%b]}' % (head[:-1], b",".join(items))


def encode_envelope(envelope: Envelope) -> bytes:
    """Return a message as it goes over the bus.

    >>> encode_envelope(Envelope("main", 3, 17))
    b'{"version":1,"account":"main","epoch":3,"number":17,"items":[]}'
    """
    items = (encode_item(item) for item in envelope.items)
    return join_items(envelope.account, envelope.epoch, envelope.number, items)


def _encodable(plain: Any) -> Any:
    match plain:
        case str():
            return plain.encode("utf-8", "replace").decode()
        case int() if not -(2**63) <= plain < 2**64:
            return str(plain)
        case Mapping():
            members = cast("Mapping[str, Any]", plain)
            return {_encodable(name): _encodable(member) for name, member in members.items()}
        case list() | tuple():
            return [_encodable(each) for each in cast("list[Any]", plain)]
        case _:
            return plain


# --- reading --------------------------------------------------------------------------------------

Count = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""A number of a lease or of a message."""


class _Item(msgspec.Struct, gc=False):
    kind: str
    payload: dict[str, Any] = {}


class _Message(msgspec.Struct, gc=False):
    version: Count
    account: str
    epoch: Count
    number: Count
    items: list[_Item]


_decode: Final = msgspec.json.Decoder(_Message).decode


def decode_envelope(data: bytes) -> Envelope:
    """Return the message that came over the bus.

    Raises:
        EnvelopeError: it is none, or one of a newer version.
    """
    try:
        message = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EnvelopeError(problem=str(error)[:_MAX_KEPT], beginning=_shown(data)) from None
    if message.version != ENVELOPE_VERSION:
        raise EnvelopeError(problem=f"it has version {message.version}", beginning=_shown(data))
    items = tuple(Item(item.kind, item.payload) for item in message.items)
    return Envelope(message.account, message.epoch, message.number, items)


def _shown(data: bytes) -> str:
    return data[:_MAX_KEPT].decode("utf-8", "backslashreplace")
