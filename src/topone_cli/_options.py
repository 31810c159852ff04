"""The options that several commands have, and what is checked about them."""

import inspect
import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import urlsplit

import attrs
import typer

from topone_cli._completion import complete_topics
from topone_cli._errors import VARIABLE, explain
from topone_cli._masks import hide_tokens
from topone_cli._run import Adapter
from topone_cli._topics import ACCOUNT_NAMES, PRIVATE_TOPICS
from topone_cli._usage import Misuse
from topone_proto import (
    DEFAULT_URL,
    PUBLIC_URL,
    ConfigurationError,
    Endpoint,
    Topic,
)
from topone_proto.adapters import HttpEndpoint
from topone_proto.wire.requests import DEFAULT_HTTP_URL
from topone_proto.wire.topic import Socket

__all__ = [
    "ACCOUNT_NAME",
    "AccountNameOption",
    "AccountOptions",
    "AdapterOption",
    "FeedOptions",
    "HealedOptions",
    "HttpUrlOption",
    "InsecureOption",
    "JsonOption",
    "KeyringOption",
    "MarketOptions",
    "MaybeHttpUrlOption",
    "OverwriteOption",
    "PlainOption",
    "PortOption",
    "RateOption",
    "RecordOption",
    "RecordingArgument",
    "RefusedAppId",
    "RefusedAppKey",
    "RefusedToken",
    "SecondsOption",
    "SeedOption",
    "TokenFileOption",
    "UrlOption",
    "WebOption",
    "check_positive",
    "http_base",
    "is_account_name",
    "parse_http_url",
    "require_one_style",
    "require_tokenless",
    "spread",
]

_LONGEST: Final = 10.0**7


ACCOUNT_NAME: Final = "use at most 64 letters, digits, - and _"
"""The rule for the name of an account, in words."""


def is_account_name(name: str) -> bool:
    """Return True if an account may be called so: on a bus, in a keyring, and as a part of a
    file's name."""
    return re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) is not None


def check_positive(value: float | None) -> float | None:
    """Return ``value`` if it is a number that can be waited for or divided by."""
    # Written so that NaN is refused, too.
    if value is not None and not 0 < value <= _LONGEST:
        raise Misuse("use a number greater than zero")
    return value


def _refuse_token(value: str | None) -> None:
    if value is not None:
        raise Misuse(
            "a token is never taken from the command line, where the shell's history and every "
            f"user of this machine can read it: set {VARIABLE}, use --token-file FILE, or type it "
            "at the prompt. If this one was real, revoke it."
        )


def _refuse_key(value: str | None) -> None:
    if value is not None:
        raise Misuse(
            "a key is never taken from the command line, where the shell's history and every user "
            "of this machine can read it: 'topone login' asks for it. If this one was real, delete "
            "it at the exchange."
        )


def _check_account_name(value: str) -> str:
    if value and not is_account_name(value):
        raise Misuse(ACCOUNT_NAME)
    return value


AdapterOption = Annotated[
    Adapter | None,
    typer.Option(
        metavar="NAME",
        help="The adapter to use: trio, asyncio or threads. Default: the first that is installed.",
    ),
]
SecondsOption = Annotated[
    float | None,
    typer.Option(
        callback=check_positive, metavar="N", help="End after N seconds. Default: on Ctrl-C."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print each event as one line of JSON, and nothing else.")
]
PlainOption = Annotated[
    bool, typer.Option("--plain", help="Print each event as one line of text, also in a terminal.")
]
RateOption = Annotated[float, typer.Option(metavar="R", help="Changes of the account in a second.")]
SeedOption = Annotated[
    int,
    typer.Option(metavar="N", help="Seed of chance: the same seed, the same changes."),
]
UrlOption = Annotated[
    str, typer.Option(metavar="URL", help="The WebSocket's URL, without the token.")
]
TopicsOption = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        help="What to follow, separated by commas.",
        autocompletion=complete_topics,
    ),
]
OriginOption = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT", help='The Origin header to send; "" sends an empty one. Default: none.'
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Read the token from FILE before every connection."),
]
KeyringOption = Annotated[
    bool,
    typer.Option(
        "--keyring", help="Read the token from the system's keyring before every connection."
    ),
]
InsecureOption = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Allow unencrypted connections (ws://, http://) to other machines."
    ),
]
RefusedToken = Annotated[
    str | None, typer.Option("--token", hidden=True, is_eager=True, callback=_refuse_token)
]
RefusedAppId = Annotated[
    str | None, typer.Option("--app-id", hidden=True, is_eager=True, callback=_refuse_key)
]
RefusedAppKey = Annotated[
    str | None, typer.Option("--app-key", hidden=True, is_eager=True, callback=_refuse_key)
]
AccountNameOption = Annotated[
    str,
    typer.Option(
        "--account",
        metavar="NAME",
        callback=_check_account_name,
        help="The name of the account, if you have several.",
    ),
]
HttpUrlOption = Annotated[
    str, typer.Option(metavar="URL", help="The URL of the exchange's HTTP API, without a path.")
]
MaybeHttpUrlOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The URL of the HTTP API, without a path. Default: the host of --url."
    ),
]
RecordOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Record the feed into FILE, compressed if it ends with .gz."),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace the recording if it exists.")
]
RecordingArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The recording, compressed or not.")
]


