"""The command line: ``python -m topone_proto.testing.conformance module:adapter``. Reads arguments,
prints; the rest is elsewhere."""

import argparse
import re
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from operator import attrgetter
from typing import Any, Final

from topone_proto.testing.conformance import SCENARIOS, Adapter, Outcome, check_all
from topone_proto.testing.conformance.kit import Unmet
from topone_proto.testing.conformance.scenario import PATIENCE

_COMMAND: Final = "python -m topone_proto.testing.conformance"
_PLACE: Final = re.compile(r"(\w+(?:\.\w+)*):(\w+(?:\.\w+)*)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments say. Returns 1 if a scenario is not passed, else 0."""
    parser = argparse.ArgumentParser(prog=_COMMAND, description="Check a feed's adapter.")
    parser.add_argument("adapter", help="where the Adapter is, such as my_package.testing:adapter")
    parser.add_argument("--only", default="", metavar="WORDS", help="scenarios with these words")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, metavar="SECONDS", help="for each scenario"
    )
    parser.add_argument(
        "--simulate",
        default="topone_simulator:run_in_thread",
        metavar="NAME",
        help="what runs the exchange; by default %(default)s",
    )
    chosen = parser.parse_args(arguments)
    try:
        adapter, simulate = map(_resolve, (chosen.adapter, chosen.simulate))
    except _NotFoundError as error:
        parser.error(str(error))
    if not isinstance(adapter, Adapter):
        parser.error(f"{chosen.adapter} is no Adapter, but a {type(adapter).__name__}")
    scenarios = [scenario for scenario in SCENARIOS if chosen.only in scenario.name]
    outcomes = check_all(
        adapter,
        simulate,
        scenarios=scenarios,
        patience=chosen.patience,
        show=_show,
    )
    failed = [outcome for outcome in outcomes if outcome.failed]
    print(f"{adapter.name}: {len(outcomes) - len(failed)} of {len(outcomes)} scenarios passed")
    return 1 if failed or not outcomes else 0


class _NotFoundError(Exception):
    """Nothing is where the arguments say."""


def _resolve(place: str) -> Any:
    """Return the object at ``module:name``. An exception of the module itself comes out whole: its
    author has to see where."""
    match = _PLACE.fullmatch(place)
    if match is None:
        raise _NotFoundError(f"{place!r} is not written as module:name")
    path, name = match.groups()
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        if not f"{path}.".startswith(f"{error.name}."):
            raise
        raise _NotFoundError(str(error)) from None
    try:
        return attrgetter(name)(module)
    except AttributeError as error:
        raise _NotFoundError(str(error)) from None


def _show(outcome: Outcome) -> None:
    scenario = outcome.scenario
    word = "FAILED" if outcome.failed else "passed"
    print(f"{word}  {outcome.seconds:5.2f} s  {scenario.group}: {scenario}", flush=True)
    if outcome.failed:
        cause = outcome.failed.__cause__
        if cause is not None and not isinstance(cause, Unmet):
            traceback.print_exception(cause, file=sys.stdout)
        print(f"\n{outcome.failed}\n")


if __name__ == "__main__":
    sys.exit(main())
