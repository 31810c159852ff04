"""Sphinx settings: ``sphinx-build -W --keep-going docs docs/_build``."""

import importlib.metadata
import sys
from pathlib import Path

# What the pages show of the code is made while they are built.
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "topone-proto"
author = "the topone-proto authors"
copyright = f"2026 {author}"  # noqa: A001 - Sphinx's name for it
release = importlib.metadata.version(project)
version = release

extensions = [
    "from_code",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
# Quotes and dots only: two hyphens are those of an option.
smartquotes_action = "qe"
html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
templates_path: list[str] = []

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
autodoc_default_options = {"members": True, "show-inheritance": True}

# Every reference has to lead somewhere, except into other projects' documentation.
nitpicky = True
_others = (
    "abc asyncio collections concurrent contextlib datetime decimal enum hypothesis random socket "
    "msgspec os pathlib prometheus_client ssl trio typing"
)
nitpick_ignore_regex = [
    (r"py:.*", rf"({_others.replace(' ', '|')})\..*"),
    # Type variables, and bases that say nothing to a user.
    (r"py:.*", r"(.*\.)?(_\w+|T_co)"),
    (r"py:.*", r"topone_[\w.]+\._\w+\..*"),
]
