"""How docstrings and signatures become text: sections as Google writes them, and prose as it is."""

from typing import Any

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


_MADE_BY_OTHERS = ("AsyncFeed", "Feed", "Simulator", "Ticket")


def process_signature(_: Sphinx, what: str, name: str, *__: object) -> tuple[str, str] | None:
    """No arguments for classes whose instances a user gets from elsewhere."""
    is_given = what == "class" and name.rpartition(".")[2] in _MADE_BY_OTHERS
    return ("", "") if is_given else None
