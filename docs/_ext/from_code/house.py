"""The floors of the house, drawn from the contracts that forbid imports to point up."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

from from_code.svg import CHARACTER, Drawing, DrawingDirective

__all__ = ["DIRECTIVES"]

_ROOT: Final = Path(__file__).parents[3]
_WIDTH: Final = 640.0
_ROOM: Final = 30.0
_FLOOR: Final = 42.0


def _layers(contract: str) -> list[list[str]]:
    """The floors of a contract, the highest first, each with its rooms."""
    with (_ROOT / "pyproject.toml").open("rb") as file:
        settings: dict[str, Any] = tomllib.load(file)
    [layers] = [
        found["layers"]
        for found in settings["tool"]["importlinter"]["contracts"]
        if found["id"] == contract
    ]
    return [[re.sub(r"[() ]", "", room) for room in floor.split("|")] for floor in layers]


class Floors(DrawingDirective):
    """``floors``"""

    def draw(self) -> Drawing:
        house, core = _layers("house"), _layers("core")
        height = (len(house) - 1) * _FLOOR + len(core) * _FLOOR + 62
        drawing = Drawing(
            _WIDTH,
            height,
            "The floors of the house",
            "From the top: " + "; ".join(", ".join(floor) for floor in house + core),
        )
        y = _ROOM / 2 + 4
        for floor in house[:-1]:
            _floor(drawing, floor, y, "", _WIDTH)
            y += _FLOOR
        top = y - _ROOM / 2 - 2
        bottom = top + 40 + len(core) * _FLOOR
        drawing.box((_WIDTH / 2, (top + bottom) / 2), (_WIDTH - 4, bottom - top), "core")
        drawing.text((_WIDTH / 2, top + 16), [house[-1][0]], "strong")
        y = top + 34 + _ROOM / 2
        for floor in core:
            _floor(drawing, floor, y, "", _WIDTH - 40)
            y += _FLOOR
        return drawing


def _floor(drawing: Drawing, rooms: list[str], y: float, kind: str, width: float) -> None:
    space = 10.0
    least = [len(room) * CHARACTER + 20 for room in rooms]
    more = (width - 8 - sum(least) - space * (len(rooms) - 1)) / len(rooms)
    x = (_WIDTH - width) / 2 + 4
    for room, size in zip(rooms, least, strict=True):
        w = size + more
        drawing.box((x + w / 2, y), (w, _ROOM), kind)
        drawing.text((x + w / 2, y), [room], "")
        x += w + space


DIRECTIVES: Final = {"floors": Floors}
