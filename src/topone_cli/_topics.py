"""The topics that the command follows."""

from typing import Final

from topone_proto import BALANCE, ORDERS, Topic
from topone_proto.wire.families import lone_topics
from topone_proto.wire.topic import family_of

__all__ = ["ACCOUNT_NAMES", "ACCOUNT_TOPICS", "PRIVATE_TOPICS"]


def _is_private(topic: Topic) -> bool:
    family = family_of(topic.name)
    return family is not None and family.socket == "private"


ACCOUNT_TOPICS: Final[tuple[Topic, ...]] = (BALANCE, ORDERS)
"""The topics of an account: what they tell is asked for over HTTP as well."""
ACCOUNT_NAMES: Final = ",".join(map(str, ACCOUNT_TOPICS))
"""Their names, as an option takes them."""
PRIVATE_TOPICS: Final = tuple(filter(_is_private, lone_topics()))
"""All topics that the private WebSocket serves, from the registry of families."""
