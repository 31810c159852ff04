"""The simulated exchange alone, with a line for whoever comes and goes."""

import asyncio
import shlex
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import typer

from topone_cli._errors import VARIABLE
from topone_cli._format import clock, printable
from topone_cli._keys import APP_ID_VARIABLE, APP_KEY_VARIABLE
from topone_cli._masks import hide_tokens
from topone_cli._streams import output_failure
from topone_proto import Credentials
from topone_proto.exchange import Accept, Fault, HttpCall, HttpFault, Reject
from topone_simulator import Handshake, Simulator, serve

__all__ = ["simulate_exchange"]

_LOOK_EVERY: Final = 0.2
# Seconds of candles from before, so that a chart is not empty.
_HISTORY: Final = 3600.0 * 3

_T = TypeVar("_T")


async def simulate_exchange(
    host: str,
    port: int,
    tokens: Sequence[str],
    *,
    rate: float,
    market_rate: float,
    seed: int,
    script: Sequence[tuple[float, Fault | HttpFault]] = (),
    http_port: int = 0,
    credentials: Credentials | None = None,
) -> None:
    """Serve until cancelled, or until nothing can be said any more. All tokens open the same
    account. ``script`` says what goes wrong, and after how many seconds. Without ``credentials``
    the key pair is a new one.

    Raises:
        OSError: the port cannot be listened on.
        ConfigurationError: a rate is negative.
    """
    accounts = dict.fromkeys(tokens, "demo")
    async with serve(
        host,
        port,
        tokens=accounts,
        rate=rate,
        market_rate=market_rate,
        history=_HISTORY if market_rate > 0 else 0.0,
        seed=seed,
        http_port=http_port,
        credentials=credentials,
    ) as simulator:
        typer.echo(f"Serving on {simulator.url} until Ctrl-C.")
        typer.echo("Connect from another terminal with")
        # What has the form of a real token is shown nowhere.
        shown = tokens[0] if hide_tokens(tokens[0]) == tokens[0] else "..."
        typer.echo(f"  {VARIABLE}={shown} topone watch --url {simulator.url}")
        typer.echo(f"  topone market BTC/USDT --url {simulator.market_url}")
        keys = simulator.credentials
        if credentials is None:
            origin, key = "that are made up, for this run alone (see --keys)", keys.reveal()
        else:
            # Who has given it knows it, and it may be a real one by mistake.
            origin, key = "of --keys", "..."
        typer.echo(f"HTTP on {simulator.http_url}, with keys {origin}:")
        app_id = shlex.quote(keys.app_id)
        typer.echo(f"  export {APP_ID_VARIABLE}={app_id} {APP_KEY_VARIABLE}={key}")
        typer.echo(f"  topone account --url {simulator.url} --http-url {simulator.http_url}")
        await _report(simulator, deque(script))


async def _report(simulator: Simulator, script: deque[tuple[float, Fault | HttpFault]]) -> None:
    """Report what happens, and play the script."""
    started = time.monotonic()
    latest: Handshake | None = None
    latest_call: HttpCall | None = None
    connected: set[int] = set()
    while output_failure() is None:
        while script and script[0][0] <= time.monotonic() - started:
            _, fault = script.popleft()
            _say(f"fault: {fault}")
            simulator.inject(fault)
        due = script[0][0] - (time.monotonic() - started) if script else _LOOK_EVERY
        await asyncio.sleep(min(due, _LOOK_EVERY))
        for handshake in _after(latest, simulator.handshakes):
            latest = handshake
            if isinstance(handshake.answer, Accept):
                connected.add(handshake.answer.peer)
            _say(_outcome(handshake))
        for call in _after(latest_call, simulator.http_calls):
            latest_call = call
            _say(_http_outcome(call))
        for peer in sorted(connected.difference(simulator.peers)):
            connected.remove(peer)
            _say(f"client {peer} disconnected, {len(connected)} still connected")


def _after(latest: _T | None, seen: Sequence[_T]) -> Iterable[_T]:
    """Return those after ``latest``, by identity: clients of a kind come in the same way."""
    for n in reversed(range(len(seen))):
        if seen[n] is latest:
            return seen[n + 1 :]
    return seen


def _outcome(handshake: Handshake) -> str:
    match handshake.answer:
        case Accept(peer=peer):
            return f"client {peer} connected"
        case Reject(status=status, reason=reason):
            return f"a client was refused with HTTP {status}: {reason}"
        case _:
            return "a client was left without an answer"


def _http_outcome(call: HttpCall) -> str:
    answer = f"HTTP {call.status}" if call.code in {None, 0} else f"code {call.code}"
    fault = "" if call.fault is None else f", struck by {type(call.fault).__name__}"
    return f"{call.method} {call.path}: {answer}{fault}"


def _say(text: str) -> None:
    typer.echo(f"{clock(time.time())} {printable(hide_tokens(text))}")
