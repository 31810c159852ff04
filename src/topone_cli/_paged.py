"""The outputs of a healed account: one at the terminal, and a web page if it is asked for."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from topone_cli._output import HealedShown, JsonLines, Output, open_output

__all__ = ["open_paged"]


@contextmanager
def open_paged(
    title: Callable[[], str], *, json: bool, plain: bool, web: bool, port: int
) -> Generator[Output, None, None]:
    """Give the output that was asked for, and serve the page with it.

    Args:
        title: the heading.
        json: True asks for JSON Lines.
        plain: True asks for lines of text, also at a terminal.
        web: True asks for a page as well.
        port: the page's TCP port; 0 for any that is free.

    Raises:
        CommandFailed: the port cannot be listened on.
        ImportError: what serves the page is not installed.
    """
    place = ""

    def heading() -> str:
        first, comma, rest = title().partition(", ")
        return f"{first}{comma}{rest}" if not place else f"{first}, page {place}{comma}{rest}"

    with open_output(HealedShown(), heading, time.time, json=json, plain=plain) as output:
        if not web:
            yield output
            return
        from topone_cli._web import shown_on_page

        def told(url: str) -> None:
            nonlocal place
            place = url
            if isinstance(output, JsonLines):
                sys.stderr.write(f"topone: the page is at {url}\n")
                sys.stderr.flush()
            else:
                output.note(f"the page is at {url}", time.time())

        with shown_on_page(output, title, port, told) as both:
            yield both
