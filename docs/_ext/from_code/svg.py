"""Pictures as SVG within the page, so that they follow its light or dark theme and need no program
to draw them. Colours are those of ``_static/diagrams.css``.

Text is monospaced: the width of it is then known without measuring a font.
"""

from collections.abc import Iterable, Sequence
from html import escape
from math import hypot

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

__all__ = ["CHARACTER", "LINE", "Drawing", "DrawingDirective", "Point"]

Point = tuple[float, float]

CHARACTER = 6.65
"""Width of a character of the size that labels have."""
LINE = 15.0
"""From one line of text to the next."""


class Drawing:
    """Shapes on a surface, in the order in which they are drawn."""

    def __init__(self, width: float, height: float, title: str, description: str) -> None:
        self.width = width
        self.height = height
        self._title = title
        self._description = description
        self._shapes: list[str] = []

    def box(self, at: Point, size: Point, kind: str = "") -> None:
        """A box around its centre."""
        (x, y), (w, h) = at, size
        self._shapes.append(
            f'<rect class="box {kind}" x="{x - w / 2:.1f}" y="{y - h / 2:.1f}" '
            f'width="{w:.1f}" height="{h:.1f}" rx="5"/>'
        )

    def bar(self, left: float, right: float, y: float, height: float, kind: str) -> None:
        """A stretch of a timeline."""
        self._shapes.append(
            f'<rect class="bar {kind}" x="{left:.1f}" y="{y - height / 2:.1f}" '
            f'width="{right - left:.1f}" height="{height:.1f}" rx="3"/>'
        )

    def dot(self, at: Point, kind: str = "") -> None:
        self._shapes.append(f'<circle class="dot {kind}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="4"/>')

    def text(
        self,
        at: Point,
        lines: Sequence[str],
        kind: str = "",
        anchor: str = "middle",
        *,
        halo: bool = False,
    ) -> None:
        """Lines of text around a point; with a halo, on a patch that hides what is behind it."""
        x, y = at
        top = y - LINE * (len(lines) - 1) / 2
        if halo:
            width = max(map(len, lines)) * CHARACTER + 6
            left = {"middle": x - width / 2, "start": x - 3, "end": x - width + 3}[anchor]
            self._shapes.append(
                f'<rect class="halo" x="{left:.1f}" y="{top - LINE / 2:.1f}" '
                f'width="{width:.1f}" height="{LINE * len(lines):.1f}"/>'
            )
        for number, line in enumerate(lines):
            self._shapes.append(
                f'<text class="{kind}" x="{x:.1f}" y="{top + number * LINE + 4:.1f}" '
                f'text-anchor="{anchor}">{escape(line)}</text>'
            )

    def line(self, points: Iterable[Point], kind: str = "", *, arrow: bool = False) -> None:
        """A line through points."""
        route = " L ".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self._path(f"M {route}", kind, arrow=arrow)

    def curve(self, start: Point, control: Point, end: Point, kind: str = "") -> None:
        """An arrow that is bent towards a point."""
        (a, b), (c, d), (e, f) = start, control, end
        self._path(f"M {a:.1f} {b:.1f} Q {c:.1f} {d:.1f} {e:.1f} {f:.1f}", kind, arrow=True)

    def _path(self, route: str, kind: str, *, arrow: bool) -> None:
        end = ' marker-end="url(#arrow)"' if arrow else ""
        self._shapes.append(f'<path class="line {kind}" d="{route}"{end}/>')

    def svg(self, name: str) -> str:
        """The picture; ``name`` is unique on its page."""
        arrow = (
            f'<defs><marker id="{name}-arrow" viewBox="0 0 10 10" refX="9" refY="5" '
            'markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
            '<path class="head" d="M 0 1 L 10 5 L 0 9 z"/></marker></defs>'
        )
        shapes = "\n".join(self._shapes).replace("url(#arrow)", f"url(#{name}-arrow)")
        return (
            f'<div class="diagram" tabindex="0" role="group" aria-labelledby="{name}-title">'
            f'<svg viewBox="0 0 {self.width:.0f} {self.height:.0f}" '
            f'style="width:{self.width:.0f}px" role="img" '
            f'aria-labelledby="{name}-title {name}-desc" xmlns="http://www.w3.org/2000/svg">'
            f'<title id="{name}-title">{escape(self._title)}</title>'
            f'<desc id="{name}-desc">{escape(self._description)}</desc>'
            f"{arrow}\n{shapes}\n</svg></div>"
        )


def border(box: Point, size: Point, towards: Point) -> Point:
    """Return the point where the line from the centre of a box towards a point leaves the box."""
    (x, y), (w, h) = box, size
    dx, dy = towards[0] - x, towards[1] - y
    if not hypot(dx, dy):
        return box
    scale = min(
        w / 2 / abs(dx) if dx else float("inf"),
        h / 2 / abs(dy) if dy else float("inf"),
    )
    return (x + dx * scale, y + dy * scale)


class DrawingDirective(SphinxDirective):
    """A directive that is a picture."""

    def draw(self) -> Drawing:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        name = f"diagram-{self.env.new_serialno('diagram')}"
        return [nodes.raw("", self.draw().svg(name), format="html")]
