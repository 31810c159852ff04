"""Every feature that ``docs/promises.md`` promises, with a patch that removes it and the tests that
must fail then.

A test that passes with its feature removed proves nothing. Add a row for every promise that is
added to the docs: ``test_features`` walks through all of them.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import attrs

from topone_proto import Session

Remove = Callable[[], AbstractContextManager[Any]]


@attrs.frozen
class Feature:
    """A feature, and the way to remove it."""

    name: str
    promise: int
    """The number of its section in ``docs/promises.md``."""
    remove: Remove
    """Makes a patch that removes it."""
    tests: tuple[str, ...]
    """What pytest has to run: at least one of these tests must fail."""


FEATURES: dict[str, Feature] = {}


def feature(promise: int, *tests: str) -> Callable[[Remove], Remove]:
    """Enter a row into the table. The function's name is the feature's."""

    def register(remove: Remove) -> Remove:
        name = remove.__name__
        assert name not in FEATURES, name
        FEATURES[name] = Feature(name, promise, remove, tests)
        return remove

    return register


def around(cls: type, name: str, wrapper: Callable[..., Any]) -> AbstractContextManager[Any]:
    """``wrapper(original, self, *args)`` in place of a method."""
    original = getattr(cls, name)

    def replacement(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrapper(original, self, *args, **kwargs)

    return patch.object(cls, name, replacement)


# --- 1. no silent loss ---------------------------------------------------------------------------


@feature(1, "tests/test_session.py")
def gap_after_a_reconnect() -> AbstractContextManager[Any]:
    return patch.object(Session, "_mend", lambda *_: ())


# --- 3. never a storm ----------------------------------------------------------------------------


@feature(3, "tests/test_session.py")
def back_off_grows() -> AbstractContextManager[Any]:
    def delay(original: Any, self: Session, failure: Any) -> Any:
        retries, self._retries = self._retries, 1
        try:
            return original(self, failure)
        finally:
            self._retries = retries

    return around(Session, "_delay", delay)
