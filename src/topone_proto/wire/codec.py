"""Text to message and request to text, and nothing else: total, stateless, the hot path of the
whole library.

The common frames, updates as the exchange's pages have them, take one typed pass: msgspec finds the
shape by the frame's method. It knows the methods of the topics that have come so far, since a topic
with parameters is a method of its own. Every other frame is read member by member (``_classify``).
Whatever the first way reads, the second reads the same.
"""

from collections.abc import Callable, Collection
from decimal import InvalidOperation
from typing import Any, Final, Union, cast

import msgspec

from topone_proto.wire._classify import read_slowly
from topone_proto.wire._members import Wrong, as_json
from topone_proto.wire._suspects import excerpt, has_marks, marked, suspects
from topone_proto.wire.families import lone_topics
from topone_proto.wire.messages import Malformed, Message, Request, Response
from topone_proto.wire.topic import Frame, Topic, Update

__all__ = ["carried", "decode", "encode", "excerpt", "suspects"]

_KEEP: Final = 4096
_MAX_SIZE: Final = 2**20
_MAX_KNOWN: Final = 2**10


class _TypedPass:
    """The decoder for updates of the topics that have come so far.

    A decoder is built for all of them at once. It is built anew when as many frames of new topics
    have come as it knows topics, so that building costs a bounded part of decoding. What names a
    thousand topics makes it forget all but those without parameters.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Know the topics without parameters, and no others."""
        self._known: dict[str, type[Frame]] = {}
        self._new = {topic.name: _frame(topic) for topic in lone_topics()}
        self._build()

    def learn(self, topic: Topic) -> None:
        """Take note of a topic of which an update was read member by member."""
        if topic.name in self._known:
            return
        if len(self._known) + len(self._new) >= _MAX_KNOWN:
            self.forget()
        if topic.name not in self._new:
            self._new[topic.name] = _frame(topic)
        self._missed += 1
        if self._missed >= len(self._known):
            self._build()

    def _build(self) -> None:
        global _decode_typed  # noqa: PLW0603 - found in less time than an attribute, on the hot path
        self._known = {**self._known, **self._new}
        self._new = {}
        self._missed = 0
        frames: Any = Union[tuple(self._known.values())]  # noqa: UP007 - of as many as there are
        _decode_typed = msgspec.json.Decoder(frames).decode


def _frame(topic: Topic) -> type[Frame]:
    """Return the shape of the updates of one topic, known by their method."""
    family = topic.family
    assert family is not None  # an update of the topic was read
    return cast(
        "type[Frame]",
        msgspec.defstruct(
            "Frame",
            [],
            bases=(family.frame,),
            namespace={"topic": topic},
            tag_field="method",
            tag=topic.subscribe_method,
            gc=False,
        ),
    )


_decode_typed: Callable[[str | bytes], Frame]
_typed: Final = _TypedPass()


def encode(request: Request) -> str:
    """Return the text frame of a request, with the members of the exchange's page in its order.

    >>> encode(Request(id="1", method="sub_orders"))
    '{"id":"1","method":"sub_orders","params":{},"lang":"zh-CN"}'
    """
    return as_json(
        {
            "id": request.id,
            "method": request.method,
            "params": dict(request.params),
            "lang": request.lang,
        }
    ).decode()


def decode(
    frame: str | bytes,
    keep: int = _KEEP,
    max_size: int = _MAX_SIZE,
    followed: Collection[Topic] | None = None,
) -> Message:
    """Return what a frame means. Never raises, whatever the frame contains.

    Args:
        frame: a text frame, as text or as its UTF-8 bytes, or one that was compressed with gzip.
        keep: how many characters of the frame an ``Unrecognised`` or ``Malformed`` keeps.
        max_size: how many bytes a compressed frame may unpack to.
        followed: the topics of which a frame may be that cannot be read and does not say. None:
            those without parameters.

    >>> update = decode(
    ...     '{"method":"sub_balance","ts":1,"data":{"asset":"ETH","available":"2.50","freeze":"0"}}'
    ... )
    >>> update.balance
    Balance(asset='ETH', available=Decimal('2.50'), freeze=Decimal('0'))
    """
    try:
        update: Update | None = _decode_typed(frame).read()
        if update is not None:
            return update
    except (ValueError, RecursionError, InvalidOperation):
        pass
    message = read_slowly(frame, keep, max_size, followed)
    if isinstance(message, Update):
        _typed.learn(message.topic)
    return message


def carried(
    response: Response, method: str | None = None, *, keep: int = _KEEP
) -> tuple[Update | Malformed, ...]:
    """Return the updates that a response carries in its data, in order: one state, or a list of
    them.

    What may have been one and cannot be read is a ``Malformed`` that names its topics.

    Args:
        response: the response.
        method: the method that subscribes to its topic, if that is known.
        keep: how many characters of the data a ``Malformed`` keeps.
    """
    data = response.data
    if not isinstance(data, dict | list) or not data:
        return ()
    topic = Topic.from_method(method or response.method or "")
    family = None if topic is None else topic.family
    items: list[object] = [data]
    if isinstance(data, list):
        items = cast("list[object]", data)
    elif family is None or not has_marks(family, as_json(list(cast("dict[str, object]", data)))):
        listed = cast("dict[str, object]", data).get("list")
        items = cast("list[object]", listed) if isinstance(listed, list) else items
    found: list[Update | Malformed] = []
    for item in items:
        raw = as_json(item)
        named = marked(raw) if topic is None or family is None else (topic,)
        if not named or (family is not None and not has_marks(family, raw)):
            # Such as {} and {"status":"success"}: a word of the server about the request.
            continue
        reason, path = "data without a method", "$.data"
        if topic is not None and family is not None:
            try:
                found.append(family.read(topic, raw, response.ts))
                continue
            except Wrong as error:
                reason, path = error.reason, error.path
        found.append(Malformed(reason, path, excerpt(raw, keep), len(raw), topics=named))
    return tuple(found)
