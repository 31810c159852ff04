"""A pull consumer made for one use: the server sends what is asked for, and no more.

The server is asked for a batch, and for the next one when little of it is left to take, so that a
reader that stops holds one batch and a part of another. Each message names its place in the stream
and its place among those that this consumer was sent; a hole in the latter means that one was lost
on its way.
"""

import asyncio
import re
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from nats.aio.msg import Msg

from topone_nats._api import STREAM_NOT_FOUND, Api, ApiError, failure_of
from topone_nats._connection import Link
from topone_relay._bus import BusUnavailable

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

__all__ = ["Pull"]

_NANOSECONDS = 1_000_000_000
_BATCH = 256
_LOW = 64
_BYTES = 4 << 20
_EXPIRES = 6  # heartbeats
_PAUSE = 0.5
_FIELDS = 9
# Also how long a program may be paused without the server forgetting its consumer.
_INACTIVE = 60.0
# A request is over, and the consumer stays.
_OVER = re.compile("MaxBytes|Batch Completed")


class Pull:
    """One consumer at the server and the messages that it sent."""

    def __init__(self, api: Api, link: Link, call: str, stream: str, heartbeat: float) -> None:
        self._api = api
        self._link = link
        self._call = call
        self._stream = stream
        self._heartbeat = heartbeat
        self._name = f"topone-{secrets.token_hex(8)}"
        self._inbox = link.client.new_inbox()
        self._subscription: Subscription | None = None
        self._arrived: deque[Msg] = deque()
        self._wake = asyncio.Event()
        self._wanted = 0
        self._trouble: str | None = None

    async def open(self, subject: str, policy: Mapping[str, Any]) -> int:
        """Make the consumer and return the number of messages that wait for it.

        Raises:
            BusUnavailable: there is no such stream yet, or no answer.
            BusRefused: it is not permitted.
        """
        self._link.listen(self._wake.set)
        self._subscription = await self._link.subscribe(self._call, self._inbox, self._receive)
        config = {
            "name": self._name,
            "filter_subject": subject,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": int(_INACTIVE * _NANOSECONDS),
            "mem_storage": True,
            "num_replicas": 1,
            **policy,
        }
        question = {"stream_name": self._stream, "config": config}
        try:
            answer = await self._api.ask(
                self._call, f"CONSUMER.CREATE.{self._stream}.{self._name}.{subject}", question
            )
        except ApiError as error:
            if error.number == STREAM_NOT_FOUND:
                raise BusUnavailable(
                    self._call, f"there is no stream {self._stream!r} yet"
                ) from None
            raise failure_of(self._call, error) from None
        pending: int = answer.get("num_pending", 0)
        return pending

    async def messages(self) -> AsyncGenerator[tuple[int, Msg]]:
        """Yield messages for ever, each with its sequence number in the stream.

        Raises:
            BusUnavailable: the consumer or the connection is gone, or a message was lost.
        """
        count = 0
        while True:
            if not self._wanted and len(self._arrived) < _LOW:
                await self._ask_for_more()
            message = await self._next()
            sequence, place = _places(message.reply)
            count += 1
            if place != count:
                raise BusUnavailable(self._call, "a message was lost on its way")
            yield sequence, message

    async def take(self, number: int) -> list[Msg]:
        """Return the messages that are there already: ``number`` of them, or fewer if some have
        expired meanwhile.

        Raises:
            BusUnavailable: they do not come in time.
        """
        taken: list[Msg] = []
        expires = int(min(_PAUSE, self._api.timeout) * _NANOSECONDS)
        await self._ask({"batch": number, "expires": expires}, number)
        while self._wanted or self._arrived:
            if not await self._any_arrived(self._api.timeout):
                break
            taken.append(self._arrived.popleft())
            if _left(taken[-1].reply) == 0:
                break
        return taken

    async def close(self) -> None:
        """Leave, and tell the server."""
        self._link.unlisten(self._wake.set)
        if self._link.lost.is_set():
            return
        try:
            if self._subscription is not None:
                await self._subscription.unsubscribe()
            # Nobody waits for the answer: the server forgets the consumer after a while anyway.
            subject = f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}"
            await self._link.send(self._call, subject, b"", self._inbox)
        except Exception:  # noqa: BLE001 - nothing depends on it, and there may be no connection
            return

    async def _ask_for_more(self) -> None:
        question = {
            "batch": _BATCH,
            "max_bytes": max(_BYTES, 2 * self._link.max_payload),
            "expires": int(_EXPIRES * self._heartbeat * _NANOSECONDS),
            "idle_heartbeat": int(self._heartbeat * _NANOSECONDS),
        }
        await self._ask(question, _BATCH)

    async def _ask(self, question: Mapping[str, Any], number: int) -> None:
        self._wanted = number
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        await self._link.send(self._call, subject, msgspec.json.encode(question), self._inbox)

    async def _next(self) -> Msg:
        while not self._arrived:
            if not self._wanted:
                await self._ask_for_more()
            await self._any_arrived(2 * self._heartbeat + 1)
        return self._arrived.popleft()

    async def _any_arrived(self, patience: float) -> bool:
        """Wait for a message or a word of the server; return True if there is a message."""
        if self._arrived:
            return True
        self._wake.clear()
        self._check()
        try:
            async with asyncio.timeout(patience):
                await self._wake.wait()
        except TimeoutError:
            raise BusUnavailable(
                self._call, f"no sign of life of the server within {patience:g} s"
            ) from None
        if not self._arrived:
            self._check()
        return bool(self._arrived)

    def _check(self) -> None:
        if self._link.lost.is_set():
            raise BusUnavailable(self._call, "the connection is lost")
        if self._trouble is not None:
            raise BusUnavailable(self._call, self._trouble)

    async def _receive(self, message: Msg) -> None:
        self._wake.set()
        status = message.headers.get("Status") if message.headers else None
        if status is None or message.reply:
            self._arrived.append(message)
            self._wanted = max(0, self._wanted - 1)
        elif status == "100":
            return
        elif (
            status in {"404", "408"}
            or "MaxBytes" in _description(message)
            or "Batch Completed" in _description(message)
        ):
            self._wanted = 0
        else:
            self._trouble = f"the consumer has ended: {status} {_description(message)}".rstrip()


def _description(message: Msg) -> str:
    return (message.headers or {}).get("Description", "")


def _places(reply: str) -> tuple[int, int]:
    """Return the places in the stream and among the consumer's messages.

    They are in the reply subject, which is ``$JS.ACK``, often a domain and an account, then stream,
    consumer, deliveries, the two places, time, and the number of those that wait.
    """
    tokens = reply.split(".")
    first = 5 if len(tokens) <= _FIELDS else 7
    return int(tokens[first]), int(tokens[first + 1])


def _left(reply: str) -> int:
    """Return the number of messages that wait behind this one."""
    return int(reply.split(".")[8 if reply.count(".") < _FIELDS else 10])
