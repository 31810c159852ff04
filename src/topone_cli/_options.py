"""The options that several commands have, and what is checked about them."""

from pathlib import Path
from typing import Annotated, Final

import typer

from topone_cli._errors import VARIABLE, explain
from topone_cli._run import Adapter
from topone_proto import BALANCE, ORDERS, ConfigurationError, Endpoint, Topic

__all__ = [
    "DEFAULT_TOPICS",
    "AdapterOption",
    "InsecureOption",
    "JsonOption",
    "KeyringOption",
    "OriginOption",
    "OverwriteOption",
    "PlainOption",
    "RateOption",
    "RecordOption",
    "RecordingArgument",
    "RefusedToken",
    "SecondsOption",
    "SeedOption",
    "TokenFileOption",
    "TopicsOption",
    "UrlOption",
    "check_positive",
    "parse_topics",
    "require_endpoint",
    "require_no_more",
    "require_one_style",
]

_LONGEST: Final = 10.0**7


def check_positive(value: float | None) -> float | None:
    """``value``, if it is a number that can be waited for or divided by."""
    # Written so that NaN is refused, too.
    if value is not None and not 0 < value <= _LONGEST:
        raise typer.BadParameter("use a number greater than zero")
    return value


def _refuse_token(value: str | None) -> None:
    if value is not None:
        raise typer.BadParameter(
            "a token is never taken from the command line, where the shell's history and every "
            f"user of this machine can read it: set {VARIABLE}, use --token-file FILE, or type it "
            "at the prompt. If this one was real, revoke it."
        )


AdapterOption = Annotated[
    Adapter | None,
    typer.Option(help="Which adapter carries the feed; otherwise the first that is installed."),
]
SecondsOption = Annotated[
    float | None,
    typer.Option(
        callback=check_positive, metavar="N", help="End after N seconds; otherwise with Ctrl-C."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object a line for every event, no more.")
]
PlainOption = Annotated[
    bool, typer.Option("--plain", help="Print a line of text for every event, also at a terminal.")
]
RateOption = Annotated[
    float, typer.Option(metavar="R", help="How many things happen to the account in a second.")
]
SeedOption = Annotated[
    int, typer.Option(metavar="N", help="The source of all chance in the account's life.")
]
UrlOption = Annotated[str, typer.Option(metavar="URL", help="Where to connect, without the token.")]
TopicsOption = Annotated[
    str, typer.Option(metavar="NAMES", help="What to subscribe to, with commas between.")
]
OriginOption = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT", help='Send this Origin header, "" for an empty one; otherwise none.'
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Read the token from FILE, again for every connection."),
]
KeyringOption = Annotated[
    bool,
    typer.Option(
        "--keyring", help="Take the token from the system's keyring, again for every connection."
    ),
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Allow plain ws:// to other machines.")
]
RefusedToken = Annotated[
    str | None, typer.Option("--token", hidden=True, is_eager=True, callback=_refuse_token)
]
RecordOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Record the feed into FILE; compressed if it ends with .gz."),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Record into FILE even if it is there already.")
]
RecordingArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The recording, compressed or not.")
]

DEFAULT_TOPICS: Final = f"{BALANCE},{ORDERS}"


def parse_topics(names: str) -> tuple[Topic, ...]:
    """The topics of ``--topics``."""
    known = {topic.name: topic for topic in (BALANCE, ORDERS)}
    wanted = dict.fromkeys(name.strip() for name in names.split(","))
    for name in wanted:
        if name not in known:
            raise typer.BadParameter(
                f"--topics: there is no topic {name!r:.80}; use {' or '.join(known)}, or both with "
                "a comma between"
            )
    return tuple(known[name] for name in wanted)


def require_endpoint(url: str, origin: str | None, *, insecure: bool) -> None:
    """Check where to connect."""
    try:
        Endpoint(url, origin, insecure)
    except ConfigurationError as error:
        raise typer.BadParameter(explain(error)) from None


def require_no_more(context: typer.Context) -> None:
    """Refuse further arguments without showing them: one may be a token."""
    if context.args:
        raise typer.BadParameter("there are too many arguments; they are not shown here")


def require_one_style(*, json: bool, plain: bool) -> None:
    """Refuse two ways of printing at once."""
    if json and plain:
        raise typer.BadParameter("use --json or --plain, not both")
