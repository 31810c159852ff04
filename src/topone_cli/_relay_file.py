"""The file of ``topone relay``: which accounts, on which bus. It has no secret in it.

Each mistake is reported with the file, the key and what to write instead.
"""

import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import attrs
import cattrs
from attrs import field, frozen
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError

from topone_cli._keys import find_stored_keys, log_in, read_keys
from topone_cli._masks import hide_tokens
from topone_cli._options import ACCOUNT_NAME, http_base, is_account_name
from topone_cli._token import find_token
from topone_proto import (
    DEFAULT_URL,
    PUBLIC_URL,
    ConfigurationError,
    Endpoint,
    SessionConfig,
    Topic,
)
from topone_proto.account import AccountConfig
from topone_proto.adapters import HttpEndpoint
from topone_proto.relay import RelayConfig
from topone_proto.wire.topic import Socket, families
from topone_relay import AccountEntry

__all__ = ["BusTable", "RelayFile", "read_bus_table", "read_relay_file"]

_T = TypeVar("_T")

_LARGEST: Final = 2**20
_SECRETS: Final = frozenset({"app_id", "app_key", "key", "keys", "password", "secret", "token"})
_IN_MEMORY: Final = "memory"


@frozen(kw_only=True)
class BusTable:
    """``[bus]``: the message bus, and the way to it. Paths are relative to the file."""

    url: str | list[str]
    """The server, or several of one cluster: ``nats://``, ``tls://``, ``redis://``,
    ``rediss://``."""
    prefix: str | None = None
    """The first part of all names on the bus, for several relays that share one."""
    user: str | None = None
    """The user's name."""
    password_file: str | None = None
    """The file of the password, in its first line."""
    token_file: str | None = None
    """The file of a token of the bus (NATS), in its first line."""
    creds_file: str | None = None
    """A credentials file (NATS)."""
    nkey_file: str | None = None
    """The file of a seed (NATS)."""
    ca_file: str | None = None
    """The certificates that the server's has to be signed by; those of the system unless given."""
    cert_file: str | None = None
    """The certificate that this client shows; with ``key_file``."""
    key_file: str | None = None
    """The private key of that certificate."""

    @property
    def urls(self) -> list[str]:
        """The servers."""
        return [self.url] if isinstance(self.url, str) else self.url


@frozen(kw_only=True)
class _AccountTable:
    topics: list[str] = field(factory=lambda: ["balance", "orders"])
    url: str | None = None
    http_url: str | None = None
    origin: str | None = None
    insecure: bool = False
    keys_file: str | None = None
    token_file: str | None = None
    cache: str | None = None
    session: SessionConfig | None = None
    account: AccountConfig | None = None


@frozen(kw_only=True)
class _File:
    bus: BusTable
    relay: RelayConfig = field(factory=RelayConfig)
    defaults: dict[str, Any] = field(factory=dict[str, Any])
    accounts: dict[str, dict[str, Any]]


@frozen(kw_only=True)
class RelayFile:
    """The content of the file, with the secrets that it leads to."""

    path: Path
    """The file."""
    bus: BusTable
    """The bus, its paths made absolute."""
    config: RelayConfig
    """The settings of leases, buffers and snapshots."""
    entries: tuple[AccountEntry, ...]
    """The accounts, in the order of the file."""


def read_relay_file(path: Path, warn: Callable[[str], object]) -> RelayFile:
    """Read the file, and the keys and tokens of its accounts from where they are stored.

    Args:
        path: the file.
        warn: is told what is unwise about the files of secrets.

    Raises:
        ConfigurationError: it cannot be read, or something in it cannot be used.
    """
    return _Reader(path, warn).read()


def read_bus_table(path: Path) -> BusTable:
    """Read the table of the bus alone, for consumers.

    Raises:
        ConfigurationError: the file cannot be read, or something in the table cannot be used.
    """
    return _Reader(path, len).read_bus()


