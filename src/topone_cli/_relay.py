"""The command relay: follows accounts and publishes them on a message bus, with others like it."""

import asyncio
import os
import platform
import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from topone_cli._complaints import complain, reported
from topone_cli._ctrl_c import run_asyncio
from topone_cli._errors import CommandFailed
from topone_cli._help import Command
from topone_cli._options import (
    JsonOption,
    PlainOption,
    SecondsOption,
    require_one_style,
)
from topone_cli._root import app
from topone_cli._run import Adapter, choose_adapter
from topone_cli._streams import output_failure
from topone_cli._usage import Misuse

__all__ = ["relay"]

_LOOK_EVERY: Final = 0.25
_STATUS_TIMEOUT: Final = 5.0


def _check_node(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        raise Misuse("use at most 64 letters, digits, - and _")
    return value


def _check_metrics(value: str | None) -> str | None:
    if value is not None:
        _address(value)
    return value


@app.command(
    cls=Command,
    epilog="""FILE names the bus and the accounts, with a table for each:

\b
\\[bus]
url = "nats://127.0.0.1:4222"
\\[accounts.main]       # keys: topone login --account main
\\[accounts.desk-2]

Start it on as many machines as you like: each account is held by one of
them at a time. Ctrl-C or SIGTERM hands the accounts over at once.

[bold]Examples[/bold]

\b
topone relay accounts.toml
topone relay accounts.toml --metrics 9100 --log relay.jsonl
topone relay accounts.toml --node desk-a --json""",
)
def relay(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The accounts and the bus, as TOML.")
    ],
    *,
    node: Annotated[
        str | None,
        typer.Option(
            callback=_check_node,
            metavar="NAME",
            help="The name of this process on the bus. Default: the machine's name and a number.",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            callback=_check_metrics,
            metavar="PORT",
            help="Serve metrics for Prometheus on PORT of this machine, or on ADDRESS:PORT.",
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append what happens to FILE as well, as JSON Lines."),
    ] = None,
    json: JsonOption = False,
    plain: PlainOption = False,
    seconds: SecondsOption = None,
) -> None:
    """Follow many accounts and publish them on a message bus, on one machine or several.

    Each account is held by one machine at a time; the others stand by.
    """
    require_one_style(json=json, plain=plain)
    with reported():
        choose_adapter(Adapter.ASYNCIO)
        from topone_cli._relay_bus import open_bus, shown_bus
        from topone_cli._relay_file import read_relay_file
        from topone_cli._relay_output import open_relay_output

        found = read_relay_file(file, complain)
        name = node or _default_node()
        bus = open_bus(found.bus, f"{file}: bus")
        title = f"topone relay, node {name}, {shown_bus(found.bus)}"
        with open_relay_output(title, name, json=json, plain=plain, log=log) as output:
            run_asyncio(_run(found, bus, name, output, metrics, seconds))


async def _run(
    file: Any, bus: Any, name: str, output: Any, metrics: str | None, seconds: float | None
) -> None:
    """Run a node until it is cancelled, and hand over."""
    from topone_cli._relay_words import is_told
    from topone_relay import Node

    def report(account: str | None, event: object) -> None:
        if is_told(event):
            output.event(account, event, time.time())

    with ExitStack() as stack:
        async with (
            bus,
            Node(bus, file.entries, name=name, config=file.config, report=report) as node,
        ):
            if metrics is not None:
                _serve_metrics(stack, node, metrics)
            end = None if seconds is None else time.monotonic() + seconds
            while output_failure() is None and (end is None or time.monotonic() < end):
                output.status(node.status())
                await asyncio.sleep(_LOOK_EVERY)
        output.status(node.status())


def _serve_metrics(stack: ExitStack, node: Any, metrics: str) -> None:
    try:
        from topone_relay.metrics import serve_metrics
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "prometheus_client":
            raise
        raise ImportError(
            '--metrics needs prometheus_client: pip install "topone-proto[metrics]"',
            name="prometheus_client",
        ) from None
    host, port = _address(metrics)
    loop = asyncio.get_running_loop()

    async def look() -> Any:
        return node.status()

    def status() -> Any:
        return asyncio.run_coroutine_threadsafe(look(), loop).result(_STATUS_TIMEOUT)

    try:
        stack.enter_context(serve_metrics(status, port, host))
    except OSError as error:
        raise CommandFailed(f"--metrics: cannot listen on {metrics}: {error.strerror}") from None


def _address(metrics: str) -> tuple[str, int]:
    """Return the address and the port of ``--metrics``. Raises Misuse."""
    host, _, port = metrics.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 2**16):
        raise Misuse("use a whole number from 0 to 65535, or an address before it, as 0.0.0.0:9100")
    return host.strip("[]") or "127.0.0.1", int(port)


def _default_node() -> str:
    machine = re.sub(r"[^A-Za-z0-9_-]", "-", platform.node().partition(".")[0])[:40] or "node"
    return f"{machine}-{os.getpid()}"
