"""The spellings of a text: as it came, and with its escapes undone."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, cast

__all__ = ["KINDS", "LAYERS", "Layer", "layers"]

LAYERS: Final = 6
"""The number of times that the escapes of a text are undone, in the search for a token."""

# Each matches one escape and has it stand for one character. None looks further than a few
# characters, so that none can be made to look at the same place again and again.
_PRINTABLE: Final = "[2-7][0-9A-Fa-f]"
_JSON: Final = rf"""\\(?:u00({_PRINTABLE})|x({_PRINTABLE})|([\\"'/]))"""
_URL: Final = rf"%({_PRINTABLE})"
_HTML: Final = (
    rf"&(?:\#0{{0,4}}([1-9][0-9]{{1,2}})|\#[xX]0{{0,4}}({_PRINTABLE})|(amp|quot|apos|lt|gt));"
)
_NONE: Final = "()"  # keeps the number of a group the same in every pattern
KINDS: Final = {
    "\\": re.compile(_JSON),
    "%": re.compile(f"(?:(?!){_NONE * 3})?{_URL}"),
    "&": re.compile(f"(?:(?!){_NONE * 4})?{_HTML}"),
}
"""The pattern of the escapes of each kind, by the character that they begin with."""
_ALL: Final = re.compile(f"{_JSON}|{_URL}|{_HTML}")
_NAMES: Final = {"amp": "&", "quot": '"', "apos": "'", "lt": "<", "gt": ">"}
_ITSELF, _DECIMAL, _NAME = 3, 5, 7  # the groups that are no number in hexadecimal


def _undone(found: re.Match[str]) -> str | None:
    """The character that an escape stands for; None if it is none that a token can have."""
    group = cast("int", found.lastindex)
    digits = found[group]
    if group == _ITSELF:
        return digits
    if group == _NAME:
        return _NAMES[digits]
    number = int(digits) if group == _DECIMAL else int(digits, 16)
    return chr(number) if 0x20 < number < 0x7F else None


def _has_escapes(text: str) -> bool:
    return "\\" in text or "%" in text or "&" in text


class Layer:
    """A text, either as it came or with its escapes undone once more."""

    __slots__ = ("_below", "_escapes", "_places", "shift", "text")

    def __init__(
        self,
        text: str,
        below: "Layer | None" = None,
        places: list[int] = [],  # noqa: B006 - never changed
        escapes: list[tuple[int, int, int]] = [],  # noqa: B006 - as above
        shift: int = 0,
    ) -> None:
        self.text: str = text
        # Where a part of the text as it came begins there.
        self.shift: int = shift
        self._below = below
        # For every escape: where its character is here, where it was, and which group it was.
        self._places = places
        self._escapes = escapes

    def undo(self, pattern: re.Pattern[str]) -> "Layer | None":
        """This text with its escapes undone; None if it has none."""
        text = self.text
        pieces: list[str] = []
        places: list[int] = []
        escapes: list[tuple[int, int, int]] = []
        at = length = 0
        for found in pattern.finditer(text):
            character = _undone(found)
            if character is None:
                continue
            start, end = found.span()
            length += start - at
            pieces += (text[at:start], character)
            places.append(length)
            escapes.append((start, end, cast("int", found.lastindex)))
            length += 1
            at = end
        if not places:
            return None
        pieces.append(text[at:])
        return Layer("".join(pieces), self, places, escapes)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The place in the text as it came that ``text[start:end]`` stands for."""
        layer = self
        while layer._below is not None:
            start, last = layer._source(start)[0], layer._source(end - 1)[1]
            end, layer = last, layer._below
        return start + layer.shift, end + layer.shift

    def respell(self, place: int, new: str, changes: dict[int, str]) -> None:
        """Note which characters of the text as it came have to be others for the one at ``place``
        to be ``new``, and nothing else to move."""
        if self._below is None:
            changes.setdefault(place + self.shift, new)
            return
        start, end, group = self._source(place)
        if not group:
            self._below.respell(start, new, changes)
        else:
            # A letter or a digit, so that it is a number. Others are never changed.
            behind = 1 if group > 4 else 0  # the semicolon
            digits = str(ord(new)) if group == _DECIMAL else f"{ord(new):02x}"
            first = end - behind - len(digits)
            for at, digit in enumerate(digits, first):
                is_upper = self._below.text[at].isupper()
                self._below.respell(at, digit.upper() if is_upper else digit, changes)

    def _source(self, place: int) -> tuple[int, int, int]:
        number = bisect_right(self._places, place) - 1
        if number < 0:
            return place, place + 1, 0
        start, end, group = self._escapes[number]
        beyond = place - self._places[number]
        if beyond == 0:
            return start, end, group
        return end + beyond - 1, end + beyond, 0


def layers(text: str) -> Iterator[Layer]:
    """The text as it came and with its escapes undone, each different one once."""
    root = Layer(text)
    yield root
    if not _has_escapes(text):
        return
    seen = {text}
    goes_on = False
    below = [root]
    for _ in range(2):
        above: list[Layer] = []
        for layer in below:
            for first, kind in KINDS.items():
                undone = layer.undo(kind) if first in layer.text else None
                if undone is not None and undone.text not in seen:
                    seen.add(undone.text)
                    yield undone
                    if _has_escapes(undone.text):
                        goes_on = True
                        above.append(undone)
        below = above
    if not goes_on:
        return
    together: Layer | None = root
    for _ in range(LAYERS):
        together = together and together.undo(_ALL)
        if together is None:
            return
        if together.text not in seen:
            seen.add(together.text)
            yield together