class _Reader:
    """The file, and the names of what is being read."""

    def __init__(self, path: Path, warn: Callable[[str], object]) -> None:
        self._path = path
        self._warn = warn

    def read(self) -> RelayFile:
        plain = self._load()
        accounts = plain.get("accounts")
        if not (accounts and isinstance(accounts, dict)):
            raise self._refusal("accounts", "there are none", "add a table such as [accounts.main]")
        for name in cast("dict[str, object]", accounts):
            if not is_account_name(name):
                where = f"accounts.{name:.80}"
                raise self._refusal(where, "this is not a name of an account", ACCOUNT_NAME)
        file = self._structure(plain, _File, "")
        bus = self._bus(plain)
        entries = [
            self._entry(name, file.defaults | table) for name, table in file.accounts.items()
        ]
        return RelayFile(path=self._path, bus=bus, config=file.relay, entries=tuple(entries))

    def read_bus(self) -> BusTable:
        """Return the table of the bus alone."""
        plain = self._load()
        if not isinstance(plain.get("bus"), dict):
            raise self._refusal("bus", "there is no such table", "add one, with url = ...")
        return self._bus(plain)

    def _bus(self, plain: dict[str, Any]) -> BusTable:
        table = {
            key: str(self._place(value)) if key.endswith("_file") else value
            for key, value in plain["bus"].items()
        }
        return self._structure(table, BusTable, "bus")

    def _load(self) -> dict[str, Any]:
        try:
            with self._path.open("rb") as stream:
                data = stream.read(_LARGEST + 1)
        except OSError as error:
            problem = f"it cannot be read ({error.strerror})"
            raise self._refusal("", problem, "check the path") from None
        if len(data) > _LARGEST:
            raise self._refusal("", "it is larger than 1 MiB", "check the path")
        try:
            return tomllib.loads(data.decode())
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            problem = f"it is not TOML: {error}"
        except UnicodeDecodeError:
            problem = "it is not TOML in UTF-8"
        raise self._refusal("", problem, "see https://toml.io")

    def _entry(self, name: str, plain: dict[str, Any]) -> AccountEntry:
        where = f"accounts.{name}"
        table = self._structure(plain, _AccountTable, where)
        topics = tuple(self._topic(text, where) for text in table.topics)
        is_market = all(topic.family and topic.family.socket == "public" for topic in topics)
        url = table.url or (PUBLIC_URL if is_market else DEFAULT_URL)
        http_url = http_base(url, table.http_url)
        for key, given in (("url", url), ("http_url", http_url)):
            if hide_tokens(given) != given:
                problem = "it has something in it that could be a token"
                raise self._refusal(f"{where}.{key}", problem, "leave that out, and revoke it")
        arguments: dict[str, Any] = {
            "name": name,
            "topics": topics,
            "url": url,
            "origin": table.origin,
            "insecure": table.insecure,
            "config": table.session,
        }
        try:
            socket: Socket = "public" if is_market else "private"
            Endpoint(url, table.origin, table.insecure, socket=socket)
            if not is_market:
                endpoint = HttpEndpoint(http_url, table.insecure)
                arguments |= self._secrets(name, table, endpoint)
                arguments |= {"http_url": http_url, "account_config": table.account}
            return AccountEntry(**arguments)
        except ConfigurationError as error:
            setting = f"{where}: {error.setting}"
            remedy = error.remedy.replace("insecure=True", "insecure = true")
            raise self._refusal(setting, error.problem, remedy) from None

    def _topic(self, text: str, where: str) -> Topic:
        with suppress(ConfigurationError):
            topic: Topic = Topic(text)
            if topic.family is not None:
                return topic
        known = [family.example.topic.name for family in families()]
        near = get_close_matches(text, known, 1)
        meant = f" (is it {near[0]}?)" if near else ""
        raise self._refusal(
            f"{where}.topics",
            f"one of them is not a topic{meant}",
            f"use names such as {', '.join(known)}",
        )

    def _secrets(self, name: str, table: _AccountTable, endpoint: HttpEndpoint) -> dict[str, Any]:
        """Return the way into an account, and where its token is kept."""
        if table.token_file is not None:
            if table.keys_file is not None:
                raise ConfigurationError(
                    setting="keys_file",
                    problem="there is a token_file as well",
                    remedy="leave one of them out",
                )
            path = self._place(table.token_file)
            return {"token": find_token(path, warn=self._warn)}
        if table.keys_file is not None:
            path = self._place(table.keys_file)
            keys = read_keys(path, self._warn, f"{log_in(name)} --file")
        else:
            found = find_stored_keys(endpoint, name, warn=self._warn)
            if found is None:
                raise ConfigurationError(
                    setting="keys",
                    problem=f"none are stored for {endpoint.url}",
                    remedy=f"run '{log_in(name)}' on this machine, or add keys_file or token_file",
                )
            keys = found[0]
        if table.cache == _IN_MEMORY:
            return {"credentials": keys}
        from topone_accounts import open_store

        cache = None if table.cache is None else self._place(table.cache)
        config = table.account or AccountConfig()
        store = open_store(cache, keys, endpoint, config.token_interval)
        return {"credentials": keys, "local": store}

    def _place(self, path: str) -> Path:
        return self._path.parent / Path(path).expanduser()

    def _structure(self, plain: Mapping[str, Any], cls: type[_T], where: str) -> _T:
        try:
            return _CONVERTER.structure(plain, cls)
        except ClassValidationError as error:
            found = cattrs.transform_error(error, path=where or "$", format_exception=_in_words)
        # The exception has what was written in the file.
        problem, _, place = found[0].rpartition(" @ ")
        problem, _, remedy = problem.partition("; ")
        place = place.removeprefix("$").removeprefix(".")
        raise self._refusal(place, problem, remedy or "see the page about topone relay")

    def _refusal(self, place: str, problem: str, remedy: str) -> ConfigurationError:
        name = f"{self._path}: {place}" if place else str(self._path)
        return ConfigurationError(setting=name, problem=problem, remedy=remedy)


