"""The lines of glue in the examples: ``python docs/_ext/glue.py``.

Counted are the lines with code of everything between the framework and the core: without blank
lines, comments, docstrings and imports, and without ``main`` and what calls it, which show how the
rest is used.
"""

import ast
import io
import tokenize
from pathlib import Path
from typing import Final

__all__ = ["EXAMPLES", "files_of", "glue_lines"]

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
"""The directory of the examples."""
_NO_CODE: Final = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT}


def glue_lines(source: str) -> int:
    """Return the number of lines of glue in a file."""
    lines: set[int] = set()
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Import | ast.ImportFrom) or _is_use(statement):
            continue
        lines.update(_lines(statement))
        for part in ast.walk(statement):
            if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
                lines.difference_update(_lines(part))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return len(lines & {token.start[0] for token in tokens if token.type not in _NO_CODE})


def files_of() -> dict[str, tuple[Path, ...]]:
    """Return the files of each example by its name: of a program its one, of a package all."""
    found: dict[str, tuple[Path, ...]] = {path.name: (path,) for path in EXAMPLES.glob("*.py")}
    for init in EXAMPLES.glob("*/__init__.py"):
        found[init.parent.name] = tuple(sorted(init.parent.glob("*.py")))
    return dict(sorted(found.items()))


def _is_use(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.FunctionDef):
        return statement.name == "main"
    return isinstance(statement, ast.If) and ast.unparse(statement.test).startswith("__name__")


def _lines(part: ast.stmt) -> range:
    return range(part.lineno, (part.end_lineno or part.lineno) + 1)


if __name__ == "__main__":
    for name, files in files_of().items():
        count = sum(glue_lines(file.read_text("utf-8")) for file in files)
        print(f"{count:4} {name}")
