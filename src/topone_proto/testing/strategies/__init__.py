"""Hypothesis strategies for what goes over the wire and for what an application sees.

Four floors: values, which are all such as the codec can produce; the frames that mean a value, in
every legal spelling; frames that mean nothing, from one defect to any bytes at all; and whole
conversations. ``st.from_type`` knows the values of the first floor by their types as soon as the
package is installed.
"""

from typing import Final, TypeAlias

from topone_proto.testing.strategies import _defects, _frames, _json
from topone_proto.testing.strategies._conversations import (
    Conversation,
    Received,
    Trouble,
    conversations,
    troubled_conversations,
)
from topone_proto.testing.strategies._defects import (
    Defect,
    NearMiss,
    any_frames,
    damaged_frames,
    near_misses,
)
from topone_proto.testing.strategies._frames import (
    decimal_spellings,
    decimal_texts,
    frames,
    text_frames,
    unknown_fields,
    wire_fields,
)
from topone_proto.testing.strategies._json import (
    json_texts,
    json_values,
    spellings,
)
from topone_proto.testing.strategies._values import (
    actions,
    endpoints,
    events,
    failures,
    messages,
    session_configs,
    steps,
    tokens,
    updates,
    updates_of,
    values,
)
from topone_proto.testing.strategies._wire import (
    balance_updates,
    balances,
    books,
    candles,
    deals_updates,
    decimals,
    depth_updates,
    kline_updates,
    order_updates,
    orders,
    pings,
    requests,
    responses,
    timestamps,
    topics,
    topics_of,
    trades,
    unknown_members,
    wire_enums,
)

__all__ = [
    "NO_DECIMALS",
    "Conversation",
    "Defect",
    "Json",
    "Meaningful",
    "NearMiss",
    "Received",
    "Trouble",
    "actions",
    "any_frames",
    "balance_updates",
    "balances",
    "books",
    "candles",
    "conversations",
    "damaged_frames",
    "deals_updates",
    "decimal_spellings",
    "decimal_texts",
    "decimals",
    "depth_updates",
    "endpoints",
    "events",
    "failures",
    "frames",
    "json_texts",
    "json_values",
    "kline_updates",
    "messages",
    "near_misses",
    "order_updates",
    "orders",
    "pings",
    "requests",
    "responses",
    "session_configs",
    "spellings",
    "steps",
    "text_frames",
    "timestamps",
    "tokens",
    "topics",
    "topics_of",
    "trades",
    "troubled_conversations",
    "unknown_fields",
    "unknown_members",
    "updates",
    "updates_of",
    "values",
    "wire_enums",
    "wire_fields",
]

Json: TypeAlias = _json.Json
"""A value that JSON can have."""

Meaningful: TypeAlias = _frames.Meaningful
"""A value for which there are frames that mean just this."""

NO_DECIMALS: Final = _defects.NO_DECIMALS
"""Texts that are no decimals of the wire, though ``Decimal`` reads many of them."""