WebOption = Annotated[
    bool, typer.Option("--web", help="Show it as a web page as well, on this machine only.")
]
PortOption = Annotated[
    int,
    typer.Option(min=0, max=65535, metavar="N", help="The page's TCP port; 0 picks a free one."),
]


@attrs.frozen
class FeedOptions:
    """The options of every command that follows a feed."""

    socket: ClassVar[Socket] = "private"
    """The kind of server."""
    url: UrlOption = DEFAULT_URL
    adapter: AdapterOption = None
    origin: OriginOption = None
    insecure: InsecureOption = False
    overwrite: OverwriteOption = False
    seconds: SecondsOption = None

    def require_endpoint(self) -> None:
        """Raise Misuse if the server's address or the Origin header cannot be used."""
        require_tokenless(self.url)
        try:
            Endpoint(self.url, self.origin, self.insecure, socket=self.socket)
        except ConfigurationError as error:
            raise Misuse(explain(error)) from None


@attrs.frozen
class MarketOptions(FeedOptions):
    """The options of every command that follows market data."""

    socket: ClassVar[Socket] = "public"
    url: UrlOption = PUBLIC_URL


@attrs.frozen
class AccountOptions(FeedOptions):
    """The options of every command that follows an account."""

    topics: TopicsOption = ACCOUNT_NAMES
    token_file: TokenFileOption = None
    keyring: KeyringOption = False
    token: RefusedToken = None

    def parse_topics(self) -> tuple[Topic, ...]:
        """Return the topics of ``--topics``. Raises Misuse."""
        known = {topic.name: topic for topic in PRIVATE_TOPICS}
        several = "both with a comma" if len(known) == 2 else "several with commas"
        wanted = dict.fromkeys(name.strip() for name in self.topics.split(","))
        for number, name in enumerate(wanted, 1):
            if name not in known:
                meant = "".join(f" (is it {near}?)" for near in get_close_matches(name, known))
                raise Misuse(
                    f"--topics: name {number} is not a topic{meant}; use {' or '.join(known)}, or "
                    f"{several} between"
                )
        return tuple(known[name] for name in wanted)


@attrs.frozen
class HealedOptions(AccountOptions):
    """The options of every command that follows an account and asks for it over HTTP."""

    http_url: MaybeHttpUrlOption = None
    app_id: RefusedAppId = None
    app_key: RefusedAppKey = None

    def require_http(self) -> HttpEndpoint:
        """Return the base of the HTTP API. Raises Misuse."""
        return parse_http_url(http_base(self.url, self.http_url), insecure=self.insecure)


def http_base(url: str, http_url: str | None) -> str:
    """Return the URL of the HTTP API: unless it is given, it is where the WebSocket is."""
    if http_url is not None:
        return http_url
    if url == DEFAULT_URL:
        return DEFAULT_HTTP_URL
    parts = urlsplit(url)
    return f"{'https' if parts.scheme.lower() == 'wss' else 'http'}://{parts.netloc}"


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` an option for every field of the classes of options among its parameters.

    typer makes an option of each parameter; a class lets several commands share a list of them.
    """
    own = inspect.signature(command, eval_str=True).parameters.values()
    groups = {p.name: p.annotation for p in own if attrs.has(p.annotation)}
    params: list[inspect.Parameter] = []
    for param in own:
        if param.name not in groups:
            params.append(param)
            continue
        fields = attrs.fields_dict(groups[param.name])
        params += [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=fields[name].default,
                annotation=fields[name].type,
            )
            for name in _in_order(groups[param.name])
        ]

    @wraps(command)
    def run(**values: Any) -> None:
        for name, cls in groups.items():
            values[name] = cls(**{field: values.pop(field) for field in attrs.fields_dict(cls)})
        command(**values)

    run.__signature__ = inspect.Signature(params)  # type: ignore[attr-defined]  # typer asks for it
    return run


def _in_order(cls: type[Any]) -> dict[str, None]:
    """Return the names of a class's fields, those of its base first, whatever their defaults."""
    fields = attrs.fields_dict(cls)
    bases = reversed(cls.__mro__)
    names = (name for base in bases for name in inspect.get_annotations(base) if name in fields)
    return dict.fromkeys(names)


def parse_http_url(url: str, *, insecure: bool) -> HttpEndpoint:
    """Return the base of the exchange's HTTP API. Raises Misuse."""
    require_tokenless(url, "--http-url")
    try:
        return HttpEndpoint(url, insecure)
    except ConfigurationError as error:
        raise Misuse(explain(error)) from None


def require_tokenless(url: str, option: str = "--url") -> None:
    """Raise Misuse if ``url`` has something in it that could be a token."""
    if hide_tokens(url) != url:
        raise Misuse(
            f"{option}: it has something in it that could be a token: leave that out, and revoke "
            "it if it is one"
        )


def require_one_style(*, json: bool, plain: bool) -> None:
    """Raise Misuse if two ways of printing are asked for."""
    if json and plain:
        raise Misuse("use --json or --plain, not both")
