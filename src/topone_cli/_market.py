"""The command that follows market data."""

import time
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from topone_cli._complaints import reported
from topone_cli._completion import one_of
from topone_cli._files import require_new_file
from topone_cli._following import feed_title, recorder_of, shower
from topone_cli._format import printable
from topone_cli._help import Command
from topone_cli._masks import hide_tokens
from topone_cli._options import (
    JsonOption,
    MarketOptions,
    PlainOption,
    RecordOption,
    require_one_style,
    spread,
)
from topone_cli._output import LiveScreen, Output, open_output, shown_of
from topone_cli._root import app
from topone_cli._run import History, Source, choose_adapter, run_feed
from topone_cli._usage import Misuse
from topone_proto import ConfigurationError, Topic, deals, depth, kline
from topone_proto.wire.depth import MERGES
from topone_proto.wire.kline import PERIODS

__all__ = ["market"]

# As many as one request may ask for, and the widest terminals show.
_CANDLES: Final = 240


@app.command(
    cls=Command,
    epilog="""No token is needed.

[bold]Examples[/bold]

\b
topone market BTC/USDT
topone market ETH/BTC --period 1h --merge 10x
topone market BTC/USDT --json --seconds 60
topone market BTC/USDT --url ws://127.0.0.1:8765/ws/""",
)
@spread
def market(
    market: Annotated[str, typer.Argument(metavar="MARKET", help="The market, such as BTC/USDT.")],
    *,
    period: Annotated[
        str,
        typer.Option(
            metavar="P",
            help=f"The candles' period: {', '.join(PERIODS)}.",
            autocompletion=one_of(PERIODS),
        ),
    ] = "1m",
    merge: Annotated[
        str,
        typer.Option(
            metavar="M",
            help=f"Price steps in one level of the book: {', '.join(MERGES)}.",
            autocompletion=one_of(MERGES),
        ),
    ] = "1x",
    feed: MarketOptions,
    json: JsonOption = False,
    plain: PlainOption = False,
    record: RecordOption = None,
) -> None:
    """Show a market: order book, trades and candles, as they change."""
    require_one_style(json=json, plain=plain)
    feed.require_endpoint()
    source = Source(
        url=feed.url,
        topics=_topics(market, period, merge),
        origin=feed.origin,
        insecure=feed.insecure,
    )
    with reported():
        chosen = choose_adapter(feed.adapter)
        require_new_file(record, overwrite=feed.overwrite)
        title = feed_title(f"market {market}", chosen, feed.url, record)
        with (
            recorder_of(record, overwrite=feed.overwrite) as recorder,
            open_output(
                shown_of(source.topics), title, time.time, json=json, plain=plain
            ) as output,
        ):
            show = shower(output, source, is_private=False)
            past = _past(source.topics, period, output)
            run_feed(chosen, source, show, feed.seconds, recorder, past)


def _past(topics: Sequence[Topic], period: str, output: Output) -> History | None:
    """Return the candles that a screen shows from the start; None for lines, which show what comes
    and no more."""
    if not isinstance(output, LiveScreen):
        return None
    return History(
        topics[-1],
        _CANDLES * PERIODS[period],
        output.add_history,
        lambda text: output.note(printable(text), time.time()),
    )


def _topics(market: str, period: str, merge: str) -> tuple[Topic, ...]:
    """Return the topics of a market. Raises Misuse, which repeats none of the three."""
    try:
        trades = deals(market)
    except ConfigurationError:
        trades = None
    if trades is None or hide_tokens(market) != market:
        raise Misuse("MARKET: use the name of a market, such as BTC/USDT")
    if period not in PERIODS:
        raise Misuse(f"--period: use one of {', '.join(PERIODS)}")
    if merge not in MERGES:
        raise Misuse(f"--merge: use one of {', '.join(MERGES)}")
    return depth(market, merge), trades, kline(market, period)
