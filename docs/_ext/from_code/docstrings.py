"""How docstrings become text: sections as Google writes them, and prose as it is."""

from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring

__all__ = ["process"]

_SETTINGS: Any = Config(napoleon_use_rtype=False)


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Instead of sphinx.ext.napoleon, which takes whatever stands before the first colon of an
    attribute's docstring for a type."""
    kind: Any = what
    if what not in {"attribute", "data", "property"}:
        lines[:] = GoogleDocstring(lines, _SETTINGS, app, kind, name, obj, options).lines()
