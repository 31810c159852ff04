"""The base of the state machines of this folder: rules that count themselves, virtual time, and a
run that shows that nothing starves."""

import json
from collections import Counter
from collections.abc import Callable
from functools import wraps
from inspect import getmembers
from typing import Any, ClassVar, cast

from hypothesis import Phase, event, seed, settings, target
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from topone_proto import Action, Event, SendText

__all__ = ["TICK", "Machine", "counted", "exercise", "moments", "plain", "same"]

TICK = 1 / 1024
"""The least that time moves. All times here are multiples of it, so that sums of floats are
exact."""

_Body = Callable[..., None]


def moments() -> st.SearchStrategy[float]:
    """Draw the time between a deadline and something that comes: most often just at it."""
    return st.sampled_from([0.0, 0.0, 0.0, -TICK, -TICK, TICK, 100.0])


def counted(
    when: Callable[[Any], bool] | None = None, /, **arguments: st.SearchStrategy[Any]
) -> Callable[[_Body], _Body]:
    """A rule that runs only ``when`` it may, and whose runs are counted by its name."""

    def decorate(body: _Body) -> _Body:
        @wraps(body)
        def run(self: Machine, **drawn: Any) -> None:
            self.count(body.__name__)
            body(self, **drawn)

        made = cast("_Body", rule(target=None, targets=(), **arguments)(run))
        if when is not None:
            made = precondition(when)(made)
        made.is_counted = True  # type: ignore[attr-defined]  # a mark that rule_names looks for
        return made

    return decorate


class Machine(RuleBasedStateMachine):
    """A machine that tells what it has seen, to Hypothesis and to ``exercise``."""

    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._kinds: set[str] = set()

    def count(self, what: str) -> None:
        self.seen[what] += 1
        self._kinds.add(what)

    def teardown(self) -> None:
        for kind in sorted(self._kinds):
            event(kind)
        # The more different things happen in one life, the better.
        target(float(len(self._kinds)), label="kinds of outcome")

    @classmethod
    def rule_names(cls) -> set[str]:
        return {name for name, member in getmembers(cls) if hasattr(member, "is_counted")}


def exercise(machine: type[Machine], wanted: set[str], *, rounds: int = 30) -> None:
    """Run until every rule was run and all that is ``wanted`` was seen, the same way every time.

    Fails if that takes more than so many rounds: a rule that starves checks nothing.
    """
    seen: Counter[str] = Counter()
    starved = wanted = machine.rule_names() | wanted
    for number in range(rounds):
        observed = type(machine.__name__, (machine,), {"seen": seen})
        run_state_machine_as_test(
            seed(number)(observed),
            settings=settings(
                max_examples=150,
                stateful_step_count=20,
                database=None,
                phases=[Phase.generate, Phase.shrink],
            ),
        )
        starved = wanted - seen.keys()
        if not starved:
            return
    raise AssertionError(f"never seen: {sorted(starved)}")


def plain(actions: tuple[Action, ...]) -> list[object]:
    """Actions with their texts read, so that the order of members and white space do not matter."""
    return [_read(action.text) if isinstance(action, SendText) else action for action in actions]


def _read(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def same(events: tuple[Event, ...], expected: list[object]) -> bool:
    """True if the events are as expected, where a class stands for any event of it."""
    return len(events) == len(expected) and all(
        isinstance(got, want) if isinstance(want, type) else got == want
        for got, want in zip(events, expected, strict=True)
    )