def _in_words(error: BaseException, kind: type | None) -> str:
    match error:
        case ConfigurationError(problem=problem, remedy=remedy):
            return f"{problem}; {remedy}"
        case ForbiddenExtraKeysError(extra_fields=extra, cl=cls):
            name = min(extra)
            if name in _SECRETS:
                return (
                    f"{name}: no secret belongs into this file; "
                    "use 'topone login --account NAME', or the path of a file of its own"
                )
            known = [attribute.name for attribute in attrs.fields(cls)]
            near = get_close_matches(name, known, 1)
            meant = f" (is it {near[0]}?)" if near else ""
            return f"{name:.40} is not a key of this table{meant}; use {', '.join(known)}"
        case KeyError():
            return f"{error.args[0]} is missing; add it"
        case ValueError():
            return f"there is no such value; {error}"
        case _:
            return f"it has the wrong type; write {_WORDS.get(kind, 'a table')}"


_WORDS: Final[Mapping[Any, str]] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list[str]: "a list of texts",
    str | list[str]: "a text, or a list of texts",
}


def _strict(kind: type[_T], *others: type) -> Callable[[Any, Any], _T]:
    def structure(value: Any, _: Any) -> _T:
        if type(value) is not kind and type(value) not in others:
            raise TypeError
        return kind(value)  # type: ignore[call-arg]  # it is one of str, bool, int, float

    return structure


def _structure_texts(value: Any, _: Any) -> list[str]:
    texts = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    return cast("list[str]", texts)


def _structure_urls(value: Any, _: Any) -> str | list[str]:
    return value if isinstance(value, str) else _structure_texts(value, None)


_CONVERTER: Final = cattrs.Converter(forbid_extra_keys=True)
_CONVERTER.register_structure_hook(str | list[str], _structure_urls)
_CONVERTER.register_structure_hook_func(lambda kind: kind == list[str], _structure_texts)
for _kind, _others in ((str, ()), (bool, ()), (int, ()), (float, (int,))):
    _CONVERTER.register_structure_hook(_kind, _strict(_kind, *_others))
