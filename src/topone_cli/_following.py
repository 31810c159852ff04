"""The parts that commands which follow a feed share: its title, its hints and its recorder."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

from topone_cli._describe import suggestion
from topone_cli._events import AnyEvent
from topone_cli._files import Recorder, new_recording
from topone_cli._format import printable
from topone_cli._output import Output
from topone_cli._run import Adapter, Opened
from topone_cli._token import RereadToken
from topone_proto import Disconnected, FailureKind

__all__ = ["feed_title", "recorder_of", "shower"]


def feed_title(command: str, adapter: Adapter, url: str, record: Path | None) -> Callable[[], str]:
    """Return a function that returns the heading of the screen."""
    title = f"topone {command} over {adapter}, {url}"
    if record is not None:
        title += f", recording to {record}"
    return lambda: title


def shower(
    output: Output, source: Opened, *, is_private: bool = True
) -> Callable[[AnyEvent], None]:
    """Return a function that shows an event, and says what to do if there is no connection.

    Args:
        output: where to.
        source: what is followed.
        is_private: False if no account is followed.
    """
    token = source.token
    said: str | None = None

    def show(event: AnyEvent) -> None:
        nonlocal said
        now = time.time()
        output.event(event, now)
        if (hint := suggestion(event, source.url, is_private=is_private)) is not None:
            output.note(hint, now)
        trouble = token.trouble if isinstance(token, RereadToken) else None
        is_of_token = isinstance(event, Disconnected) and event.reason.kind is FailureKind.TOKEN
        if is_of_token and trouble is not None and trouble != said:
            output.note(printable(trouble), now)
        if is_of_token:
            said = trouble

    return show


def recorder_of(path: Path | None, *, overwrite: bool) -> AbstractContextManager[Recorder | None]:
    """Return a block's recorder into ``path``; a block without one if that is None."""
    return nullcontext() if path is None else closing(new_recording(path, overwrite=overwrite))
