"""Sphinx settings: ``sphinx-build -W docs docs/_build``."""

import importlib.metadata

project = "topone-proto"
author = "the topone-proto authors"
copyright = f"2026 {author}"  # noqa: A001 - Sphinx's name for it
release = importlib.metadata.version(project)
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"{project} {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
