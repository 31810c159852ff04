"""Steps that the scenarios of buses are made of."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import topone_nats
import topone_redis
from bus_servers import Server
from topone_relay import Bus, BusUnavailable, Lease, Message, Received
from waits import PATIENCE

SHORT = 1.0
"""A ttl for what waits for its end."""
LONG = 60.0
"""A ttl for everything else: no pause of a busy machine ends such a lease."""
STRANGE = [b"\xff", b'{"holder":"\xff"}', b'{"holder":1,"epoch":"x"}', b"[" * 100_000]
"""Entries that other programs may have stored."""
_numbers = itertools.count(1)


def new_account() -> str:
    return f"account {next(_numbers)}"


def connect(server: Server, address: str | None = None, **options: Any) -> Bus:
    """Return a bus, under a prefix of its own for leases that end soon."""
    url = f"{server.kind}://{address or server.address}"
    if server.kind == "nats":
        return topone_nats.connect(url, **options)
    return topone_redis.connect(url, **options)


async def take(reading: AsyncGenerator[Received], number: int) -> list[Received]:
    """Return the next things that a reader gives."""
    async with asyncio.timeout(PATIENCE):
        return [await anext(reading) for _ in range(number)]


async def take_messages(reading: AsyncGenerator[Received], number: int) -> list[bytes]:
    """Return the next messages, whatever is between them."""
    found: list[bytes] = []
    while len(found) < number:
        [received] = await take(reading, 1)
        if isinstance(received, Message):
            found.append(received.data)
    return found


async def messages(bus: Bus, account: str, number: int, start: str | None = None) -> list[bytes]:
    """Return messages from a place on."""
    async with aclosing(bus.read(account, start)) as reading:
        return await take_messages(reading, number)


async def acquire(bus: Bus, account: str, holder: str = "one", ttl: float = LONG) -> Lease:
    """Return a lease, waiting for another one to end and for a bus that is away."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                lease = await bus.acquire(account, holder, ttl)
            except BusUnavailable:
                lease = None
            if lease is not None:
                return lease
            await asyncio.sleep(0.05)


async def take_over(bus: Bus, lease: Lease, holder: str = "two") -> Lease:
    """Return the next lease of an account, as if the present one had ended, of which its holder
    does not hear."""
    await bus.release(lease)
    return await acquire(bus, lease.account, holder)


async def again(bus: Bus, lease: Lease, number: int, data: bytes) -> str:
    """Publish as a holder does, who repeats it until the bus is there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await bus.publish(lease, number, data)
            except BusUnavailable:
                await asyncio.sleep(0.05)
