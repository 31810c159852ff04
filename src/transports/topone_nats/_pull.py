"""A pull consumer made for one use: the server sends what is asked for, and no more.

The server is asked for a batch, and for the next one when little of it is left to take, so that a
reader that stops holds one batch and a part of another. Each message names its place in the stream
and its place among those that this consumer was sent; a hole in the latter means that one was lost
on its way. It names as well the time at which it was stored and how many are behind it. What was
stored before the consumer was made is as old as the server's clock says, which is read when it is
made; what has come since is as old as it has been here.
"""

import asyncio
import re
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from nats.aio.msg import Msg

from topone_nats._api import STREAM_NOT_FOUND, Api, ApiError, failure_of
from topone_nats._connection import Link
from topone_relay._bus import BusUnavailable, Message, Take

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
        self._arrived: deque[tuple[Msg, float]] = deque()
        """Messages, and when they came."""
        self._loop = asyncio.get_running_loop()
        # The server's clock in nanoseconds at a time of the loop's, and what waited then.
        self._server_now: int | None = None
        self._opened_at = 0.0
        self._pending = 0
        self._wake = asyncio.Event()
        self._heard_at = 0.0
        self._wanted = 0
        self._take: Take | None = None
        """Takes what comes, while the iteration waits for the next message."""
        self._count = 0
        """The number of messages that were handed over."""
        self._fault: Exception | None = None
        """The error of ``take``, or of what it was offered."""
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
        self._opened_at = self._loop.time()
        self._server_now = _nanoseconds(answer.get("created"))
        self._pending = answer.get("num_pending", 0)
        return self._pending

    async def messages(self, take: Take) -> AsyncGenerator[Message]:
        """Yield messages for ever; the place of each is its sequence number in the stream.

        Args:
            take: Is offered what comes while the iteration waits; see ``Bus.read``.

        Raises:
            BusUnavailable: the consumer or the connection is gone, or a message was lost.
        """
        try:
            while True:
                if not self._wanted and len(self._arrived) < _LOW:
                    await self._ask_for_more()
                self._take = take
                while not self._arrived:
                    if not self._wanted:
                        await self._ask_for_more()
                    await self._any_arrived(2 * self._heartbeat + 1)
                self._take = None
                message = self._read(*self._arrived.popleft())
                self._count += 1
                yield message
        finally:
            self._take = None

    def _read(self, message: Msg, at: float) -> Message:
        """Return the message behind those that were handed over, as a reader gets it.

        Raises:
            BusUnavailable: one before it was lost.
        """
        place, told, stored, behind = _told(message.reply)
        turn = self._count + 1
        if int(told) != turn:
            raise BusUnavailable(self._call, "a message was lost on its way")
        # While nothing is asked for, the server sends no later one.
        is_last = behind == "0" and not self._arrived and self._wanted > 0
        age = self._age(int(stored)) if turn <= self._pending else self._loop.time() - at
        return Message(message.data, place, age, is_last)

    def _age(self, stored: int) -> float | None:
        if self._server_now is None:
            return None
        at_open = (self._server_now - stored) / _NANOSECONDS
        return max(0.0, at_open + self._loop.time() - self._opened_at)

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
            taken.append(self._arrived.popleft()[0])
            if _told(taken[-1].reply)[-1] == "0":
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

    async def _any_arrived(self, patience: float) -> bool:
        """Wait for a message or a word of the server; return True if there is a message."""
        self._raise_fault()
        if self._arrived:
            return True
        self._wake.clear()
        self._check()
        self._heard_at = self._loop.time()
        while not self._wake.is_set():
            # What was taken in the call that brought it wakes nobody.
            silent_at = self._heard_at + patience
            if self._loop.time() >= silent_at:
                raise BusUnavailable(
                    self._call, f"no sign of life of the server within {patience:g} s"
                )
            with suppress(TimeoutError):
                async with asyncio.timeout_at(silent_at):
                    await self._wake.wait()
        self._raise_fault()
        if not self._arrived:
            self._check()
        return bool(self._arrived)

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _check(self) -> None:
        if self._link.lost.is_set():
            raise BusUnavailable(self._call, "the connection is lost")
        if self._trouble is not None:
            raise BusUnavailable(self._call, self._trouble)

    async def _receive(self, message: Msg) -> None:
        now = self._heard_at = self._loop.time()
        status = message.headers.get("Status") if message.headers else None
        if status is None or message.reply:
            self._wanted = max(0, self._wanted - 1)
            if self._is_taken(message, now):
                return
            self._arrived.append((message, now))
        elif status in {"404", "408"} or _OVER.search(_description(message)):
            self._wanted = 0
        elif status != "100":
            self._trouble = f"the consumer has ended: {status} {_description(message)}".rstrip()
        self._wake.set()

    def _is_taken(self, message: Msg, at: float) -> bool:
        """Offer a message to whoever waits for the next one; return True if it is not to be yielded
        any more."""
        take = self._take
        # Once nothing is asked for, the iteration has to ask.
        if take is None or self._arrived or not self._wanted:
            return False
        try:
            if not take(self._read(message, at)):
                return False
        except Exception as fault:  # noqa: BLE001 - the iteration raises it
            # What has come with it is behind it.
            self._take, self._fault = None, fault
            self._wake.set()
        self._count += 1
        return True


def _description(message: Msg) -> str:
    return (message.headers or {}).get("Description", "")


def _told(reply: str) -> list[str]:
    """Return what a message says of its place: its sequence number in the stream, its number among
    those that this consumer was sent, the time at which it was stored, in nanoseconds since 1970 by
    the server's clock, and the number of messages that wait behind it.

    It is in the reply subject, which is ``$JS.ACK``, often a domain and an account, then stream,
    consumer, deliveries, the two places, time, and the number of those that wait.
    """
    tokens = reply.split(".")
    first = 5 if len(tokens) <= _FIELDS else 7
    return tokens[first : first + 4]


def _nanoseconds(text: Any) -> int | None:
    """Return a time of an answer in nanoseconds since 1970; None if it is none."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * _NANOSECONDS)
    except (TypeError, ValueError):
        return None
