"""The stream and the two buckets of a bus: what they are called, how they are made.

All accounts share one stream with a subject for each. Leases and members live in a bucket whose
entries expire; pointers, bookmarks and shared states in one whose entries stay. A bucket is a
stream as NATS' key-value stores are, so that ``nats kv`` shows it.
"""

import time
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen, validators

from topone_nats._api import STREAM_NOT_FOUND, Api, ApiError, NoResponders, Stored, failure_of
from topone_relay._bus import BusRefused, BusUnavailable
from topone_relay._names import token_of
from topone_relay._options import check_prefix

__all__ = ["Names", "StreamLimits", "Streams"]

_NANOSECONDS = 1_000_000_000
_LEAST_WINDOW = 10.0


@frozen(kw_only=True)
class StreamLimits:
    """The limits of the stream that is made when there is none. A stream that exists is used as it
    is: change it with ``nats stream edit``."""

    max_age: float = field(default=24 * 3600.0, validator=validators.gt(0))
    """The age in seconds at which a message is dropped."""
    max_bytes: int = field(default=1 << 30, validator=validators.gt(0))
    """The size in bytes at which the oldest messages of any account are dropped."""
    max_messages_per_account: int | None = field(
        default=None, validator=validators.optional(validators.gt(0))
    )
    """The number of messages kept for one account; None: as many as the other limits allow."""
    duplicate_window: float = field(default=120.0, validator=validators.ge(_LEAST_WINDOW))
    """The time in seconds for which the server recognises a message that was sent again."""
    replicas: int = field(default=1, validator=validators.gt(0))
    """The number of servers that hold each message: 3 in a cluster that may lose one."""


class Names:
    """The names of everything on the bus."""

    def __init__(self, prefix: str) -> None:
        check_prefix(prefix)
        self.prefix = prefix
        self.stream = prefix
        self.leases = f"KV_{prefix}-leases"
        self.state = f"KV_{prefix}-state"
        self.all_leases = f"$KV.{prefix}-leases.>"

    def messages(self, account: str) -> str:
        """The subject of an account's messages."""
        return f"{self.prefix}.{token_of(account)}"

    def lease(self, account: str) -> str:
        """The subject of an account's lease."""
        return f"$KV.{self.prefix}-leases.lease.{token_of(account)}"

    def member(self, node: str) -> str:
        """The subject of a node."""
        return f"$KV.{self.prefix}-leases.member.{token_of(node, 'node')}"

    def kept(self, kind: str, account: str, reader: str | None = None) -> str:
        """The subject of a pointer, a bookmark or a state."""
        behind = "" if reader is None else "." + token_of(reader, "reader")
        return f"$KV.{self.prefix}-state.{kind}.{token_of(account)}{behind}"


