"""The commands that follow a feed: demo, watch and record."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from topone_cli._complaints import complain, reported
from topone_cli._demo import run_demo
from topone_cli._describe import printable, suggestion
from topone_cli._errors import VARIABLE
from topone_cli._files import Recorder, new_recording, require_new_file
from topone_cli._help import Command
from topone_cli._options import (
    DEFAULT_TOPICS,
    AdapterOption,
    InsecureOption,
    JsonOption,
    KeyringOption,
    OriginOption,
    OverwriteOption,
    PlainOption,
    RateOption,
    RecordOption,
    RefusedToken,
    SecondsOption,
    SeedOption,
    TokenFileOption,
    TopicsOption,
    UrlOption,
    parse_topics,
    require_endpoint,
    require_no_more,
    require_one_style,
)
from topone_cli._output import Output, open_output
from topone_cli._record import recording_progress
from topone_cli._root import app
from topone_cli._run import Adapter, Source, choose_adapter, run_feed
from topone_cli._token import RereadToken, find_token, require_token_source
from topone_proto import DEFAULT_URL, Disconnected, Event, FailureKind, Token
from topone_simulator import run_in_thread

__all__ = ["demo", "record", "watch"]


@app.command(
    cls=Command,
    epilog="""[bold]Examples[/bold]

\b
topone demo
topone demo --adapter asyncio --seconds 10
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
    seed: SeedOption = 0,
    rate: RateOption = 5.0,
) -> None:
    """Show a living account on a simulated exchange. No account is needed.

    After a few seconds the connection is dropped on purpose, to show what that looks like.
    """
    require_one_style(json=json, plain=plain)
    with reported():
        chosen = choose_adapter(adapter)
        with (
            _recorder(record, overwrite=overwrite) as recorder,
            run_in_thread(rate=rate, seed=seed) as simulator,
            open_output(
                _title("demo", chosen, simulator.url, record), time.time, json=json, plain=plain
            ) as output,
        ):
            run_demo(simulator, output, chosen, seconds, recorder)


@app.command(
    cls=Command,
    # An argument too many may be a token: it is taken, to be refused without being shown.
    context_settings={"allow_extra_args": True},
    epilog=f"""The token comes from --token-file or --keyring, else from {VARIABLE} in
the environment, else from a prompt; never from an argument.

[bold]Examples[/bold]

\b
topone watch
topone watch --topics orders --json --token-file token.txt
topone watch --record today.jsonl.gz
{VARIABLE}=demo topone watch --url ws://127.0.0.1:8765/ws/user/""",
)
def watch(  # noqa: PLR0913 - one for each option
    context: typer.Context,
    *,
    url: UrlOption = DEFAULT_URL,
    adapter: AdapterOption = None,
    topics: TopicsOption = DEFAULT_TOPICS,
    origin: OriginOption = None,
    token_file: TokenFileOption = None,
    keyring: KeyringOption = False,
    insecure: InsecureOption = False,
    json: JsonOption = False,
    plain: PlainOption = False,
    record: RecordOption = None,
    overwrite: OverwriteOption = False,
    seconds: SecondsOption = None,
    token: RefusedToken = None,  # noqa: ARG001 - its callback refuses it
) -> None:
    """Show your account on the exchange, or on any server that speaks its protocol."""
    require_no_more(context)
    require_one_style(json=json, plain=plain)
    require_endpoint(url, origin, insecure=insecure)
    wanted = parse_topics(topics)
    with reported():
        chosen, found = _prepare(adapter, record, token_file, overwrite=overwrite, keyring=keyring)
        source = Source(token=found, url=url, topics=wanted, origin=origin, insecure=insecure)
        with (
            _recorder(record, overwrite=overwrite) as recorder,
            open_output(
                _title("watch", chosen, url, record), time.time, json=json, plain=plain
            ) as output,
        ):
            run_feed(chosen, source, _shower(output, url, found), seconds, recorder)


@app.command(
    cls=Command,
    context_settings={"allow_extra_args": True},
    epilog=f"""The token comes from --token-file or --keyring, else from {VARIABLE} in
the environment, else from a prompt; never from an argument. It is not recorded.

[bold]Examples[/bold]

\b
topone record today.jsonl.gz
topone record orders.jsonl --topics orders --seconds 3600
{VARIABLE}=demo topone record demo.jsonl --url ws://127.0.0.1:8765/ws/user/""",
)
def record(  # noqa: PLR0913 - one for each option
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A new file; compressed if it ends with .gz.")
    ],
    *,
    url: UrlOption = DEFAULT_URL,
    adapter: AdapterOption = None,
    topics: TopicsOption = DEFAULT_TOPICS,
    origin: OriginOption = None,
    token_file: TokenFileOption = None,
    keyring: KeyringOption = False,
    insecure: InsecureOption = False,
    overwrite: OverwriteOption = False,
    seconds: SecondsOption = None,
    token: RefusedToken = None,  # noqa: ARG001 - its callback refuses it
) -> None:
    """Record a feed into a file, for replay and stats. Shows only the life of the connection."""
    require_no_more(context)
    require_endpoint(url, origin, insecure=insecure)
    wanted = parse_topics(topics)
    with reported():
        chosen, found = _prepare(adapter, file, token_file, overwrite=overwrite, keyring=keyring)
        source = Source(token=found, url=url, topics=wanted, origin=origin, insecure=insecure)
        with (
            closing(new_recording(file, overwrite=overwrite)) as recorder,
            recording_progress(str(file), recorder, Console()) as progress,
        ):
            run_feed(chosen, source, _shower(progress, url, found), seconds, recorder)


def _prepare(
    adapter: Adapter | None,
    record: Path | None,
    token_file: Path | None,
    *,
    overwrite: bool,
    keyring: bool,
) -> tuple[Adapter, Token | RereadToken]:
    """The adapter and the token: everything else is checked before anybody has to type one.

    Raises: as ``choose_adapter``, ``require_new_file`` and ``find_token``.
    """
    chosen = choose_adapter(adapter)
    require_token_source(token_file, keyring=keyring)
    require_new_file(record, overwrite=overwrite)
    return chosen, find_token(token_file, keyring=keyring, warn=complain)


def _title(command: str, adapter: Adapter, url: str, record: Path | None) -> Callable[[], str]:
    title = f"topone {command} over {adapter}, {url}"
    if record is not None:
        title += f", recording to {record}"
    return lambda: title


def _shower(output: Output, url: str, token: Token | RereadToken) -> Callable[[Event], None]:
    """Shows the events of a feed from ``url``, and says what to do if it does not come about."""
    said: str | None = None

    def show(event: Event) -> None:
        nonlocal said
        now = time.time()
        output.event(event, now)
        if (hint := suggestion(event, url)) is not None:
            output.note(hint, now)
        trouble = token.trouble if isinstance(token, RereadToken) else None
        is_of_token = isinstance(event, Disconnected) and event.reason.kind is FailureKind.TOKEN
        if is_of_token and trouble is not None and trouble != said:
            output.note(printable(trouble), now)
        if is_of_token:
            said = trouble

    return show


def _recorder(path: Path | None, *, overwrite: bool) -> AbstractContextManager[Recorder | None]:
    return nullcontext() if path is None else closing(new_recording(path, overwrite=overwrite))
