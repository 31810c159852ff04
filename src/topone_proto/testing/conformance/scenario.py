"""Scenarios, the way they are checked, and the report on an adapter that does not pass one."""

import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from inspect import getdoc
from typing import Final, TypeVar, cast

from attrs import frozen

from topone_proto.errors import TopOneError
from topone_proto.testing.conformance.adapter import Adapter, Simulate
from topone_proto.testing.conformance.kit import DEFAULT, Kit
from topone_proto.testing.conformance.leaks import TOKEN, recorded_logs, where_in_text

__all__ = ["PATIENCE", "Collection", "ConformanceFailed", "Group", "Scenario"]

_V = TypeVar("_V")

PATIENCE: Final = 20.0
"""Seconds that a scenario may take, by default. Most take a hundredth of one."""


class Group(StrEnum):
    """The subject of a scenario."""

    LIFE = "life"
    """The life of a feed while all goes well."""
    FAILURES = "failures"
    """Failures on the way, once for every ``FailureKind``, and those of the exchange."""
    ANSWERS = "answers"
    """Every form in which a server answers a handshake, frames that are none, and the headers that
    are sent."""
    BACK_PRESSURE = "back-pressure"
    """An application that is slower than the exchange."""
    LIVENESS = "liveness"
    """Signs of life: bytes, and what was received but not read yet."""
    FAULTS = "faults"
    """Something of the program's own fails."""
    CANCELLATION = "cancellation"
    """Leaving in the middle: by ``break``, by an exception, by a cancellation."""
    SECRETS = "secrets"
    """The places where a token is most easily let out. (Every scenario looks for it in every event,
    every exception and every line of every log.)"""
    MARKET = "market data"
    """Market data, which needs no token. For adapters with an ``open_market_feed``."""
    CLOSING = "closing"
    """``close``, in every state that a feed can be in."""


class ConformanceFailed(TopOneError, AssertionError):
    """An adapter does not pass a scenario. The text says what was not so, shows both event logs
    side by side and says what the scenario is about.

    Mend the adapter: ``problem`` says where to begin.
    """

    def __init__(
        self,
        *,
        adapter: str,
        scenario: "Scenario",
        problem: str,
        seen: Sequence[str],
    ) -> None:
        super().__init__(_report(adapter, scenario, problem, seen))
        self.adapter = adapter
        """The adapter's name."""
        self.scenario = scenario
        """The scenario that it does not pass."""
        self.problem = problem
        """The first thing that was not as expected."""
        self.seen: tuple[str, ...] = tuple(seen)
        """The event log that was seen."""


def _report(adapter: str, scenario: "Scenario", problem: str, seen: Sequence[str]) -> str:
    lines = [f"{adapter} does not pass {scenario.name!r}: {problem}", "", scenario.doc]
    expected = scenario.log
    if expected is None:
        # The last events are those that the problem is about.
        lines += ["", "seen", *(f"  {line}" for line in seen[-_SHOWN:])]
        return "\n".join(lines)
    width = max(len(line) for line in ("expected", *expected))
    lines += ["", f"  {'expected':{width}}  seen"]
    for number in range(max(len(expected), len(seen))):
        left = expected[number] if number < len(expected) else ""
        right = seen[number] if number < len(seen) else ""
        lines.append(f"{' ' if left == right else '>'} {left:{width}}  {right}".rstrip())
    return "\n".join(lines)


_SHOWN: Final = 20


