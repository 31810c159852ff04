"""State diagrams, drawn from the transition tables that the machines run on."""

from collections import defaultdict
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from attrs import frozen
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from from_code.svg import CHARACTER, LINE, Drawing, DrawingDirective, Point, border
from topone_proto.session import states, subscriptions
from topone_proto.session.states import SessionState
from topone_proto.session.subscriptions import SubscriptionState

__all__ = ["DIRECTIVES"]

Table = Mapping[Enum, dict[str, tuple[Enum, ...]]]

_BOX: Final = (136.0, 36.0)
_MARGIN: Final = 14.0


@frozen
class _Machine:
    """A table, and where a person wants to see its states: columns and rows."""

    title: str
    table: Table
    places: Mapping[Enum, Point]
    cell: Point
    labels: Mapping[tuple[Enum, Enum], float] = {}
    """The place of a label along its arrow, where the middle is taken."""


def _name(by: Enum | str) -> str:
    return by if isinstance(by, str) else str(by.value)


def _table(transitions: Mapping[Any, Mapping[Any, Any]]) -> Table:
    """Return the table in one form: inputs by their names, each with all the states that it may
    lead to."""
    return {
        state: {
            _name(by): after if isinstance(after, tuple) else (after,)
            for by, after in inputs.items()
        }
        for state, inputs in transitions.items()
    }


_A = SubscriptionState
_S = SessionState

_MACHINES: Final = {
    "subscription": _Machine(
        "The life of a subscription",
        _table(subscriptions.TRANSITIONS),
        {
            _A.IDLE: (0, 1),
            _A.SUBSCRIBING: (1, 0.2),
            _A.REJECTED: (2, 0.2),
            _A.ACTIVE: (2, 1.1),
            _A.UNSUBSCRIBING: (1, 2),
        },
        (235, 105),
    ),
    "session": _Machine(
        "The life of a feed",
        _table(states.TRANSITIONS),
        {
            _S.NEW: (1, 0),
            _S.FETCHING_TOKEN: (0, 1),
            _S.CLOSED: (2, 1),
            _S.CONNECTING: (1, 2),
            _S.WAITING: (0, 3),
            _S.CONNECTED: (2, 3),
        },
        (250, 130),
        {
            (_S.FETCHING_TOKEN, _S.CLOSED): 0.72,
            (_S.NEW, _S.CONNECTING): 0.2,
            (_S.FETCHING_TOKEN, _S.WAITING): 0.3,
            (_S.WAITING, _S.FETCHING_TOKEN): 0.5,
            (_S.CONNECTING, _S.WAITING): 0.42,
            (_S.WAITING, _S.CONNECTING): 0.35,
        },
    ),
}


def _collapsed(table: Table) -> dict[str, Enum]:
    """The inputs that lead to one and the same state from wherever they are taken."""
    targets: dict[str, set[Enum]] = defaultdict(set)
    for inputs in table.values():
        for by, after in inputs.items():
            targets[by].update(after)
    everywhere = [by for by in targets if all(by in inputs for inputs in table.values())]
    return {by: next(iter(targets[by])) for by in everywhere if len(targets[by]) == 1}


def _edges(machine: _Machine) -> dict[tuple[Enum, Enum], list[str]]:
    """The arrows and what moves along them; not what leaves a state alone."""
    apart = _collapsed(machine.table)
    edges: dict[tuple[Enum, Enum], list[str]] = defaultdict(list)
    for before, inputs in machine.table.items():
        for by, reached in inputs.items():
            for after in reached:
                if after is not before and by not in apart:
                    edges[before, after].append(by)
    return edges


class StateDiagram(DrawingDirective):
    """``state-diagram:: NAME``"""

    required_arguments = 1

    def draw(self) -> Drawing:
        machine = _MACHINES[self.arguments[0]]
        missing = [state for state in machine.table if state not in machine.places]
        if missing:
            raise self.error(f"no place in docs/_ext/from_code/states.py for {missing}")
        (w, h), edges = machine.cell, _edges(machine)
        columns = max(x for x, _ in machine.places.values())
        rows = max(y for _, y in machine.places.values())
        apart = _collapsed(machine.table)
        foot = LINE * len(apart) + 8 if apart else 0
        drawing = Drawing(
            columns * w + _BOX[0] + 2 * _MARGIN,
            rows * h + _BOX[1] + 2 * _MARGIN + foot,
            machine.title,
            "; ".join(
                f"{before.value} to {after.value} by {', '.join(inputs)}"
                for (before, after), inputs in edges.items()
            ),
        )
        centres = {
            state: (x * w + _BOX[0] / 2 + _MARGIN, y * h + _BOX[1] / 2 + _MARGIN)
            for state, (x, y) in machine.places.items()
        }
        labels: list[tuple[Point, list[str]]] = []
        for (before, after), inputs in edges.items():
            bend = 26.0 if (after, before) in edges else 0.0
            along = machine.labels.get((before, after), 0.5)
            at = _arrow(drawing, centres[before], centres[after], bend, along)
            labels.append((at, inputs))
        for at, inputs in labels:
            drawing.text(at, inputs, "label", halo=True)
        for state, at in centres.items():
            final = all(set(after) == {state} for after in machine.table[state].values())
            first = state is next(iter(machine.table))
            kind = "final" if final else "first" if first else ""
            drawing.box(at, _BOX, kind)
            drawing.text(at, [state.value], "state")
        for number, (by, after) in enumerate(apart.items()):
            y = drawing.height - _MARGIN - LINE * number
            drawing.text(
                (_MARGIN, y), [f"{by}: from every state to {after.value}"], "label", "start"
            )
        return drawing


def _arrow(drawing: Drawing, start: Point, end: Point, bend: float, along: float) -> Point:
    """Draw it, and return where its label goes."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = (dx * dx + dy * dy) ** 0.5
    control = (
        (start[0] + end[0]) / 2 - dy / length * bend * 2,
        (start[1] + end[1]) / 2 + dx / length * bend * 2,
    )
    first, last = border(start, _BOX, control), border(end, _BOX, control)
    drawing.curve(first, control, last)
    rest = 1 - along
    return (
        rest * rest * first[0] + 2 * rest * along * control[0] + along * along * last[0],
        rest * rest * first[1] + 2 * rest * along * control[1] + along * along * last[1],
    )


class StateTable(SphinxDirective):
    """``state-table:: NAME``: every input of every state, those that change nothing included."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        table = _MACHINES[self.arguments[0]].table
        inputs = list(dict.fromkeys(by for row in table.values() for by in row))
        lines = ["| input | " + " | ".join(f"in `{state.value}`" for state in table) + " |"]
        lines.append("|---|" + "---|" * len(table))
        for by in inputs:
            cells = [
                ", ".join(
                    "stays" if after is state else f"→ `{after.value}`"
                    for after in table[state].get(by, ())
                )
                for state in table
            ]
            lines.append(f"| `{by}` | " + " | ".join(cells) + " |")
        return self.parse_text_to_nodes("\n".join(lines))


DIRECTIVES: Final = {"state-diagram": StateDiagram, "state-table": StateTable}
assert CHARACTER * max(len(s.value) for s in _S) < _BOX[0]
