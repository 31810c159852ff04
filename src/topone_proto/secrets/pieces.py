"""The search for one token, or a piece of it, in one spelling of a text."""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from topone_proto.secrets.spellings import KINDS, Layer
from topone_proto.secrets.token import HIDDEN

__all__ = ["Needle", "at_ends", "in_runs", "in_url", "in_whole", "public_part"]

_SHORTEST_END: Final = 4
_RUN: Final = 8
_RUN_OF_DIGITS: Final = 12
# Small letters only: a stand-in has capitals in the place of digits, and must not have a public
# part if its token has none.
_PUBLIC: Final = re.compile(r"[a-z]{1,15}:(?=.{4})")

# What a quoted part of a text begins and ends with, escaped or not.
_EDGES: Final = frozenset("\"'\\")

# An escape that breaks off at the end of a text, and the rest of one at its beginning.
_CUT: Final = re.compile(r"(?:\\(?:u0{0,2}[2-7]?|x[2-7]?)?|%[2-7]?|&[#\w]{0,7})")
_REST: Final = re.compile(r"u?[0-9A-Fa-f]{1,4};?")


def public_part(secret: str) -> int:
    """The length of the part of a token that is no secret."""
    found = _PUBLIC.match(secret)
    return 0 if found is None else found.end()


class Needle:
    """The forms of one token that are looked for."""

    __slots__ = ("_grams", "head", "public", "quoted", "run", "size", "tail", "whole")

    def __init__(self, secret: str) -> None:
        self.whole: str = secret
        # As dials and other programs write it into a URL.
        self.quoted: set[str] = {quote(secret, safe=safe) for safe in (":", "", "/")} - {secret}
        self.public: int = public_part(secret)
        length = len(secret) - self.public
        # 0: none.
        self.run: int = min(_RUN, length // 2) if length >= 12 else 0
        # A text that is looked at in steps of this many characters has one whole step in each run.
        self.size: int = (self.run + 1) // 2
        self._grams: dict[str, list[int]] | None = None
        is_long = length >= 2 * _SHORTEST_END
        self.head: str = ""
        if self.public or is_long:
            self.head = secret[: self.public + 1 if self.public else _SHORTEST_END]
        self.tail: str = secret[-_SHORTEST_END:] if is_long else ""

    @property
    def grams(self) -> dict[str, list[int]]:
        """The steps that a token has, each with its places.

        They are made for the first text that is looked at: most sessions never have one, and their
        size is some kilobytes.
        """
        grams = self._grams
        if grams is None:
            grams = dict[str, list[int]]()
            if self.run:
                for place in range(self.public, len(self.whole) - self.size + 1):
                    grams.setdefault(self.whole[place : place + self.size], []).append(place)
            # Whole, whoever else looks at it meanwhile.
            self._grams = grams
        return grams

    def __repr__(self) -> str:
        return f"Needle({HIDDEN})"


def in_whole(text: str, needle: Needle) -> Iterator[tuple[int, int, int]]:
    """Return the places of the whole token: start, end, and the place in the token where it
    begins."""
    length = len(needle.whole)
    at = text.find(needle.whole)
    while at >= 0:
        yield at, at + length, 0
        at = text.find(needle.whole, at + length)


def in_url(text: str, needle: Needle) -> Iterator[Layer]:
    """The places with the token as a URL has it, undone by themselves: with a ``%4`` before it, its
    first character would be taken for the rest of an escape."""
    for form in needle.quoted:
        at = text.find(form)
        while at >= 0:
            layer = Layer(form, shift=at).undo(KINDS["%"])
            assert layer is not None
            yield layer
            at = text.find(form, at + len(form))


def in_runs(text: str, needle: Needle) -> Iterator[tuple[int, int, int]]:
    """Yield the place of every run of a token's characters: start, end, and its place in the
    token."""
    size, grams, whole = needle.size, needle.grams, needle.whole
    if not grams or len(text) < size:
        return
    steps = [text[at : at + size] for at in range(0, len(text) - size + 1, size)]
    if grams.keys().isdisjoint(steps):
        return
    # Up to where was looked, for every way to lay the token beside the text.
    looked: dict[int, int] = {}
    for number, gram in enumerate(steps):
        at = number * size
        for place in grams.get(gram, ()):
            if looked.get(at - place, 0) > at:
                continue
            before = 0
            while before < min(at, place) and text[at - before - 1] == whole[place - before - 1]:
                before += 1
            after = size
            room = min(len(text) - at, len(whole) - place)
            while after < room and text[at + after] == whole[place + after]:
                after += 1
            looked[at - place] = at + after
            first = place - before
            run = text[at + max(first, needle.public) - place : at + after]
            if len(run) >= (_RUN_OF_DIGITS if run.isdigit() else needle.run):
                yield at - before, at + after, first


def at_ends(text: str, needle: Needle) -> Iterator[tuple[int, int, int]]:
    """Beginnings of a token at the end of a text, ends of it at the beginning."""
    head, tail, whole = needle.head, needle.tail, needle.whole
    at = text.find(head) if head else -1
    while at >= 0:
        end, place = at + len(head), len(head)
        while end < len(text) and place < len(whole) and text[end] == whole[place]:
            end, place = end + 1, place + 1
        is_cut = len(text) - end < 10 and _CUT.fullmatch(text, end) is not None
        # With the public part before it there is no doubt, wherever it is.
        if needle.public or (
            (end == len(text) or is_cut or text[end] in _EDGES) and not text[at:end].isdigit()
        ):
            yield at, end, 0
        at = text.find(head, end)
    at = text.find(tail) if tail else -1
    while at >= 0:
        start, place, end = at, len(whole) - len(tail), at + len(tail)
        while start > 0 and place > 0 and text[start - 1] == whole[place - 1]:
            start, place = start - 1, place - 1
        if not text[start:end].isdigit():
            is_rest = start < 7 and _REST.fullmatch(text, 0, start) is not None
            if start == 0 or text[start - 1] in _EDGES or is_rest:
                yield start, end, place
        at = text.find(tail, end)
