"""Scenarios in which a token is most easily let out.

Every scenario looks for it in every event, in every exception that it catches and in every line of
every log: these are here for what no other does.
"""

from typing import Final
from uuid import uuid4

from topone_proto.errors import ConfigurationError, FeedFailed
from topone_proto.events import Closed, Subscribed
from topone_proto.exchange import AnswerGarbage, CloseConnections, DropConnections
from topone_proto.secrets.token import Token
from topone_proto.session.config import SessionConfig
from topone_proto.testing.conformance.kit import ONCE, QUICK, UP, UP_AGAIN, Kit
from topone_proto.testing.conformance.leaks import TOKEN, where_in_caches
from topone_proto.testing.conformance.scenario import Collection, Group

__all__ = ["SECRECY"]

SECRECY: Final = Collection(Group.SECRETS)
"""These scenarios."""


@SECRECY.add(
    [
        *UP,
        "disconnected lost, retry",
        *UP_AGAIN,
        "disconnected closed, retry",
        *(line.replace("2", "3") for line in UP_AGAIN),
    ]
)
async def a_token_that_is_wrapped_already(kit: Kit) -> None:
    """A ``Token`` is as good as its text. It is in the URL of every dial, and libraries like to log
    URLs."""
    async with kit.open(token=Token(TOKEN), config=QUICK) as feed:
        await feed.until(Subscribed, 2)
        for fault in (DropConnections(), CloseConnections(reason="bye")):
            kit.simulator.inject(fault)
            await feed.until(Subscribed, 2)
            await feed.next()


@SECRECY.add(["disconnected token, retry", "disconnected token", "closed token"])
async def a_callable_that_talks_while_it_fails(kit: Kit) -> None:
    """Its exception is neither shown nor chained to the error that ends the feed."""

    def supply() -> str:
        raise RuntimeError(TOKEN)

    async with kit.open(token=supply, config=ONCE) as feed:
        await feed.until(Closed)
        with kit.raises(FeedFailed):
            await feed.next()


@SECRECY.add()
async def the_chain_of_an_error(kit: Kit) -> None:
    """A library's exception, with the URL in its text or its frames, is not what an error of the
    feed came of."""
    kit.simulator.inject(AnswerGarbage(times=None))
    async with kit.open(config=ONCE) as feed:
        await feed.until(Closed)
        with kit.raises(FeedFailed) as caught:
            await feed.next()
    kit.same(caught.error.__cause__, None, "the cause of the error")


@SECRECY.add()
async def caches_of_libraries(kit: Kit) -> None:
    """Parsers of URLs remember what they were given. ``Connect.target`` needs none: no URL with the
    token is to be given to one."""
    # One that no scenario has dialled with before.
    secret = uuid4().hex
    async with kit.open(token=Token(f"topapi:{secret}"), config=ONCE) as feed:
        await feed.until(Closed)
    kit.same(where_in_caches(secret), None, "the function whose cache has the token")


@SECRECY.add_each(
    {
        "a token of two lines": (f"{TOKEN}\n", "ws://127.0.0.1:1/", None),
        "no WebSocket URL": (TOKEN, "http://127.0.0.1:1/", None),
        "a token in the URL": (TOKEN, f"wss://127.0.0.1:1/?token={TOKEN}", None),
        "a token in the open": (TOKEN, "ws://example.org/", None),
        "an origin of two lines": (TOKEN, "ws://127.0.0.1:1/", "a\nb"),
    }
)
async def a_setting_that_cannot_be_used(kit: Kit, case: tuple[str, str, str | None]) -> None:
    """``ConfigurationError`` says which setting it is, before anything is dialled, and neither its
    text nor the local variables of its frames show it: ``conceal`` comes first in ``open_feed``."""
    token, url, origin = case
    with kit.raises(ConfigurationError):
        async with kit.open(token=token, url=url, origin=origin, config=SessionConfig()):
            raise AssertionError
