"""Scenarios in which something goes wrong: every ``FailureKind`` at least once, and what the
exchange does amiss."""

import re
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from attrs import evolve

from topone_proto.events import (
    Connected,
    Disconnected,
    RequestTimedOut,
    Subscribed,
    SubscriptionRejected,
)
from topone_proto.exchange import (
    MALFORMED_FRAME,
    UNKNOWN_METHOD_FRAME,
    AcceptThenClose,
    AnswerGarbage,
    CloseConnections,
    DropConnections,
    DuplicateAck,
    Fault,
    GoSilent,
    IgnoreHandshake,
    LoseAck,
    RefuseHandshake,
    RejectRequest,
    SendRaw,
    SendStrangeUpdate,
    WrongId,
)
from topone_proto.failures import FailureKind
from topone_proto.testing.conformance.certificates import server_context
from topone_proto.testing.conformance.kit import ETH, ONCE, QUICK, UP, UP_AGAIN, Kit
from topone_proto.testing.conformance.leaks import TOKEN
from topone_proto.testing.conformance.scenario import Collection, Group
from topone_proto.wire.balance import BalanceUpdate
from topone_proto.wire.orders import ORDERS

__all__ = ["FAILURES"]

FAILURES: Final = Collection(Group.FAILURES)
"""These scenarios."""

# --- the dial ------------------------------------------------------------------------------------


@FAILURES.add(
    [
        "disconnected refused, retry",
        "disconnected refused, retry",
        "disconnected refused",
        "closed refused",
    ]
)
async def a_port_where_nobody_listens(kit: Kit) -> None:
    """``REFUSED``. ``max_attempts`` ends the feed, and iterating raises ``FeedFailed``."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = evolve(QUICK, max_attempts=2)
    async with kit.open(url=f"ws://127.0.0.1:{port}/", config=config) as feed:
        await feed.failure()


@FAILURES.add(["disconnected dns, retry", "disconnected dns", "closed dns"])
async def a_name_that_does_not_resolve(kit: Kit) -> None:
    """``DNS``. The library's exception is handed to ``failure_from_exception``."""
    async with kit.open(url="wss://no-such-host.invalid/", config=ONCE) as feed:
        await feed.failure()


@FAILURES.add(["disconnected network, retry", "disconnected network", "closed network"])
async def a_network_that_cannot_be_reached(kit: Kit) -> None:
    """``NETWORK``: an ``OSError`` that has no kind of its own. Here, nobody can connect to a
    broadcast address."""
    async with kit.open(url="ws://255.255.255.255/", insecure=True, config=ONCE) as feed:
        await feed.failure()


@FAILURES.add(["disconnected tls, retry", "disconnected tls", "closed tls"])
async def a_certificate_that_is_not_trusted(kit: Kit) -> None:
    """``TLS``. Nothing is sent to a server that cannot show who it is, least of all a token."""
    with kit.serve(ssl_context=server_context()) as simulator:
        async with kit.open(url=simulator.url, config=ONCE) as feed:
            failure = await feed.failure()
        kit.check("certificate" in str(failure), f"'certificate' is not in {str(failure)!r}")
        kit.same(simulator.handshakes, (), "the dials that the server read")


@FAILURES.add(["disconnected timeout, retry", *UP])
async def a_handshake_without_an_answer_times_out(kit: Kit) -> None:
    """``TIMEOUT``. The core says so, and has the dial cancelled by a ``Close``."""
    kit.simulator.inject(IgnoreHandshake())
    async with kit.open(config=evolve(QUICK, open_timeout=0.3)) as feed:
        await feed.until(Subscribed, 2)


@FAILURES.add(["disconnected not_websocket, retry", *UP])
async def garbage_is_no_websocket(kit: Kit) -> None:
    """``NOT_WEBSOCKET``: an answer that is no HTTP. Whatever a library makes of it is caught."""
    kit.simulator.inject(AnswerGarbage())
    async with kit.open(config=QUICK) as feed:
        await feed.until(Subscribed, 2)


