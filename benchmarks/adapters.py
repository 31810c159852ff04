"""Group 3: the adapters on a real socket, beside the bare loops of their libraries."""

import gc
import random
import statistics
from collections.abc import Sequence
from functools import partial

import attrs

import topone_asyncio
import topone_trio
from benchmarks import accounts, clients
from benchmarks.clients import Client, Mode, Times, on_asyncio, on_trio
from benchmarks.loopback import LoopbackServer, server_ports, url_of
from benchmarks.measuring import Effort, Row, Table, in_fresh_processes, optional
from topone_trio import over_websockets

BARE = "bare loop"
BARE_SESSION = "bare loop + Session"
SOCKET = "bare socket, no WebSocket"
BARE_JSON = "bare loop + json.loads"
OWN = "the adapter's WebSocket alone"
WHOLE = "the whole"


@attrs.frozen
class Adapter:
    """An adapter, and what it stands beside."""

    name: str
    library: str
    feed: Client
    bare: Client
    bare_session: Client
    bare_json: Client
    own: Client
    """The WebSocket that the feed has, without the feed."""
    others: tuple[tuple[str, Client], ...] = ()
    """Bare loops of other libraries, and the feed on top of one."""


ADAPTERS = (
    Adapter(
        "topone_asyncio",
        "aiohttp",
        clients.feed_asyncio,
        on_asyncio(clients.open_aiohttp),
        on_asyncio(clients.open_aiohttp, "session"),
        on_asyncio(clients.open_aiohttp, "json.loads"),
        on_asyncio(partial(clients.open_own, topone_asyncio.open_websocket)),
        (
            ("bare loop of websockets", on_asyncio(clients.open_websockets_asyncio)),
            ("bare loop of picows.websockets", on_asyncio(clients.open_picows_websockets)),
            ("bare callback of picows", clients.picows_callback),
            ("topone_asyncio.over_aiohttp", clients.feed_asyncio_over_aiohttp),
            (SOCKET, clients.bare_socket),
        ),
    ),
    Adapter(
        "topone_trio",
        "trio-websocket",
        clients.feed_trio,
        on_trio(clients.open_trio_websocket),
        on_trio(clients.open_trio_websocket, "session"),
        on_trio(clients.open_trio_websocket, "json.loads"),
        on_trio(partial(clients.open_own, topone_trio.open_websocket)),
        (("bare loop of websockets", on_trio(clients.open_websockets_trio)),),
    ),
    Adapter(
        "topone_trio.over_websockets",
        "websockets",
        clients.feed_trio_over_websockets,
        on_trio(clients.open_websockets_trio),
        on_trio(clients.open_websockets_trio, "session"),
        on_trio(clients.open_websockets_trio, "json.loads"),
        on_trio(partial(clients.open_own, over_websockets.open_websocket)),
    ),
    Adapter(
        "topone_threads",
        "websockets",
        clients.feed_threads,
        clients.threads(clients.open_websockets_threads),
        clients.threads(clients.open_websockets_threads, "session"),
        clients.threads(clients.open_websockets_threads, "json.loads"),
        on_asyncio(partial(clients.open_own, topone_asyncio.open_websocket)),
    ),
)


def tables(effort: Effort) -> list[Table]:
    """Measure."""
    return [*in_fresh_processes(_measure, effort), *accounts.tables(effort)]


def _measure(effort: Effort) -> list[Table]:
    with server_ports(LoopbackServer) as (port,):
        return [
            table
            for adapter in ADAPTERS
            for table in (*_burst(adapter, port, effort), _latency(adapter, port, effort))
        ]


