"""The table of the examples, from the files: what each docstring says, and how long it is."""

import ast
import io
import tokenize
from pathlib import Path
from typing import Final

from from_code.tables import TableDirective, table

__all__ = ["DIRECTIVES", "glue_lines"]

_ROOT: Final = Path(__file__).parents[3]
_SOURCE: Final = "https://github.com/topone-proto/topone-proto/blob/main"
_NO_CODE: Final = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT}


def glue_lines(source: str) -> int:
    """Return the number of lines that the classes and functions of a file have, ``main`` left out,
    and docstrings, comments and blank lines."""
    lines: set[int] = set()
    for statement in ast.parse(source).body:
        if (
            not isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            or statement.name == "main"
        ):
            continue
        lines.update(_lines(statement))
        for part in ast.walk(statement):
            if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
                lines.difference_update(_lines(part))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return len(lines & {token.start[0] for token in tokens if token.type not in _NO_CODE})


def _lines(part: ast.stmt) -> range:
    return range(part.lineno, (part.end_lineno or part.lineno) + 1)


class Examples(TableDirective):
    """``example-table``: every file and every package in the directory of examples."""

    def text(self) -> str:
        rows = []
        for path in sorted((_ROOT / "examples").iterdir()):
            if path.suffix == ".py" or (path / "__init__.py").exists():
                self.env.note_dependency(str(path))
                rows.append(_row(path))
        return table(
            ("example", "what the framework supplies", "what the core supplies", "lines"), rows
        )


def _row(path: Path) -> tuple[str, str, str, str]:
    files = [path] if path.is_file() else sorted(path.glob("*.py"))
    sources = [file.read_text("utf-8") for file in files]
    # Those of a package are in __init__, which sorts first.
    what, _, said = (ast.get_docstring(ast.parse(sources[0])) or "").partition("\n\n")
    framework, _, core = said.partition("\n\n")[0].partition("\nThe core: ")
    lines = sum(map(glue_lines, sources))
    link = f"[`{path.name}`]({_SOURCE}/examples/{path.name}): {what}"
    return link, framework.removeprefix("The framework: "), core, str(lines)


DIRECTIVES: Final = {"example-table": Examples}
