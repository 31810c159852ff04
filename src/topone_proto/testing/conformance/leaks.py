"""A search for the token in all that an adapter lets out."""

import gc
import logging
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from traceback import StackSummary, TracebackException
from typing import Final
from urllib.parse import quote

__all__ = ["TOKEN", "recorded_logs", "where_in_caches", "where_in_error", "where_in_text"]

TOKEN: Final = "topapi:t0p-s3cr3t-%t0ken"
"""The token of every scenario. Never a local variable of the kit's that an adapter's traceback
shows."""
_FORMS: Final = (TOKEN, quote(TOKEN, safe=""), "t0p-s3cr3t")
_HERE: Final = str(Path(__file__).parent)


def where_in_text(text: str) -> str | None:
    """The line of a text that the token is in; None if it is in none."""
    return next((line for line in text.splitlines() if any(form in line for form in _FORMS)), None)


def where_in_error(error: BaseException) -> str | None:
    """The line that shows the token when an exception is shown with all that can be shown: its
    text, its attributes, those that it came of, the local variables of their frames."""
    shown = TracebackException.from_exception(error, capture_locals=True)
    _leave_out_the_kit(shown)
    return where_in_text(
        "\n".join([*shown.format(), repr(error), str(error), repr(error.__dict__)])
    )


def where_in_caches(text: str) -> str | None:
    """The function whose ``functools.lru_cache`` has ``text`` in an argument; None if there is
    none."""
    kind = type(lru_cache(len))
    # Not by isinstance: that asks a weak reference's object, which may be gone.
    for function in [each for each in gc.get_objects() if type(each) is kind]:
        waiting = gc.get_referents(function)
        seen = {id(each) for each in waiting}
        for each in waiting:
            if type(each) in {str, bytes} and text in str(each):
                return getattr(function, "__qualname__", repr(function))
            if type(each) in {dict, tuple} or issubclass(type(each), list):
                inner = [new for new in gc.get_referents(each) if id(new) not in seen]
                seen.update(map(id, inner))
                waiting += inner
    return None


def _leave_out_the_kit(shown: TracebackException) -> None:
    """The frames of the kit know the token: it is the kit that has given it."""
    shown.stack = StackSummary.from_list(
        [frame for frame in shown.stack if not frame.filename.startswith(_HERE)]
    )
    for other in (shown.__cause__, shown.__context__, *(getattr(shown, "exceptions", None) or ())):
        if other is not None:
            _leave_out_the_kit(other)


class _Recorder(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(name)s at level %(levelname)s: %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def recorded_logs() -> Generator[list[str], None, None]:
    """Everything that any logger has to say at any level, also loggers that were made before."""
    recorder = _Recorder()
    root = logging.getLogger()
    # The others in there only hold a place in the hierarchy.
    known = tuple(logging.root.manager.loggerDict.values())
    loggers = [root, *(logger for logger in known if isinstance(logger, logging.Logger))]
    # Few have a level of their own, and setting one makes logging look at all of them.
    before = [
        (logger, logger.level, logger.disabled)
        for logger in loggers
        if logger is root or logger.level > logging.DEBUG or logger.disabled
    ]
    for logger, _, _ in before:
        logger.setLevel(logging.DEBUG)
        logger.disabled = False
    # Where the root hears of nothing, too.
    heard = [logger for logger in loggers if logger is root or not logger.propagate]
    for logger in heard:
        logger.addHandler(recorder)
    try:
        yield recorder.lines
    finally:
        for logger in heard:
            logger.removeHandler(recorder)
        for logger, level, disabled in before:
            logger.setLevel(level)
            logger.disabled = disabled