def _rounds(
    contenders: Sequence[tuple[str, Client]], port: int, mode: Mode, count: int, rounds: int
) -> dict[str, list[Times]]:
    """Every client in every round, after a short round to warm up."""
    times: dict[str, list[Times]] = {name: [] for name, _ in contenders}
    for number in range(rounds + 1):
        events = count if number else max(1, count // 20)
        for name, client in random.sample(contenders, len(contenders)):
            gc.collect()
            taken = client(url_of(port, mode, n=events), events, mode)
            if number:
                times[name].append(taken)
    return times


def _burst(adapter: Adapter, port: int, effort: Effort) -> list[Table]:
    others = [
        (name, client)
        for name, client in adapter.others
        if "picows" not in name or optional("picows")
    ]
    absent = tuple(name for name, client in adapter.others if (name, client) not in others)
    contenders = [
        (BARE, adapter.bare),
        (BARE_SESSION, adapter.bare_session),
        (BARE_JSON, adapter.bare_json),
        (OWN, adapter.own),
        (adapter.name, adapter.feed),
        *others,
    ]
    times = _rounds(contenders, port, "burst", effort.burst, effort.rounds)
    notes = {
        BARE: f"{adapter.library}'s own client, messages dropped",
        BARE_SESSION: f"{adapter.library}, each message to a Session",
        BARE_JSON: f"{adapter.library}, dict of strings and numbers",
        OWN: "messages dropped, no feed",
        adapter.name: "events out of the feed, Decimals and enums",
        SOCKET: "the pace of the server; what comes near it waits for that",
    }
    measured = [
        Table(
            f"adapters/{kind}-{adapter.name}",
            f"{adapter.name}: {effort.burst:,} order updates as fast as they come, {what} of each",
            "s",
            BARE_SESSION,
            tuple(
                Row(
                    name,
                    tuple(getattr(t, kind) / effort.burst for t in times[name]),
                    notes.get(name, ""),
                )
                for name, _ in contenders
            ),
            absent,
        )
        for kind, what in (("wall", "time"), ("cpu", "processor time of the client"))
    ]
    return [*measured, _shares(adapter, times)]


def _shares(adapter: Adapter, times: dict[str, list[Times]]) -> Table:
    """Return the shares of an event's processor time."""
    rounds = [
        (own.cpu, with_session.cpu - bare.cpu, feed.cpu)
        for own, bare, with_session, feed in zip(
            times[OWN], times[BARE], times[BARE_SESSION], times[adapter.name], strict=True
        )
    ]
    return Table(
        f"adapters/profile-{adapter.name}",
        f"{adapter.name}: where the processor time of an event goes",
        "%",
        WHOLE,
        (
            Row(
                "WebSocket",
                tuple(100 * own / feed for own, _, feed in rounds),
                f"{OWN}: its library, and what the adapter needs to make it fit",
            ),
            Row(
                "core",
                tuple(100 * core / feed for _, core, feed in rounds),
                f"{BARE_SESSION}, less {BARE}",
            ),
            Row(
                "feed",
                tuple(100 * (feed - own - core) / feed for own, core, feed in rounds),
                "the rest: buffer, hand-over, waking up",
            ),
            Row(WHOLE, tuple(100.0 for _ in rounds), "what an event of the feed costs"),
        ),
    )


def _latency(adapter: Adapter, port: int, effort: Effort) -> Table:
    contenders = [
        (BARE, adapter.bare),
        (BARE_SESSION, adapter.bare_session),
        (adapter.name, adapter.feed),
    ]
    times = _rounds(contenders, port, "singles", effort.singles, effort.rounds)
    rows = [
        Row(
            f"{name}, {what}",
            tuple(_percentile(t.delays, share) for t in times[name]),
            against=f"{BARE}, {what}",
        )
        for share, what in ((0.5, "median"), (0.99, "p99"), (0.999, "p99.9"))
        for name, _ in contenders
    ]
    return Table(
        f"adapters/latency-{adapter.name}",
        f"{adapter.name}: one order update, from being sent to being delivered",
        "s",
        f"{BARE}, median",
        tuple(rows),
    )


def _percentile(delays: Sequence[int], share: float) -> float:
    if len(delays) < 2:
        return statistics.fmean(delays) / 1e9
    return statistics.quantiles(delays, n=1000, method="inclusive")[round(share * 1000) - 1] / 1e9
