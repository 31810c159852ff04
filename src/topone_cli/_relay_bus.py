"""The bus of a relay's file, opened. No frame of this command holds a secret for longer than the
call that reads it."""

import ssl
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from topone_cli._relay_file import BusTable
from topone_proto import ConfigurationError

__all__ = ["open_bus", "shown_bus"]

_NATS: Final = ("nats", "tls", "ws", "wss")
_REDIS: Final = ("redis", "rediss", "unix")
_LARGEST: Final = 65536


def open_bus(table: BusTable, setting: str) -> Any:
    """Return the bus; the first call to it dials.

    Args:
        table: what the file says of it.
        setting: the place of that in the file, for errors.

    Raises:
        ConfigurationError: something of it cannot be used.
        ImportError: the library of this kind of bus is not installed; it names the extra.
    """
    schemes = {urlsplit(url).scheme for url in table.urls}
    try:
        if schemes and schemes <= set(_NATS):
            import topone_nats

            return topone_nats.connect(table.urls, **_for_nats(table))
        if len(table.urls) == 1 and schemes <= set(_REDIS):
            import topone_redis

            return topone_redis.connect(table.urls[0], **_for_redis(table))
    except ConfigurationError as error:
        setting = f"{setting}: {error.setting}"
        raise ConfigurationError(
            setting=setting, problem=error.problem, remedy=error.remedy
        ) from None
    raise ConfigurationError(
        setting=f"{setting}.url",
        problem="it is not a known message bus",
        remedy='use "nats://host:4222", a list of several, or "redis://host:6379"',
    )


def shown_bus(table: BusTable) -> str:
    """Return where the bus is, without what a URL may have of a password."""
    places = (urlsplit(url) for url in table.urls)
    return ", ".join(
        f"{place.scheme}://{place.netloc.rpartition('@')[2]}{place.path}" for place in places
    )


def _for_nats(table: BusTable) -> dict[str, Any]:
    """Return the options by the names that nats-py has for them."""
    options = _common(table)
    if table.user is not None:
        options["user"] = table.user
    if table.token_file is not None:
        options["token"] = _first_line("token_file", table.token_file)
    if table.creds_file is not None:
        options["user_credentials"] = _readable("creds_file", table.creds_file)
    if table.nkey_file is not None:
        options["nkeys_seed"] = _readable("nkey_file", table.nkey_file)
    if table.ca_file is not None or table.cert_file is not None:
        options["tls"] = _context(table)
    return options


def _for_redis(table: BusTable) -> dict[str, Any]:
    """Return the options by the names that redis-py has for them."""
    for key in ("token_file", "creds_file", "nkey_file"):
        if getattr(table, key) is not None:
            raise ConfigurationError(
                setting=key,
                problem="only NATS has such a thing",
                remedy="use user and password_file",
            )
    options = _common(table)
    if table.user is not None:
        options["username"] = table.user
    files = {"ca_file": "ssl_ca_certs", "cert_file": "ssl_certfile", "key_file": "ssl_keyfile"}
    for key, name in files.items():
        path = getattr(table, key)
        if path is not None:
            options[name] = _readable(key, path)
    return options


def _common(table: BusTable) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if table.prefix is not None:
        options["prefix"] = table.prefix
    if table.password_file is not None:
        options["password"] = _first_line("password_file", table.password_file)
    return options


def _readable(key: str, path: str) -> str:
    try:
        with Path(path).open("rb"):
            return path
    except OSError as error:
        problem = error.strerror
    raise ConfigurationError(
        setting=key, problem=f"{path} cannot be read ({problem})", remedy="check the path"
    )


def _first_line(key: str, path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.readline(_LARGEST).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "it is not UTF-8"
    raise ConfigurationError(
        setting=key, problem=f"{path} cannot be read ({problem})", remedy="check the path"
    )


def _context(table: BusTable) -> ssl.SSLContext:
    for key in ("ca_file", "cert_file", "key_file"):
        path = getattr(table, key)
        if path is not None:
            _readable(key, path)
    try:
        context = ssl.create_default_context(cafile=table.ca_file)
        if table.cert_file is not None:
            context.load_cert_chain(table.cert_file, table.key_file)
    except (OSError, ValueError):
        pass
    else:
        return context
    raise ConfigurationError(
        setting="ca_file, cert_file, key_file",
        problem="they are not certificates with their key, in PEM",
        remedy="check the files",
    )