@FAILURES.add()
async def a_server_that_hangs_up_in_the_handshake(kit: Kit) -> None:
    """``NOT_WEBSOCKET`` or ``NETWORK``, as the library tells it: either is tried again."""
    with _hanging_up(kit.patience) as url:
        async with kit.open(url=url, config=ONCE) as feed:
            failure = await feed.failure()
    kinds = {FailureKind.NOT_WEBSOCKET, FailureKind.NETWORK}
    kit.check(failure.kind in kinds, f"the failure is {failure.kind}")


@contextmanager
def _hanging_up(patience: float) -> Generator[str, None, None]:
    """A server that reads the handshake, or waits for it so many seconds, and hangs up."""
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

        def serve() -> None:
            while not is_over.is_set():
                # A client may hang up first, and not gently.
                with suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        connection.settimeout(patience)
                        connection.recv(4096)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{address[1]}/"
        finally:
            is_over.set()
            # Nothing else wakes up `accept` everywhere.
            with suppress(OSError):
                socket.create_connection(address).close()
            thread.join()


@FAILURES.add_each(
    {str(status): status for status in (200, 301, 404, 500, 503)},
    lambda _: ["disconnected handshake, retry", *UP],
)
async def an_answer_that_is_tried_again(kit: Kit, status: int) -> None:
    """``HANDSHAKE`` with its HTTP status. No redirect is followed: it would take the token
    elsewhere."""
    kit.simulator.inject(RefuseHandshake(status))
    async with kit.open(config=QUICK) as feed:
        reason = (await feed.take(Disconnected)).reason
        kit.same(reason.status, status, "the status")
        await feed.until(Subscribed, 2)
    kit.same(len(kit.simulator.handshakes), 2, "the number of dials")


@FAILURES.add_each(
    {"403": (403, "Origin.*token"), "401": (401, "token")},
    lambda _: ["disconnected handshake", "closed handshake"],
)
async def an_answer_that_ends_the_feed(kit: Kit, case: tuple[int, str]) -> None:
    """The same token cannot fare better: the feed ends, and its error names what to check."""
    status, advice = case
    kit.simulator.inject(RefuseHandshake(status, times=None))
    async with kit.open() as feed:
        failure = await feed.failure()
    kit.same(failure.status, status, "the status")
    kit.check(re.search(advice, str(failure)), f"the advice is {str(failure)!r}")
    kit.same(len(kit.simulator.handshakes), 1, "the number of dials")


@FAILURES.add_each({"429": 429, "503": 503}, lambda _: ["disconnected handshake, retry", "closed"])
async def retry_after_is_honoured(kit: Kit, status: int) -> None:
    """No dial comes before the deadline of the step says so. ``failure_from_response`` reads
    ``Retry-After`` if it is given the answer's headers."""
    kit.simulator.inject(RefuseHandshake(status, retry_after=77))
    async with kit.open() as feed:
        event = await feed.take(Disconnected)
        kit.same(event.reason.retry_after, 77, "Retry-After")
        kit.check(event.retry_in and 77 <= event.retry_in <= 78, f"retry in {event.retry_in} s")
        await kit.sleep(0.1)
        kit.same(len(kit.simulator.handshakes), 1, "the number of dials")
        await feed.close()  # while it backs off
        await feed.rest()


# --- the token callable --------------------------------------------------------------------------


@FAILURES.add(
    [
        "disconnected handshake, retry",
        "connected 1",
        "subscribed orders 1",
        "disconnected lost, retry",
        "connected 2",
        "subscribed orders 2",
        "gap orders 2",
    ]
)
async def a_token_callable_is_asked_before_every_dial(kit: Kit) -> None:
    """Also after a token was refused, since the next may be better. That is what ``FetchToken``
    says."""
    answers = iter(["stale", TOKEN, TOKEN])
    async with kit.open(token=lambda: next(answers), topics=[ORDERS], config=QUICK) as feed:
        await feed.until(Subscribed)
        kit.simulator.inject(DropConnections())
        await feed.until(Subscribed)
        await feed.next()
    kit.same(next(answers, None), None, "what it was not asked for")


