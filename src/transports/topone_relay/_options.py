"""Options of buses, checked where they are given and kept out of every repr."""

from typing import TYPE_CHECKING, Any

from topone_proto import ConfigurationError
from topone_relay._names import token_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Hidden", "check_prefix", "check_seconds"]


class Hidden:
    """Something that no repr and no traceback with local variables may show."""

    def __init__(self, content: Any) -> None:
        self.reveal: Callable[[], Any] = lambda: content
        """The thing itself."""


def check_seconds(**given: float) -> None:
    """Raise ``ConfigurationError`` for a time that is not above 0."""
    for setting, seconds in given.items():
        if not 0 < seconds < float("inf"):
            raise ConfigurationError(
                setting=setting, problem=f"{seconds!r} s", remedy="give a number of seconds above 0"
            )


def check_prefix(prefix: str) -> None:
    """Raise ``ConfigurationError`` for a prefix that cannot be part of every name on a bus."""
    if not prefix or token_of(prefix, "prefix") != prefix:
        raise ConfigurationError(
            setting="prefix",
            problem="it is part of the names on the bus",
            remedy="use letters, digits, _ and -",
        )