class Streams:
    """Makes the stream and the buckets when they are needed and not there. What is stored in them
    and read goes through here, so that one that has gone meanwhile is noticed."""

    def __init__(self, api: Api, names: Names, limits: StreamLimits) -> None:
        self._api = api
        self._names = names
        self._limits = limits
        self._known: set[str] = set()

    @property
    def has_messages(self) -> bool:
        """True if there is a stream for messages, as far as is known here."""
        return self._names.stream in self._known

    async def need_messages(self, call: str) -> None:
        """Make sure that there is a stream for messages.

        Raises:
            BusRefused: it is not there and cannot be made, or it is not fit.
        """
        if self.has_messages:
            return
        name = self._names.stream
        limits = self._limits
        config = await self._need(
            call,
            {
                "name": name,
                "subjects": [f"{self._names.prefix}.*"],
                "retention": "limits",
                "storage": "file",
                "discard": "old",
                "max_age": int(limits.max_age * _NANOSECONDS),
                "max_bytes": limits.max_bytes,
                "max_msgs": -1,
                "max_msgs_per_subject": limits.max_messages_per_account or -1,
                "max_consumers": -1,
                "num_replicas": limits.replicas,
                "duplicate_window": int(
                    min(limits.duplicate_window, limits.max_age) * _NANOSECONDS
                ),
            },
        )
        window = config.get("duplicate_window", 0) / _NANOSECONDS
        if window < _LEAST_WINDOW:
            raise BusRefused(
                call,
                f"stream {name!r} recognises repeated messages for {window:g} s only",
                f"set its duplicate window to {_LEAST_WINDOW:g} s or more",
            )
        self._known.add(name)

    async def need_leases(self, call: str, ttl: float) -> None:
        """Make sure that there is a bucket whose entries live for ``ttl`` seconds.

        Raises:
            BusRefused: it is not there and cannot be made, or its entries live longer or shorter.
        """
        known = f"{self._names.leases} {ttl}"
        if known in self._known:
            return
        age = int(ttl * _NANOSECONDS)
        config = await self._need(call, _bucket(self._names.leases, age, self._limits.replicas))
        if config.get("max_age") != age:
            raise BusRefused(
                call,
                f"leases in bucket {self._names.leases.removeprefix('KV_')!r} live for "
                f"{config.get('max_age', 0) / _NANOSECONDS:g} s, and {ttl:g} s are asked for",
                "use one ttl at every node; to change it, stop them all and set the bucket's "
                "max_age",
            )
        self._known.add(known)

    async def need_state(self, call: str) -> None:
        """Make sure that there is a bucket for what stays."""
        name = self._names.state
        if name not in self._known:
            await self._need(call, _bucket(name, 0, self._limits.replicas))
            self._known.add(name)

    async def glance_at_state(self, call: str, subject: str) -> Stored | None:
        """Return an entry of the bucket for what stays; None if either is not there.

        Looks first whether the bucket is there: some servers do not answer otherwise.
        """
        name = self._names.state
        direct = f"{name} direct"
        if direct not in self._known:
            try:
                config = await self._config(call, f"STREAM.INFO.{name}", {})
            except ApiError as error:
                if error.number == STREAM_NOT_FOUND:
                    return None
                raise failure_of(call, error) from None
            if not config.get("allow_direct"):
                return await self._api.last(call, name, subject)
            self._known.add(direct)
        return await self._api.glance(call, name, subject)

    async def put(
        self,
        call: str,
        subject: str,
        data: bytes,
        *,
        last: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Store a message as ``Api.put`` does, and return its sequence number.

        Raises:
            WrongSequence: another message is the last one.
            BusUnavailable: there is no stream for it.
        """
        try:
            return await self._api.put(call, subject, data, last=last, headers=headers)
        except NoResponders:
            raise self.missing(call, subject) from None

    def missing(self, call: str, subject: str) -> BusUnavailable:
        """Return the error for a subject that no stream takes, and look for the streams again at
        the next call."""
        self._known.clear()
        return BusUnavailable(call, f"no stream takes {subject.rpartition('.')[0]}.*")

    async def last(self, call: str, stream: str, subject: str) -> Stored | None:
        """Return the last message of a subject; None if it has none, or there is no stream."""
        try:
            return await self._api.last(call, stream, subject)
        except ApiError as error:
            if error.number == STREAM_NOT_FOUND:
                self._known.clear()
                return None
            raise failure_of(call, error) from None

    async def _need(self, call: str, config: dict[str, Any]) -> dict[str, Any]:
        name = config["name"]
        # Behind every number that a stream of this name can have had, should it have been deleted:
        # epochs and places only grow. Servers before 2.10 begin at 1.
        config = {**config, "first_seq": time.time_ns() // 1000}
        try:
            return await self._config(call, f"STREAM.INFO.{name}", {})
        except ApiError as error:
            if error.number != STREAM_NOT_FOUND:
                raise failure_of(call, error) from None
        try:
            return await self._config(call, f"STREAM.CREATE.{name}", config)
        except BusRefused:
            raise BusRefused(
                call,
                f"there is no stream {name!r}, and this user is not permitted to make one",
                "make it as the page on setting up the bus shows, or permit "
                f"$JS.API.STREAM.CREATE.{name}",
            ) from None
        except ApiError as error:
            try:
                # Another node may have been quicker.
                return await self._config(call, f"STREAM.INFO.{name}", {})
            except ApiError:
                raise failure_of(call, error) from None

    async def _config(self, call: str, name: str, question: dict[str, Any]) -> dict[str, Any]:
        answer = await self._api.ask(call, name, question)
        config: dict[str, Any] = answer["config"]
        return config


def _bucket(name: str, max_age: int, replicas: int) -> dict[str, Any]:
    window = 120 * _NANOSECONDS
    return {
        "name": name,
        "subjects": [f"$KV.{name.removeprefix('KV_')}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_age": max_age,
        "max_bytes": -1,
        "max_msgs": -1,
        "max_msg_size": -1,
        "max_msgs_per_subject": 1,
        "max_consumers": -1,
        "num_replicas": replicas,
        "duplicate_window": min(window, max_age) if max_age else window,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
    }