@FAILURES.add(["disconnected token, retry", "disconnected token, retry", "connected 1"])
async def a_token_callable_that_fails_is_asked_again(kit: Kit) -> None:
    """``TOKEN``: it raised, or supplied something that is no token. Its own words are never told,
    since they may be a secret's."""
    answers: Iterator[str | None] = iter([None, f"two words of {TOKEN}", TOKEN])

    def supply() -> str:
        answer = next(answers)
        if answer is None:
            raise RuntimeError(TOKEN)
        return answer

    async with kit.open(token=supply, topics=[], config=QUICK) as feed:
        await feed.until(Connected)


# --- the connection ------------------------------------------------------------------------------


@FAILURES.add([*UP, "disconnected closed, retry", *UP_AGAIN])
async def a_close_frame_is_told_with_its_code(kit: Kit) -> None:
    """``CLOSED``, with the peer's code and reason, which are not the library's own."""
    async with kit.open(config=QUICK) as feed:
        await feed.until(Subscribed, 2)
        kit.simulator.inject(CloseConnections(code=1012, reason="restart"))
        reason = (await feed.take(Disconnected)).reason
        kit.same((reason.code, reason.detail), (1012, "restart"), "code and reason")
        await feed.until(Subscribed, 2)
        await feed.next()


@FAILURES.add(
    [
        "connected 1",
        "disconnected closed, retry",
        "connected 2",
        "subscribed balance 2",
        "subscribed orders 2",
    ]
)
async def a_server_that_accepts_and_closes_is_tried_again(kit: Kit) -> None:
    """A connection that lasts no time at all is one all the same."""
    kit.simulator.inject(AcceptThenClose(code=1013))
    async with kit.open(config=QUICK) as feed:
        await feed.until(Subscribed, 2)


@FAILURES.add([*UP, "disconnected pong_timeout, retry", *UP_AGAIN])
async def a_half_open_connection_is_noticed_by_its_pings(kit: Kit) -> None:
    """``PONG_TIMEOUT``: nothing comes, and nothing says that nothing will. Only the deadline
    helps. The peer does not answer a closing handshake either."""
    async with kit.open(config=evolve(QUICK, ping_interval=0.2, pong_timeout=0.2)) as feed:
        await feed.until(Subscribed, 2)
        kit.simulator.inject(GoSilent())
        await feed.until(Subscribed, 2)
        await feed.next()


@FAILURES.add([*UP, "disconnected silence, retry", "connected 2"])
async def a_half_open_connection_is_noticed_by_its_silence(kit: Kit) -> None:
    """``SILENCE``: a feed that sends no pings gives up a connection on which nothing has come for
    ``silence_timeout``."""
    async with kit.open(config=evolve(QUICK, ping_interval=None, silence_timeout=0.4)) as feed:
        await feed.until(Subscribed, 2)
        kit.simulator.inject(GoSilent())
        await feed.until(Connected)


_UNANSWERED: Final[dict[str, Fault]] = {
    "no answer": LoseAck(),
    "an answer to another request": WrongId(),
}


@FAILURES.add_each(
    _UNANSWERED,
    lambda fault: [
        "connected 1",
        *(["UnexpectedResponse"] if isinstance(fault, WrongId) else []),
        "timed out sub_orders",
        "disconnected ack_timeout, retry",
        "connected 2",
        "subscribed orders 2",
    ],
)
async def a_request_is_made_again(kit: Kit, fault: Fault) -> None:
    """``ACK_TIMEOUT``: a connection on which a request is not acknowledged is given up."""
    kit.simulator.inject(fault)
    async with kit.open(topics=[ORDERS], config=evolve(QUICK, ack_timeout=0.3)) as feed:
        await feed.until(Subscribed)


