"""Words for what happens to a relay, one line each. Pure, and safe to print."""

from typing import Final, get_args

from topone_cli._describe import describe
from topone_cli._errors import explain_failure
from topone_cli._format import printable
from topone_proto import Closed, Connected, Disconnected, Gap, SubscriptionRejected
from topone_proto.account import (
    FetchDelayed,
    FetchFailed,
    Knowledge,
    KnowledgeChanged,
    StateNotStored,
)
from topone_proto.events import ANOMALIES
from topone_proto.relay import ItemsDropped, LeaseAcquired, LeaseEnded, LeaseUnsure
from topone_relay import (
    AccountFailed,
    BusBack,
    BusLost,
    Happening,
    Leaving,
    MemberJoined,
    MemberLeft,
)

__all__ = ["is_told", "relay_words"]

_TOLD: Final = (
    Closed,
    Connected,
    Disconnected,
    FetchDelayed,
    FetchFailed,
    Gap,
    StateNotStored,
    SubscriptionRejected,
    *get_args(Happening),
    *ANOMALIES,
)


def is_told(event: object) -> bool:
    """Return True if an event is worth a line in the log of a relay of hundreds: what changes in an
    account itself is not."""
    if isinstance(event, KnowledgeChanged):
        return event.after is Knowledge.WHOLE
    return isinstance(event, _TOLD)


def relay_words(event: object) -> str:
    """Return what has happened in words, without its name and its account."""
    text = ""
    match event:
        case LeaseAcquired(epoch=epoch):
            text = f"held here from now on, epoch {epoch}"
        case LeaseEnded(epoch=epoch, reason=reason):
            text = f"no longer held here, epoch {epoch}: {reason}"
        case LeaseUnsure(epoch=epoch):
            text = f"nothing is published, as the bus does not renew the lease, epoch {epoch}"
        case ItemsDropped(count=count):
            text = f"{count} items dropped, as the bus takes none; a gap and a snapshot follow"
        case MemberJoined(member=node):
            text = f"{node} is there"
        case MemberLeft(member=node):
            text = f"{node} is gone"
        case BusLost(problem=problem):
            text = problem
        case BusBack():
            text = "the bus answers again"
        case AccountFailed(failure=failure, retry_in=retry_in):
            text = f"{explain_failure(failure)}; again in {retry_in:.0f} s"
        case Leaving(held=held):
            text = f"{held} accounts are handed over"
        case _:
            text = describe(event)  # type: ignore[arg-type]  # what an account tells
    return printable(text)
