"""The command account: an account that is followed, and made whole over HTTP."""

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from topone_cli._access import Access, find_access
from topone_cli._account_source import AccountSource
from topone_cli._complaints import FAILED, complain, fail, reported
from topone_cli._errors import VARIABLE, in_options
from topone_cli._files import require_new_file
from topone_cli._fill_files import open_fill_file, require_fill_file
from topone_cli._following import feed_title, recorder_of, shower
from topone_cli._format import printable
from topone_cli._from_bus import BusOptions, folded, prepared, recorded
from topone_cli._help import Command
from topone_cli._historian import ACCOUNT_CALLS, Historian
from topone_cli._options import (
    HealedOptions,
    JsonOption,
    PlainOption,
    PortOption,
    RecordOption,
    WebOption,
    require_one_style,
    spread,
)
from topone_cli._output import Output
from topone_cli._paged import open_paged
from topone_cli._root import app
from topone_cli._run import choose_adapter, run_feed
from topone_cli._usage import Misuse
from topone_proto import ORDERS, ConfigurationError, FailureKind, FeedFailed, Token
from topone_proto.account import AccountConfig, AccountEvent
from topone_proto.adapters import HttpEndpoint

__all__ = ["account"]

_PARQUET_PAUSE = 60.0


@app.command(
    cls=Command,
    epilog=f"""The keys are those of 'topone login', or {VARIABLE.replace("TOKEN", "APP_ID")} and
{VARIABLE.replace("TOKEN", "APP_KEY")} in the environment. With --token-file, --keyring or
{VARIABLE}, that token is used.

[bold]Examples[/bold]

\b
topone account
topone account --web
topone account --json
topone account --export fills.csv
topone account --export fills.sqlite --plain
topone account --from nats://127.0.0.1:4222 --account main""",
)
@spread
def account(
    *,
    feed: HealedOptions,
    bus: BusOptions,
    json: JsonOption = False,
    plain: PlainOption = False,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Add each fill once to FILE, a .csv, .sqlite or .parquet.",
        ),
    ] = None,
    web: WebOption = False,
    port: PortOption = 0,
    record: RecordOption = None,
) -> None:
    """Show your balances, open orders and fills, and ask over HTTP for what was missed.

    Values that may be outdated are marked. From a message bus nothing is asked: the relay asks.
    """
    require_one_style(json=json, plain=plain)
    bus.require_alone(feed)
    if bus.is_given:
        if export is not None:
            raise Misuse("--export: leave out --from, as the file is completed over HTTP")
        with prepared(feed, bus, record) as (chosen, on_bus, recorder):
            title = feed_title("account", chosen, on_bus.url, record)
            with open_paged(title, json=json, plain=plain, web=web, port=port) as output:
                take = recorded(on_bus, recorder, folded(output))
                run_feed(chosen, on_bus, take, feed.seconds, recorder)
        return
    feed.require_endpoint()
    endpoint = feed.require_http()
    topics = feed.parse_topics()
    if export is not None and ORDERS not in topics:
        raise Misuse("--export: leave orders among --topics")
    with reported():
        require_fill_file(export)
        chosen = choose_adapter(feed.adapter)
        require_new_file(record, overwrite=feed.overwrite)
        access = find_access(endpoint, feed.token_file, keyring=feed.keyring, warn=complain)
        source = AccountSource(
            url=feed.url,
            http_url=endpoint.url,
            topics=topics,
            access=access,
            origin=feed.origin,
            insecure=feed.insecure,
            config=AccountConfig(
                **({} if export is None else {"order_calls_per_minute": ACCOUNT_CALLS})
            ),
            cache=cache_of(access, endpoint),
        )
        title = feed_title("account", chosen, feed.url, record)
        with (
            recorder_of(record, overwrite=feed.overwrite) as recorder,
            open_paged(title, json=json, plain=plain, web=web, port=port) as output,
            exported(export, source, endpoint, output) as (keep, is_broken),
            explained(access),
        ):
            show = shower(output, source)

            def handle(event: AccountEvent) -> None:
                keep(event)
                show(event)

            run_feed(chosen, source, handle, feed.seconds, recorder, is_broken=is_broken)


def cache_of(access: Access, endpoint: HttpEndpoint) -> Path | None:
    """Return the file of token and budgets that all processes share; None with a token of the
    user's own."""
    from topone_accounts import default_path

    return None if access.keys is None else default_path(access.keys.app_id, endpoint)


@contextmanager
def explained(access: Access) -> Generator[None, None, None]:
    """Turn the end of an account without a token into words about its keys."""
    try:
        yield
    except FeedFailed as error:
        failure = error.failure
        if access.keys is None or failure.kind is not FailureKind.TOKEN or not failure.detail:
            raise
        words = printable(in_options(failure.detail))
        fail(f"{words} (the keys are those of {access.place})", FAILED)


@contextmanager
def exported(
    path: Path | None, source: AccountSource, endpoint: HttpEndpoint, output: Output
) -> Generator[tuple[Callable[[AccountEvent], object], Callable[[], bool]], None, None]:
    """Give what takes every event for the export, and what says that it cannot go on."""
    if path is None:
        yield (lambda _: None), (lambda: False)
        return
    from topone_cli._bookkeeper import Bookkeeper
    from topone_cli._exporter import Exporter
    from topone_cli._http import Fetcher

    def note(text: str) -> None:
        output.note(printable(text), time.time())

    with ExitStack() as stack:
        file = open_fill_file(path)
        exporter = Exporter(file, _PARQUET_PAUSE if path.suffix.lower() == ".parquet" else 0.0)
        stack.callback(exporter.close)
        fetcher = Fetcher(endpoint)
        historian = Historian(
            fetcher.fetch,
            partial(_present_token, source),
            partial(exporter.take, healed=True),
            note,
            fetcher.abort,
        )
        stack.callback(historian.close)
        bookkeeper = Bookkeeper(exporter, historian, file.seen, note)
        stack.callback(bookkeeper.end)

        def keep(event: AccountEvent) -> None:
            bookkeeper.take(event, source.account)

        yield keep, lambda: exporter.is_broken


def _present_token(source: AccountSource) -> Token | None:
    """Return the token of the account; None if there is none now."""
    from topone_accounts import FileStore

    token = source.token
    try:
        if token is None:
            return FileStore(source.cache).load().token.token
        return token if isinstance(token, Token) else token()
    except (ConfigurationError, OSError):
        # The account says what is wrong with it.
        return None