@FAILURES.add()
async def a_frame_over_the_limit_does_not_end_the_feed(kit: Kit) -> None:
    """The library enforces ``Connect.max_frame_size``, and the connection is made anew."""
    async with kit.open(config=evolve(QUICK, max_frame_size=5000)) as feed:
        await feed.until(Subscribed, 2)
        kit.simulator.inject(SendRaw("x" * 10_000))
        await feed.until(Subscribed, 2)
        await feed.next()
        kit.same(tuple(kit.seen[-5:]), UP_AGAIN, "the last events")
        kit.simulator.publish(ETH)
        await feed.until(BalanceUpdate)


# --- what the exchange says ----------------------------------------------------------------------


@FAILURES.add(["connected 1", "rejected sub_orders 9", "subscribed orders 1"])
async def subscribe_raises_what_the_exchange_says(kit: Kit) -> None:
    """A refusal is raised where it was asked for, and is an event as well. Asking again may do."""
    async with kit.open(topics=[]) as feed:
        kit.simulator.inject(RejectRequest(code=9, msg="no"))
        with kit.raises(SubscriptionRejected) as caught:
            await feed.subscribe(ORDERS)
        kit.same(caught.error.code, 9, "the code")
        await feed.until(SubscriptionRejected)
        await feed.subscribe(ORDERS)
        await feed.until(Subscribed)


@FAILURES.add(
    [
        "connected 1",
        "timed out sub_orders",
        "disconnected ack_timeout, retry",
        "connected 2",
        "subscribed orders 2",
    ]
)
async def subscribe_raises_when_there_is_no_answer(kit: Kit) -> None:
    """The topic stays desired, and is asked for on the next connection."""
    async with kit.open(topics=[], config=evolve(QUICK, ack_timeout=0.3)) as feed:
        kit.simulator.inject(LoseAck())
        with kit.raises(RequestTimedOut):
            await feed.subscribe(ORDERS)
        await feed.until(Subscribed)


_STRANGE_FRAMES: Final[dict[str, tuple[Fault, list[str]]]] = {
    "broken off": (MALFORMED_FRAME, ["Malformed"]),
    "of an unknown method": (UNKNOWN_METHOD_FRAME, ["Unrecognised"]),
    "of tomorrow": (SendStrangeUpdate(), ["orders 0"]),
}


@FAILURES.add_each(
    _STRANGE_FRAMES,
    lambda case: [*UP, *case[1], "balance ETH"],
)
async def a_strange_frame_is_an_event(kit: Kit, case: tuple[Fault, list[str]]) -> None:
    """Every frame of the exchange becomes an event, and the stream goes on."""
    async with kit.open() as feed:
        await feed.until(Subscribed, 2)
        kit.simulator.inject(case[0])
        kit.simulator.publish(ETH)
        await feed.until(BalanceUpdate)


_STRANGE_RESPONSES: Final[dict[str, tuple[Fault, list[str]]]] = {
    "twice": (DuplicateAck(method="sub_orders"), [*UP, "UnexpectedResponse"]),
    "a refusal": (
        RejectRequest(code=9, msg="no", method="sub_balance"),
        ["connected 1", "rejected sub_balance 9", "subscribed orders 1"],
    ),
}


@FAILURES.add_each(
    _STRANGE_RESPONSES,
    lambda case: case[1],
)
async def a_strange_response_is_an_event(kit: Kit, case: tuple[Fault, list[str]]) -> None:
    """An answer that nobody waits for is an anomaly, and a refusal is told. Neither ends the stream
    or concerns the other topic."""
    kit.simulator.inject(case[0])
    async with kit.open() as feed:
        for _ in case[1]:
            await feed.next()
