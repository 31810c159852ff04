"""Text from docstrings and signatures: sections as Google writes them, and prose as it is."""

import ast
import enum
import re
from typing import Any

import attrs
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring

__all__ = ["process", "process_signature"]

_SETTINGS: Any = Config(napoleon_use_rtype=False)


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Instead of sphinx.ext.napoleon, which takes whatever stands before the first colon of an
    attribute's docstring for a type."""
    kind: Any = what
    if what not in {"attribute", "data", "property"}:
        lines[:] = GoogleDocstring(lines, _SETTINGS, app, kind, name, obj, options).lines()


_OF_ATTRS = re.compile(
    r"(?P<argument>\b(?P<name>\w+)(?:: [^=:]*)? ?= ?)"
    r"(?:attr_dict\['\w+'\]\.default|(?:_Nothing\.)?NOTHING)"
)
_MADE_BY_OTHERS = ("AsyncFeed", "Feed", "Simulator", "Waiter", "Waiters")


def process_signature(
    _: Sphinx,
    what: str,
    name: str,
    obj: Any,
    __: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str, str | None] | None:
    """No arguments for classes whose instances a user gets from elsewhere, and for values the
    defaults themselves, not the names that attrs has for them in the method it writes."""
    if what not in {"class", "exception"} or signature is None:
        return None
    if name.rpartition(".")[2] in _MADE_BY_OTHERS:
        return "", ""
    if not attrs.has(obj):
        return None
    defaults = {field.alias: _default(field.default) for field in attrs.fields(obj)}
    return _OF_ATTRS.sub(
        lambda found: found["argument"] + defaults[found["name"]], signature
    ), returns


def _default(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    text = repr(value)
    if hasattr(value, "factory"):
        text = "..." if value.takes_self else f"{value.factory.__name__}()"
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return "..."
    return text