@frozen
class Scenario:
    """Something that happens to a feed, and what the feed is to make of it.

    ``str`` of it is its name, so that ``@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)``
    reads well.
    """

    name: str
    """Says what holds, in a few words. No other has the same."""
    doc: str
    """The same in a sentence or two, for who has to mend an adapter."""
    group: Group
    """Its subject."""
    script: Callable[[Kit], Awaitable[None]]
    """The script. It awaits nothing but the feed's own methods and ``Kit.sleep``."""
    log: tuple[str, ...] | None = None
    """The events that the feed has to tell, in words, if they are always the same."""
    cancelled_after: float | None = None
    """Seconds after which the script is cancelled, because that is what the scenario is about."""

    def __str__(self) -> str:
        return self.name

    def applies_to(self, adapter: Adapter) -> bool:
        """Return False if the scenario is about something that the adapter does not have."""
        return self.group is not Group.MARKET or adapter.open_market_feed is not None

    def check(self, adapter: Adapter, simulate: Simulate, *, patience: float = PATIENCE) -> None:
        """Run the scenario.

        Args:
            adapter: what is checked.
            simulate: ``topone_simulator.run_in_thread``.
            patience: seconds that it may take.

        Raises:
            ConformanceFailed: the adapter does not pass.
        """
        with simulate(tokens={TOKEN: "demo"}, config=DEFAULT, ssl_context=None) as simulator:
            kit = Kit(adapter, simulate, simulator, self.log, patience)
            with recorded_logs() as logs:
                error = _run(self, kit)
                problem = kit.unmet or self._problem(kit, error)
            leak = where_in_text("\n".join(logs))
        if problem is None and leak is not None:
            problem = f"the token is in a log: {leak}"
        if problem is not None:
            raise ConformanceFailed(
                adapter=adapter.name, scenario=self, problem=problem, seen=kit.seen
            ) from error

    def _problem(self, kit: Kit, error: BaseException | None) -> str | None:
        if error is not None:
            return f"it raised {_in_words(error)}"
        if self.cancelled_after is None:
            return None
        # Whoever leaves, leaves nothing behind.
        end = time.monotonic() + kit.patience / 2
        while kit.simulator.connections:
            if time.monotonic() > end:
                return "it was cancelled, and its connection is still there"
            time.sleep(0.001)
        return None


def _in_words(error: BaseException) -> str:
    """An exception in a line, and the members of a group, which does not say what they are."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return f"{type(group).__name__} of {', '.join(map(_in_words, group.exceptions))}"
    return f"{type(error).__name__}: {error}"


def _run(scenario: Scenario, kit: Kit) -> BaseException | None:
    """Run a scenario in a thread, so that whatever hangs there keeps nobody waiting here. Returns
    what it ended with."""
    is_over = False
    error: BaseException | None = None
    cancelled_after = scenario.cancelled_after
    timeout = kit.patience if cancelled_after is None else cancelled_after

    async def main() -> None:
        nonlocal is_over, error
        try:
            await scenario.script(kit)
            kit.is_over()
        except Exception as raised:  # noqa: BLE001 - whoever waits reports it
            error = raised
        is_over = True

    def run() -> None:
        nonlocal error
        started = time.monotonic()
        try:
            kit.adapter.run(main, timeout)
        except BaseException as raised:  # noqa: BLE001 - as above
            is_early = time.monotonic() - started < timeout
            error = error or (raised if is_early else None)
        if not (is_over or error or cancelled_after):
            kit.note(f"{kit.awaited()} did not come within {timeout:g} s")

    thread = threading.Thread(target=run, name="topone-conformance", daemon=True)
    thread.start()
    # Once for the scenario, once for its cancellation.
    thread.join(2 * kit.patience)
    if thread.is_alive():
        kit.note(f"it hangs, and cannot be cancelled; {kit.awaited()} did not come")
    return error


class Collection:
    """The scenarios of one group, in the order in which they are written."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self.scenarios: list[Scenario] = []
        """The scenarios so far."""

    def add(
        self, log: Sequence[str] | None = None, *, cancelled_after: float | None = None
    ) -> Callable[[Callable[[Kit], Awaitable[None]]], None]:
        """Make a scenario of a function: its name is the function's, its text the docstring."""

        def decorate(script: Callable[[Kit], Awaitable[None]]) -> None:
            self._add(script, script, "", log, cancelled_after)

        return decorate

    def add_each(
        self, cases: Mapping[str, _V], log: Callable[[_V], Sequence[str]] | None = None
    ) -> Callable[[Callable[[Kit, _V], Awaitable[None]]], None]:
        """Make a scenario of each case of a function; ``log`` says what each has to tell."""

        def decorate(script: Callable[[Kit, _V], Awaitable[None]]) -> None:
            for name, case in cases.items():
                expected = None if log is None else log(case)
                self._add(script, _with(script, case), f": {name}", expected)

        return decorate

    def _add(
        self,
        named: Callable[..., object],
        script: Callable[[Kit], Awaitable[None]],
        case: str,
        log: Sequence[str] | None,
        cancelled_after: float | None = None,
    ) -> None:
        self.scenarios.append(
            Scenario(
                named.__name__.replace("_", " ") + case,
                " ".join((getdoc(named) or "").split()),
                self._group,
                script,
                None if log is None else tuple(log),
                cancelled_after,
            )
        )


def _with(
    script: Callable[[Kit, _V], Awaitable[None]], case: _V
) -> Callable[[Kit], Awaitable[None]]:
    return lambda kit: script(kit, case)
