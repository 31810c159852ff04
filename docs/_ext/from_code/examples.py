"""The table of the examples, from the files: what each docstring says, and how long it is."""

import ast
from pathlib import Path
from typing import Final

from glue import files_of, glue_lines

from from_code.tables import TableDirective, table

__all__ = ["DIRECTIVES"]

_SOURCE: Final = "https://github.com/topone-proto/topone-proto/blob/main"


class Examples(TableDirective):
    """``example-table``: every file and every package in the directory of examples."""

    def text(self) -> str:
        rows = []
        for name, files in files_of().items():
            for file in files:
                self.env.note_dependency(str(file))
            rows.append(_row(name, files))
        return table(
            ("example", "what the framework supplies", "what the core supplies", "lines"), rows
        )


def _row(name: str, files: tuple[Path, ...]) -> tuple[str, str, str, str]:
    sources = [file.read_text("utf-8") for file in files]
    # Those of a package are in __init__, which sorts first.
    what, _, said = (ast.get_docstring(ast.parse(sources[0])) or "").partition("\n\n")
    framework, _, core = said.partition("\n\n")[0].partition("\nThe core: ")
    lines = sum(map(glue_lines, sources))
    link = f"[`{name}`]({_SOURCE}/examples/{name}): {what}"
    return link, framework.removeprefix("The framework: "), core, str(lines)


DIRECTIVES: Final = {"example-table": Examples}
