"""Scenarios in which all goes well."""

from typing import Final

from attrs import evolve

from topone_proto.errors import FeedClosed
from topone_proto.events import Closed, Connected, Subscribed, UnexpectedUpdate
from topone_proto.exchange import (
    DelayAck,
    DropConnections,
    GatewayConfig,
    PingForm,
    SendRaw,
)
from topone_proto.session.config import SessionConfig
from topone_proto.testing.conformance.certificates import client_context, server_context
from topone_proto.testing.conformance.kit import ETH, ORDER, QUICK, UP, UP_AGAIN, Kit
from topone_proto.testing.conformance.scenario import Collection, Group
from topone_proto.wire.balance import BalanceUpdate
from topone_proto.wire.orders import ORDERS, OrderUpdate

__all__ = ["LIFE"]

LIFE: Final = Collection(Group.LIFE)
"""These scenarios."""


@LIFE.add(
    [
        *UP,
        "orders 132991",
        "balance ETH",
        "unsubscribed orders 1",
        "balance ETH",
        "subscribed orders 1",
        "orders 132991",
        "closed",
    ]
)
async def one_update_of_each_kind_and_every_call(kit: Kit) -> None:
    """Updates come in order and whole, ``subscribe`` and ``unsubscribe`` return after their
    acknowledgement, and doing either twice changes nothing. Behind ``Closed`` the iteration ends,
    and every call raises ``FeedClosed``."""
    async with kit.open() as feed:
        await feed.until(Subscribed, 2)
        kit.simulator.publish(ORDER, ETH)
        kit.same((await feed.take(OrderUpdate)).order, ORDER, "the order")
        kit.same((await feed.take(BalanceUpdate)).balance, ETH, "the balance")
        await feed.unsubscribe(ORDERS)
        await feed.unsubscribe(ORDERS)
        kit.simulator.publish(ORDER, ETH)
        await feed.subscribe(ORDERS)
        await feed.subscribe(ORDERS)
        kit.simulator.publish(ORDER)
        await feed.until(OrderUpdate)
        await feed.close()
        await feed.close()
        await feed.until(Closed)
        for call in (feed.subscribe, feed.unsubscribe):
            with kit.raises(FeedClosed):
                await call(ORDERS)
        kit.same(await feed.next(), None, "behind the end")


@LIFE.add([*UP, "disconnected lost, retry", *UP_AGAIN, "balance ETH"])
async def a_dropped_connection_comes_back_with_a_gap_for_every_topic(kit: Kit) -> None:
    """The feed dials again by itself, subscribes to what was subscribed to, and says which updates
    may be missing."""
    async with kit.open(config=QUICK) as feed:
        await feed.until(Subscribed, 2)
        kit.simulator.inject(DropConnections())
        await feed.until(Subscribed, 2)
        kit.simulator.publish(ETH)
        await feed.until(BalanceUpdate)


@LIFE.add(["connected 1", "orders 132991", "subscribed orders 1", "unsubscribed orders 1",
            "UnexpectedUpdate"])  # fmt: skip
async def an_update_may_overtake_its_acknowledgement(kit: Kit) -> None:
    """An update that comes before the acknowledgement is delivered; one that nobody asked for is an
    anomaly."""
    kit.simulator.inject(DelayAck(seconds=0.2))
    async with kit.open(topics=[ORDERS]) as feed:
        await feed.until(Connected)
        await kit.eventually(lambda: kit.simulator.requests, "the feed subscribes")
        kit.simulator.publish(ORDER)
        await feed.until(Subscribed)
        await feed.unsubscribe(ORDERS)
        data = '{"asset":"X","available":"1","freeze":"0"}'
        kit.simulator.inject(SendRaw(f'{{"method":"sub_balance","ts":1,"data":{data}}}'))
        await feed.until(UnexpectedUpdate)


@LIFE.add_each(
    {form.value: form for form in PingForm},
    lambda _: [*UP, "unsubscribed orders 1", "balance ETH"],
)
async def a_ping_is_answered(kit: Kit, form: PingForm) -> None:
    """The exchange drops whoever does not answer its pings. A ping of the WebSocket protocol is the
    library's to answer; those in text are the core's, and their answers are among the actions."""
    config = GatewayConfig(ping_form=form, ping_interval=0.02, pong_timeout=0.4)
    with kit.serve(config=config) as simulator:
        async with kit.open(url=simulator.url, config=QUICK) as feed:
            await feed.until(Subscribed, 2)
            # Thirty pings fall into the time that this takes; one alone would have been too old.
            simulator.inject(DelayAck(seconds=0.6))
            await feed.unsubscribe(ORDERS)
            simulator.publish(ETH)
            await feed.until(BalanceUpdate)


@LIFE.add([*UP, "unsubscribed orders 1", "balance ETH"])
async def an_answered_ping_keeps_an_idle_connection(kit: Kit) -> None:
    """Every pong has to be reported, with its payload: without one the core takes the connection
    for dead. Look at what becomes of ``SendPing`` and of the library's pongs."""
    config = evolve(QUICK, ping_interval=0.3, pong_timeout=0.3, silence_timeout=0.7)
    async with kit.open(config=config) as feed:
        await feed.until(Subscribed, 2)
        kit.simulator.inject(DelayAck(seconds=1.5))
        await feed.unsubscribe(ORDERS)
        kit.simulator.publish(ETH)
        await feed.until(BalanceUpdate)


@LIFE.add_each(
    {"left out": None, "empty": "", "of a page": "https://example.org"},
    lambda origin: ["disconnected handshake", "closed handshake"] if origin else UP,
)
async def an_origin_header_is_sent_only_if_asked_for(kit: Kit, origin: str | None) -> None:
    """The exchange refuses a handshake with any ``Origin``. Some libraries add one of their own."""
    config = SessionConfig(max_attempts=1, retry_first=1e-6)
    async with kit.open(origin=origin, config=config) as feed:
        if origin:
            await feed.until(Closed)
        else:
            await feed.until(Subscribed, 2)
    kit.same([dial.header("Origin") for dial in kit.simulator.handshakes], [origin], "Origin")


@LIFE.add([*UP, "balance ETH"])
async def a_private_authority_is_trusted_if_asked_for(kit: Kit) -> None:
    """``ssl_context`` is what certificates are checked with."""
    with kit.serve(ssl_context=server_context()) as simulator:
        async with kit.open(url=simulator.url, ssl_context=client_context()) as feed:
            await feed.until(Subscribed, 2)
            simulator.publish(ETH)
            await feed.until(BalanceUpdate)
