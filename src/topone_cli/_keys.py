"""The key pair of an account: where ``topone login`` keeps it and the other commands find it.

One pair for each exchange, by host and port, and one more for each account that has a name: in the
system's keyring, or in a file that only its owner can read. The texts are wrapped in the expression
that reads them: no frame of this command ever holds the key.
"""

import json
import os
import shlex
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from platformdirs import user_config_path

from topone_cli._durable import replace_durably
from topone_cli._errors import CommandFailed
from topone_cli._token import import_keyring
from topone_proto import ConfigurationError, Credentials
from topone_proto.adapters import HttpEndpoint

__all__ = [
    "APP_ID_VARIABLE",
    "APP_KEY_VARIABLE",
    "find_keys",
    "find_stored_keys",
    "forget_keys",
    "keys_file",
    "log_in",
    "read_keys",
    "store_in_file",
    "store_in_keyring",
    "stored_keys",
]

APP_ID_VARIABLE: Final = "TOPONE_APP_ID"
"""The environment variable that may hold the app id…"""
APP_KEY_VARIABLE: Final = "TOPONE_APP_KEY"
"""…and the one that holds the key then."""
_SERVICE: Final = "topone"
_LARGEST: Final = 65536


def keys_file(endpoint: HttpEndpoint, account: str = "") -> Path:
    """Return the file of the keys for one exchange, in the user's configuration directory.

    Args:
        endpoint: the exchange.
        account: the name of the account; empty for the one that needs none.
    """
    place = "".join(c if c.isalnum() or c in ".-" else "_" for c in _place(endpoint))
    name = f"keys-{place}@{account}" if account else f"keys-{place}"
    return user_config_path("topone-proto", appauthor=False) / f"{name}.json"


def find_keys(
    endpoint: HttpEndpoint, warn: Callable[[str], object] = len
) -> tuple[Credentials, str] | None:
    """Return the key pair for an exchange and where it was found: in the environment, in the file
    or in the keyring; None if there is none.

    Raises:
        ConfigurationError: what is there cannot be read, or is no key pair.
    """
    environ = os.environ
    if environ.get(APP_ID_VARIABLE) or environ.get(APP_KEY_VARIABLE):
        for name in (APP_ID_VARIABLE, APP_KEY_VARIABLE):
            if not environ.get(name):
                raise ConfigurationError(
                    setting=name, problem="it is not set, and the other is", remedy="set both"
                )
        return Credentials(environ[APP_ID_VARIABLE], environ[APP_KEY_VARIABLE]), "the environment"
    return find_stored_keys(endpoint, warn=warn)


def find_stored_keys(
    endpoint: HttpEndpoint, account: str = "", *, warn: Callable[[str], object] = len
) -> tuple[Credentials, str] | None:
    """Return the key pair that is stored, in the file or in the keyring, and where it was found;
    None if there is none.

    Raises:
        ConfigurationError: what is there cannot be read, or is no key pair.
    """
    path = keys_file(endpoint, account)
    if path.exists():
        return read_keys(path, warn, log_in(account)), str(path)
    found = _read_keyring(endpoint, account)
    return None if found is None else (found, "the keyring")


def stored_keys(endpoint: HttpEndpoint, account: str = "") -> Credentials | None:
    """Return the key pair that is stored, in the file or in the keyring; None if there is none, or
    none that can be read."""
    with suppress(ConfigurationError):
        found = find_stored_keys(endpoint, account)
        return None if found is None else found[0]
    return None


def store_in_file(endpoint: HttpEndpoint, keys: Credentials, account: str = "") -> Path:
    """Write the keys to the file, which only its owner can read. Return it.

    Raises:
        CommandFailed: it cannot be written.
    """
    path = keys_file(endpoint, account)
    try:
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        replace_durably(path, _written(keys).encode(), mode=0o600)
    except OSError as error:
        raise CommandFailed(f"cannot write to {path}: {error.strerror}") from None
    return path


def store_in_keyring(endpoint: HttpEndpoint, keys: Credentials, account: str = "") -> None:
    """Write the keys to the system's keyring.

    Raises:
        CommandFailed: it cannot be written.
        ImportError: its extra is not installed.
    """
    keyring = import_keyring("a keyring")
    try:
        keyring.set_password(_SERVICE, _entry(endpoint, account), _written(keys))
    except Exception as error:  # noqa: BLE001 - a back end raises what it likes, with anything in it
        raise CommandFailed(
            f"the keyring cannot be written to ({type(error).__name__}): unlock it, or use "
            "topone login --file"
        ) from None


def forget_keys(endpoint: HttpEndpoint, account: str = "") -> list[str]:
    """Delete the keys wherever they are stored. Return where they were.

    Raises:
        CommandFailed: they cannot be deleted.
    """
    places: list[str] = []
    path = keys_file(endpoint, account)
    try:
        path.unlink()
        places.append(str(path))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise CommandFailed(f"cannot delete {path}: {error.strerror}") from None
    with suppress(ImportError):
        keyring = import_keyring("a keyring")
        with suppress(Exception):
            # Without a back end there is nothing in it.
            if keyring.get_password(_SERVICE, _entry(endpoint, account)) is not None:
                keyring.delete_password(_SERVICE, _entry(endpoint, account))
                places.append("the keyring")
    return places


def _place(endpoint: HttpEndpoint) -> str:
    return f"{endpoint.host.lower()}:{endpoint.port}"


def _entry(endpoint: HttpEndpoint, account: str) -> str:
    return f"keys for {_place(endpoint)}" + (f", account {account}" if account else "")


def log_in(account: str = "") -> str:
    """Return the command that stores an account's keys."""
    return f"topone login --account {account}" if account else "topone login"


def _written(keys: Credentials) -> str:
    return json.dumps({"app_id": keys.app_id, "app_key": keys.reveal()})


def read_keys(path: Path, warn: Callable[[str], object], command: str) -> Credentials:
    """Return the key pair of a file.

    Args:
        path: the file.
        warn: is told what is unwise about it.
        command: the command that writes it anew.

    Raises:
        ConfigurationError: it cannot be read, or has no key pair.
    """
    remedy = f"store them again with '{command}'"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                warn(f"others can read or change {path}: chmod 600 {shlex.quote(str(path))}")
            return _read(file.read(_LARGEST), str(path), remedy)
    except OSError as error:
        raise ConfigurationError(
            setting="keys",
            problem=f"{path} cannot be read ({error.strerror})",
            remedy=remedy,
        ) from None


def _read_keyring(endpoint: HttpEndpoint, account: str) -> Credentials | None:
    try:
        keyring = import_keyring("a keyring")
    except ImportError:
        return None
    try:
        found: str | None = keyring.get_password(_SERVICE, _entry(endpoint, account))
    except Exception as error:  # noqa: BLE001 - as above
        if type(error).__name__ == "NoKeyringError":
            return None
        raise ConfigurationError(
            setting="keys",
            problem=f"the keyring cannot be read ({type(error).__name__})",
            remedy=f"unlock it, or store them in a file with '{log_in(account)} --file'",
        ) from None
    if found is None:
        return None
    remedy = f"store them again with '{log_in(account)}'"
    return _read(found.encode(), "the keyring's entry", remedy)


def _read(text: bytes, place: str, remedy: str) -> Credentials:
    try:
        plain: Any = json.loads(text)
        return Credentials(plain["app_id"], plain["app_key"])
    except (ConfigurationError, KeyError, RecursionError, TypeError, ValueError):
        pass
    # Outside the handler: the exception may have the text in it.
    raise ConfigurationError(setting="keys", problem=f"{place} has none", remedy=remedy)
