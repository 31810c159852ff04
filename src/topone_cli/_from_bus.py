"""An account that comes over a message bus: the options, the source, and its lines in a file."""

import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import attrs
import typer
from attrs import define

from topone_cli._complaints import reported
from topone_cli._events import AnyEvent
from topone_cli._files import Recorder, require_new_file
from topone_cli._following import recorder_of
from topone_cli._life import KEPT
from topone_cli._options import ACCOUNT_NAME, AccountOptions, is_account_name, require_tokenless
from topone_cli._output import Output
from topone_cli._run import Adapter, choose_adapter
from topone_cli._topics import ACCOUNT_TOPICS
from topone_cli._usage import Misuse
from topone_proto import Closed, Token, Topic
from topone_proto.account import Account, RelayEvent
from topone_proto.plain import to_plain

__all__ = ["BusOptions", "BusSource", "recorded"]


def _check_account(value: str) -> str:
    if value and not is_account_name(value):
        raise Misuse(ACCOUNT_NAME)
    return value


@attrs.frozen
class BusOptions:
    """The options of every command that can take an account from a bus."""

    bus: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="BUS",
            help="Take the account from a message bus, where 'topone relay' publishes it: a URL "
            "such as nats://host:4222, or a TOML file with a \\[bus] table.",
        ),
    ] = None
    account: Annotated[
        str,
        typer.Option(
            "--account",
            metavar="NAME",
            callback=_check_account,
            help="The name of the account on the bus. Default: main.",
        ),
    ] = ""

    @property
    def is_given(self) -> bool:
        """True if the account comes from a bus."""
        return self.bus is not None

    def require_alone(self, feed: AccountOptions) -> None:
        """Raise Misuse if options are given that only make sense without these, or the reverse."""
        if self.bus is None:
            if self.account:
                raise Misuse("--account: name the bus with --from as well")
            return
        require_tokenless(self.bus, "--from")
        if "://" in self.bus and "@" in urlsplit(self.bus).netloc:
            raise Misuse(
                "--from: a password is never taken from the command line, where the shell's "
                "history and every user of this machine can read it: name a TOML file whose [bus] "
                "table has url, user and password_file"
            )
        if "://" not in self.bus and not Path(self.bus).exists():
            raise Misuse("--from: use a URL such as nats://host:4222, or a file that is there")
        kind = type(feed)
        ours = {"adapter", "overwrite", "seconds"}
        given = [
            each.name
            for each in attrs.fields(kind)
            if each.name not in ours and getattr(feed, each.name) != each.default
        ]
        if given:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise Misuse(f"--from: leave out {names}, which the relay decides")

    def source(self) -> "BusSource":
        """Return the account on the bus.

        Raises:
            ConfigurationError: the file or the bus cannot be used.
            ImportError: the library of this kind of bus is not installed.
        """
        from topone_cli._relay_bus import open_bus, shown_bus

        assert self.bus is not None
        table = _table_of(self.bus)
        bus = open_bus(table, "--from")
        name = self.account or "main"
        return BusSource(url=f"{shown_bus(table)}, account {name}", bus=bus, account=name)


def _table_of(place: str) -> Any:
    from topone_cli._relay_file import BusTable, read_bus_table

    return BusTable(url=place) if "://" in place else read_bus_table(Path(place))


@define(kw_only=True, eq=False)
class BusSource:
    """An account on a bus. A ``Source`` for ``run_feed``."""

    url: str
    """The bus and the account, for people."""
    bus: Any
    account: str
    topics: tuple[Topic, ...] = ACCOUNT_TOPICS
    token: Token | None = None
    feed: Any = None
    """The open feed, from the first event on."""

    @property
    def if_nothing_came(self) -> str:
        """The likely cause if nothing comes."""
        return (
            f"nobody has published {self.account} on this bus: check --account, and the relay's "
            "file and prefix"
        )

    def open(self, adapter: Any, record: Callable[[str], object] | None) -> Any:
        """Open the feed, for the kind of program that the module of an adapter is for."""
        del adapter, record
        from topone_relay import open_feed

        return _Noted(open_feed(self.bus, account=self.account), self)


class _Noted:
    """A block, blocking or async, whose feed is noted."""

    def __init__(self, opened: Any, source: BusSource) -> None:
        self._opened = opened
        self._source = source

    def __enter__(self) -> Any:
        self._source.feed = self._opened.__enter__()
        return self._source.feed

    def __exit__(self, *error: object) -> Any:
        return self._opened.__exit__(*error)

    async def __aenter__(self) -> Any:
        self._source.feed = await self._opened.__aenter__()
        return self._source.feed

    async def __aexit__(self, *error: object) -> Any:
        return await self._opened.__aexit__(*error)


def recorded(
    source: BusSource, recorder: Recorder | None, show: Callable[[AnyEvent], object]
) -> Callable[[AnyEvent], object]:
    """Return a function that writes an event to a file and shows it. A line of the file is one
    event, when it came here, and the position behind it."""
    if recorder is None:
        return show

    def handle(event: AnyEvent) -> None:
        position = source.feed.position
        line = {
            "at": round(time.time(), 6),
            "position": None if position is None else str(position),
            **to_plain(event),
        }
        recorder.write(f"{json.dumps(line)}\n")
        show(event)

    return handle


def shown_on(output: Output) -> Callable[[AnyEvent], object]:
    """Return a function that shows an event."""
    return lambda event: output.event(event, time.time())


def folded(output: Output) -> Callable[[AnyEvent], object]:
    """Return a function that shows an event, and what it changes in the account."""
    account = Account(max_closed=KEPT)

    def show(event: RelayEvent) -> None:
        now = time.time()
        output.event(event, now)
        # What is shown in the end is what was known when it was closed.
        if not isinstance(event, Closed):
            for change in account.apply(event):
                output.event(change, now)

    return cast("Callable[[AnyEvent], object]", show)


@contextmanager
def prepared(
    feed: AccountOptions, bus: BusOptions, record: Path | None
) -> Generator[tuple[Adapter, BusSource, Recorder | None], None, None]:
    """Give the adapter, the account on the bus and the file to a block whose failures are
    reported."""
    with reported():
        chosen = choose_adapter(feed.adapter)
        require_new_file(record, overwrite=feed.overwrite)
        source = bus.source()
        with recorder_of(record, overwrite=feed.overwrite) as recorder:
            yield chosen, source, recorder
