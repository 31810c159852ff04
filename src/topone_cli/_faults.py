"""Faults of the simulated exchange by name, as they are written on a command line and in a script.

``refuse-handshake status=503 times=3`` is the gateway's ``RefuseHandshake(503, times=3)``, and
``refuse-http status=503`` the HTTP desk's ``RefuseHttp(503)``.

No error repeats what was written: the file may be one of a token.
"""

import re
import shlex
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, Final, get_args

import attrs

from topone_proto.exchange import Fault, HttpFault

__all__ = [
    "FAULTS",
    "FaultError",
    "describe_fault",
    "parse_fault",
    "read_script",
    "settings_of",
]


def _name_of(cls: type[Any]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()


def _fields_of(cls: type[Any]) -> list["attrs.Attribute[Any]"]:
    """Return the settings of a fault, those that many have last."""
    return sorted(attrs.fields(cls), key=lambda field: field.kw_only)


FAULTS: Final[dict[str, type[Any]]] = {
    _name_of(cls): cls for cls in (*get_args(Fault), *get_args(HttpFault))
}
"""Every fault by its name."""


class FaultError(ValueError):
    """A fault or a script that cannot be read. Its text says what is wrong, and repeats nothing."""


def describe_fault(name: str) -> str:
    """Return a fault with what it takes, such as ``delay-ack seconds=SECONDS [times=N]``."""
    parts = [name]
    for field in _fields_of(FAULTS[name]):
        kinds = {int: "N", float: "SECONDS", str: "TEXT", bytes: "TEXT"}
        what = "|".join(
            "|".join(kind) if issubclass(kind, StrEnum) else kinds[kind]
            for kind in _kinds(field.type)
            if kind in kinds or issubclass(kind, StrEnum)
        )
        part = f"{field.name.replace('_', '-')}={what}"
        parts.append(part if field.default is attrs.NOTHING else f"[{part}]")
    return " ".join(parts)


def settings_of(name: str) -> list[str]:
    """Return the names of what a fault takes."""
    return [field.name.replace("_", "-") for field in _fields_of(FAULTS[name])]


def parse_fault(text: str) -> Fault | HttpFault:
    """Return the fault that a text names. Words are split and quoted as in a shell.

    Raises:
        FaultError: there is no such fault, or it does not take that.
    """
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        raise FaultError(f"{error}") from None
    if not words:
        raise FaultError("a fault is missing")
    name, *settings = words
    cls = FAULTS.get(name)
    if cls is None:
        meant = "".join(f" (is it {near}?)" for near in get_close_matches(name, FAULTS, 1))
        raise FaultError(f"there is no such fault{meant}: 'topone simulate --help' lists all")
    fields = {field.name.replace("_", "-"): field for field in _fields_of(cls)}
    arguments: dict[str, Any] = {}
    for number, setting in enumerate(settings, 1):
        key, equals, value = setting.partition("=")
        if not equals or key not in fields:
            raise FaultError(f"setting {number} does not fit: it is {describe_fault(name)}")
        arguments[fields[key].name] = _value(key, value, _kinds(fields[key].type))
        if key == "status" and not 200 <= arguments[key] <= 599:
            raise FaultError(f"{key}: an HTTP status of a refusal is from 200 to 599")
    try:
        fault: Fault | HttpFault = cls(**arguments)
    except TypeError:
        raise FaultError(f"something is missing: it is {describe_fault(name)}") from None
    return fault


def read_script(path: Path) -> list[tuple[float, Fault | HttpFault]]:
    """Return the faults of a script, each with its seconds from the start, the earliest first.

    Every line is a number of seconds and a fault; what follows a ``#`` is a remark.

    Raises:
        FaultError: a line cannot be read; its number is in the text.
        OSError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise FaultError(f"{path}: it is not text in UTF-8") from None
    script: list[tuple[float, Fault | HttpFault]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        seconds, *rest = line.split(maxsplit=1)
        try:
            script.append((_seconds(seconds), parse_fault("".join(rest))))
        except FaultError as error:
            raise FaultError(f"{path}, line {number}: {error}") from None
    return sorted(script, key=lambda entry: entry[0])


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise FaultError("it begins with no number of seconds; use one such as 5 drop-connections")
    return seconds


def _kinds(annotation: Any) -> tuple[type[Any], ...]:
    return get_args(annotation) or (annotation,)


def _value(key: str, text: str, kinds: tuple[type[Any], ...]) -> Any:
    if NoneType in kinds and text == "none":
        return None
    for kind in (int, float):
        if kind in kinds:
            try:
                number = kind(text)
            except ValueError:
                continue
            # Written so that NaN is refused, too. Only a clock can be behind, and a page move back.
            least = float("-inf") if key in {"milliseconds", "rows"} else 0
            if not least <= number < float("inf"):
                raise FaultError(f"{key}: a number of 0 or more is wanted")
            return number
    for kind in kinds:
        if issubclass(kind, StrEnum):
            if text not in set(kind):
                raise FaultError(f"{key}: one of {', '.join(kind)} is wanted")
            return kind(text)
    if str in kinds:
        return text
    if bytes in kinds:
        return text.encode()
    raise FaultError(f"{key}: a number is wanted")
