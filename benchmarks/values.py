"""Compare the ways in which a class of values can be written: what making one instance costs.

Run from the repository's root: ``python -m benchmarks.values``. It takes a few seconds, and prints
the medians and, for each way, the median of its ratios to the way that is used, round by round.
docs/decisions/frozen-values.md says what follows.
"""

import dataclasses
import statistics
import sys
import timeit
from collections import namedtuple
from typing import Final

import attrs
import msgspec

from topone_proto import Order

FIELDS: Final = attrs.fields_dict(Order)
ROUNDS, INSTANCES = 15, 50_000

_NAMES: Final = list(FIELDS)
WAYS: Final[dict[str, type]] = {
    "attrs, slots": attrs.make_class("Slots", _NAMES, slots=True),
    "attrs, slots, frozen": attrs.make_class("Frozen", _NAMES, slots=True, frozen=True),
    "dataclass, slots": dataclasses.make_dataclass("Data", _NAMES, slots=True),
    "dataclass, slots, frozen": dataclasses.make_dataclass(
        "FrozenData", _NAMES, slots=True, frozen=True
    ),
    "named tuple": namedtuple("Tuple", _NAMES),  # noqa: PYI024 - no types are needed here
    "msgspec.Struct, frozen": msgspec.defstruct("Struct", _NAMES, frozen=True),
}
USED: Final = "attrs, slots"


def main() -> None:
    """Measure and print."""
    arguments = tuple(range(len(_NAMES)))
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, cls in WAYS.items():
            names = {"cls": cls, "arguments": arguments}
            whole = timeit.timeit("cls(*arguments)", globals=names, number=INSTANCES)
            seconds[way].append(whole / INSTANCES)
    print(f"{len(_NAMES)} fields, CPython {sys.version.split()[0]}")
    for way, found in seconds.items():
        ratios = [one / used for one, used in zip(found, seconds[USED], strict=True)]
        print(f"{way:26} {1e9 * statistics.median(found):6.0f} ns {statistics.median(ratios):6.2f}")


if __name__ == "__main__":
    main()
