"""The commands that follow a feed: demo, watch and record."""

import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from topone_cli._complaints import complain, reported
from topone_cli._demo import run_demo
from topone_cli._errors import VARIABLE
from topone_cli._files import new_recording, require_new_file
from topone_cli._following import feed_title, recorder_of, shower
from topone_cli._from_bus import BusOptions, prepared, recorded, shown_on
from topone_cli._help import Command
from topone_cli._options import (
    AccountOptions,
    AdapterOption,
    JsonOption,
    OverwriteOption,
    PlainOption,
    PortOption,
    RateOption,
    RecordOption,
    SecondsOption,
    SeedOption,
    WebOption,
    require_one_style,
    spread,
)
from topone_cli._output import AccountShown, open_output
from topone_cli._paged import open_paged
from topone_cli._record import recording_progress
from topone_cli._root import app
from topone_cli._run import Adapter, Source, choose_adapter, run_feed
from topone_cli._token import find_token, require_token_source

__all__ = ["demo", "record", "watch"]


@app.command(
    cls=Command,
    epilog="""[bold]Examples[/bold]

\b
topone demo
topone demo --adapter asyncio --seconds 10
topone demo --web
topone demo --seconds 3 --json
topone demo --record demo.jsonl.gz""",
)
def demo(
    *,
    adapter: AdapterOption = None,
    seconds: SecondsOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
    record: RecordOption = None,
    overwrite: OverwriteOption = False,
    web: WebOption = False,
    port: PortOption = 0,
    seed: SeedOption = 0,
    rate: RateOption = 5.0,
) -> None:
    """Show an account on a simulated exchange. You need no account.

    After a few seconds the demo drops its connection on purpose. It marks what may be outdated, and
    then finds what it missed.
    """
    # As in ``simulate``: no other command needs it.
    from topone_simulator import run_in_thread

    require_one_style(json=json, plain=plain)
    with reported():
        chosen = choose_adapter(adapter)
        with (
            recorder_of(record, overwrite=overwrite) as recorder,
            run_in_thread(rate=rate, seed=seed) as simulator,
            open_paged(
                feed_title("demo", chosen, simulator.url, record),
                json=json,
                plain=plain,
                web=web,
                port=port,
            ) as output,
        ):
            run_demo(simulator, output, chosen, seconds, recorder)


@app.command(
    cls=Command,
    epilog=f"""The token comes from --token-file or --keyring, else from {VARIABLE} in
the environment, else from a prompt, never from an argument.

[bold]Examples[/bold]

\b
topone watch
topone watch --topics orders --json --token-file token.txt
topone watch --record today.jsonl.gz
topone watch --from nats://127.0.0.1:4222 --account main
{VARIABLE}=demo topone watch --url ws://127.0.0.1:8765/ws/user/""",
)
@spread
def watch(
    *,
    feed: AccountOptions,
    bus: BusOptions,
    json: JsonOption = False,
    plain: PlainOption = False,
    record: RecordOption = None,
) -> None:
    """Show what the exchange sends of your account, without asking over HTTP."""
    require_one_style(json=json, plain=plain)
    bus.require_alone(feed)
    if bus.is_given:
        with prepared(feed, bus, record) as (chosen, source, recorder):
            title = feed_title("watch", chosen, source.url, record)
            with open_output(AccountShown(), title, time.time, json=json, plain=plain) as output:
                handle = recorded(source, recorder, shown_on(output))
                run_feed(chosen, source, handle, feed.seconds, recorder)
        return
    with _prepared(feed, record) as (chosen, source):
        title = feed_title("watch", chosen, feed.url, record)
        with (
            recorder_of(record, overwrite=feed.overwrite) as recorder,
            open_output(AccountShown(), title, time.time, json=json, plain=plain) as output,
        ):
            run_feed(chosen, source, shower(output, source), feed.seconds, recorder)


@app.command(
    cls=Command,
    epilog=f"""The token comes from --token-file or --keyring, else from {VARIABLE} in
the environment, else from a prompt, never from an argument. It is not recorded.

[bold]Examples[/bold]

\b
topone record today.jsonl.gz
topone record orders.jsonl --topics orders --seconds 3600
topone record main.jsonl.gz --from nats://127.0.0.1:4222 --account main
{VARIABLE}=demo topone record demo.jsonl --url ws://127.0.0.1:8765/ws/user/""",
)
@spread
def record(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A new file, compressed if it ends with .gz."),
    ],
    *,
    feed: AccountOptions,
    bus: BusOptions,
) -> None:
    """Record a feed into a file, for replay and stats. The screen shows the connection only.

    From a message bus, every event is written as a line of JSON with its position.
    """
    bus.require_alone(feed)
    if bus.is_given:
        with prepared(feed, bus, file) as (chosen, source, recorder):
            assert recorder is not None
            with recording_progress(str(file), recorder, Console()) as progress:
                handle = recorded(source, recorder, shown_on(progress))
                run_feed(chosen, source, handle, feed.seconds, recorder)
        return
    with (
        _prepared(feed, file) as (chosen, source),
        closing(new_recording(file, overwrite=feed.overwrite)) as recorder,
        recording_progress(str(file), recorder, Console()) as progress,
    ):
        run_feed(chosen, source, shower(progress, source), feed.seconds, recorder)


@contextmanager
def _prepared(
    feed: AccountOptions, record: Path | None
) -> Generator[tuple[Adapter, Source], None, None]:
    """Give the adapter and what to follow to a block whose failures are reported. All else is
    checked before anybody has to type a token."""
    feed.require_endpoint()
    topics = feed.parse_topics()
    with reported():
        chosen = choose_adapter(feed.adapter)
        require_token_source(feed.token_file, keyring=feed.keyring)
        require_new_file(record, overwrite=feed.overwrite)
        yield (
            chosen,
            Source(
                token=find_token(feed.token_file, keyring=feed.keyring, warn=complain),
                url=feed.url,
                topics=topics,
                origin=feed.origin,
                insecure=feed.insecure,
            ),
        )
