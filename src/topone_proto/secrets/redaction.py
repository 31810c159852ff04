r"""The one redactor: it finds a feed's tokens in the texts of the server, however they are spelled.

Events, failures and recordings go through it, so that a token that is masked in one is masked in
all.

**Spellings.** A text is searched as it is and with its escapes undone: JSON's (``\u0074``,
``\/``, ``\"``, doubled backslashes), ``\x74``, a URL's (``%74``) and HTML's (``&#116;``,
``&quot;``), in either case, of any character. Each kind is undone by itself, two deep, and all of
them together, ``LAYERS`` deep: a URL in a JSON text in a JSON text has three layers. A token that
is found there is traced back to its place in the text as it came.

**Pieces.** A limit may cut a token, and a frame may have one half of it in one field and the other
half in another. The exchange writes a token as ``topapi:`` and a secret; that public part is never
removed by itself. These pieces of the secret part are:

- a run of 8 characters anywhere; of a secret of 12 to 15 characters, half of it. A run of digits
  needs 12: fewer may be a price or a time;
- the beginning of a token where a text or a quoted part of it ends, and the end of a token where
  one begins: from 4 characters on, one of them no digit;
- the public part with the beginning of the secret behind it, anywhere: from 1 character on.

So both halves of a token are removed wherever they are. Shorter pieces stay: a text without every
three characters that a token happens to have could not be read.

**Bounds.** ``MAX_TOKENS`` tokens are remembered, the latest ones, since a server may repeat one
that was used before and is still valid. The cost grows in proportion to the length of a text,
whatever it says.

A token in base64, in hexadecimal, in UTF-16, compressed, hashed or reversed is not looked for. The
library sends it in none of these forms.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote

import attrs

from topone_proto.errors import ConfigurationError
from topone_proto.secrets.token import Token

__all__ = ["HIDDEN", "LAYERS", "MAX_TOKENS", "Masker", "Redactor"]

HIDDEN: Final = "***"
"""The text in the place of a token."""

LAYERS: Final = 6
"""How many times the escapes of a text are undone, in the search for a token."""

MAX_TOKENS: Final = 16
"""How many tokens are remembered, the latest ones."""

_T = TypeVar("_T")
_Items = list[object] | tuple[object, ...] | Mapping[object, object]

# --- escapes -------------------------------------------------------------------------------------

# Each matches one escape and has it stand for one character. None looks further than a few
# characters, so that none can be made to look at the same place again and again.
_PRINTABLE: Final = "[2-7][0-9A-Fa-f]"
_JSON: Final = rf"""\\(?:u00({_PRINTABLE})|x({_PRINTABLE})|([\\"'/]))"""
_URL: Final = rf"%({_PRINTABLE})"
_HTML: Final = (
    rf"&(?:\#0{{0,4}}([1-9][0-9]{{1,2}})|\#[xX]0{{0,4}}({_PRINTABLE})|(amp|quot|apos|lt|gt));"
)
_NONE: Final = "()"  # keeps the number of a group the same in every pattern
_KINDS: Final = {
    "\\": re.compile(_JSON),
    "%": re.compile(f"(?:(?!){_NONE * 3})?{_URL}"),
    "&": re.compile(f"(?:(?!){_NONE * 4})?{_HTML}"),
}
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


class _Layer:
    """A text, either as it came or with its escapes undone once more."""

    __slots__ = ("_below", "_escapes", "_places", "shift", "text")

    def __init__(
        self,
        text: str,
        below: "_Layer | None" = None,
        places: list[int] = [],  # noqa: B006 - never changed
        escapes: list[tuple[int, int, int]] = [],  # noqa: B006
        shift: int = 0,
    ) -> None:
        self.text = text
        # Where a part of the text as it came begins there.
        self.shift = shift
        self._below = below
        # For every escape: where its character is here, where it was, and which group it was.
        self._places = places
        self._escapes = escapes

    def undo(self, pattern: re.Pattern[str]) -> "_Layer | None":
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
        return _Layer("".join(pieces), self, places, escapes)

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


def _layers(text: str) -> Iterator[_Layer]:
    """The text as it came and with its escapes undone, each different one once."""
    root = _Layer(text)
    yield root
    if not _has_escapes(text):
        return
    seen = {text}
    goes_on = False
    below = [root]
    for _ in range(2):
        above: list[_Layer] = []
        for layer in below:
            for first, kind in _KINDS.items():
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
    together: _Layer | None = root
    for _ in range(LAYERS):
        together = together and together.undo(_ALL)
        if together is None:
            return
        if together.text not in seen:
            seen.add(together.text)
            yield together


# --- tokens --------------------------------------------------------------------------------------

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


def _public(secret: str) -> int:
    """The length of the part of a token that is no secret."""
    found = _PUBLIC.match(secret)
    return 0 if found is None else found.end()


class _Needle:
    """What is looked for of one token."""

    __slots__ = ("grams", "head", "public", "quoted", "run", "size", "tail", "whole")

    def __init__(self, secret: str) -> None:
        self.whole = secret
        # As dials and other programs write it into a URL.
        self.quoted = {quote(secret, safe=safe) for safe in (":", "", "/")} - {secret}
        self.public = _public(secret)
        length = len(secret) - self.public
        # 0: none.
        self.run = min(_RUN, length // 2) if length >= 12 else 0
        # A text that is looked at in steps of this many characters has one whole step in each run.
        self.size = (self.run + 1) // 2
        self.grams: dict[str, list[int]] = {}
        if self.run:
            for place in range(self.public, len(secret) - self.size + 1):
                self.grams.setdefault(secret[place : place + self.size], []).append(place)
        is_long = length >= 2 * _SHORTEST_END
        self.head = ""
        if self.public or is_long:
            self.head = secret[: self.public + 1 if self.public else _SHORTEST_END]
        self.tail = secret[-_SHORTEST_END:] if is_long else ""

    def __repr__(self) -> str:
        return f"_Needle({HIDDEN})"


class _Match:
    """A place in a layer that has a token or a piece of one."""

    __slots__ = ("end", "layer", "number", "offset", "start")

    def __init__(self, layer: _Layer, number: int, start: int, end: int, offset: int) -> None:
        self.layer = layer
        self.number = number
        """Of which of the tokens."""
        self.start = start
        self.end = end
        self.offset = offset
        """Where in the token it begins."""


def _whole(text: str, needle: _Needle) -> Iterator[tuple[int, int, int]]:
    """Where the whole token is: start, end, and the place in the token where it begins."""
    length = len(needle.whole)
    at = text.find(needle.whole)
    while at >= 0:
        yield at, at + length, 0
        at = text.find(needle.whole, at + length)


def _quoted(text: str, needle: _Needle) -> Iterator[_Layer]:
    """The places with the token as a URL has it, undone by themselves: with a ``%4`` before it, its
    first character would be taken for the rest of an escape."""
    for form in needle.quoted:
        at = text.find(form)
        while at >= 0:
            layer = _Layer(form, shift=at).undo(_KINDS["%"])
            assert layer is not None
            yield layer
            at = text.find(form, at + len(form))


def _runs(text: str, needle: _Needle) -> Iterator[tuple[int, int, int]]:
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


def _ends(text: str, needle: _Needle) -> Iterator[tuple[int, int, int]]:
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


class Redactor:
    """Removes tokens from texts. Nothing of it shows one.

    Args:
        tokens: what to remove from the start.
    """

    __slots__ = ("__clean", "__tokens")

    def __init__(self, *tokens: Token) -> None:
        # The latest is the last.
        self.__tokens: dict[Token, _Needle] = {}
        self.__clean: set[str] = set()
        for token in tokens:
            self.add(token)

    def add(self, token: Token) -> bool:
        """Remember a token, and forget the oldest of more than ``MAX_TOKENS``.

        Returns:
            False if it is none that can be used: nothing is dialled with it, so it comes back in no
            text, and an empty one would be in all.
        """
        try:
            token.require_usable()
        except ConfigurationError:
            return False
        needle = self.__tokens.pop(token, None)
        if needle is None:
            needle = _Needle(token.reveal())
            self.__clean.clear()
        self.__tokens[token] = needle
        if len(self.__tokens) > MAX_TOKENS:
            del self.__tokens[next(iter(self.__tokens))]
        return True

    def forget(self) -> None:
        """Forget every token."""
        self.__tokens.clear()
        self.__clean.clear()

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens that are remembered, the oldest first."""
        return tuple(self.__tokens)

    def redact(self, text: str) -> str:
        """``text`` with ``HIDDEN`` in the place of every token and of every piece of one. The very
        same text if there is none."""
        spans = sorted(match.layer.span(match.start, match.end) for match in self._matches(text))
        if not spans:
            return text
        pieces: list[str] = []
        at = 0
        last = -1
        for start, end in spans:
            if start > last:
                pieces += (text[at:start], HIDDEN)
            at = last = max(last, end)
        pieces.append(text[at:])
        return "".join(pieces)

    def is_clean(self, text: str) -> bool:
        """True if there is no token in ``text``. For few texts that come again and again, such as
        the names of markets: it is looked at once."""
        if text in self.__clean:
            return True
        if self.redact(text) != text:
            return False
        if len(self.__clean) >= _MAX_CLEAN:
            self.__clean.clear()
        self.__clean.add(text)
        return True

    def clean(self, value: _T) -> _T:
        """``value`` with ``redact`` for every text in it: in fields of ``attrs`` classes, in lists,
        tuples and dicts, keys included. The very same value if there is no token."""
        return cast("_T", self._clean(value, _DEEPEST))

    def _clean(self, value: object, deepest: int) -> object:
        if type(value) is str:
            return self.redact(value)
        if isinstance(value, (list, tuple, Mapping)):
            return self._clean_items(cast("_Items", value), deepest - 1) if deepest else HIDDEN
        kind: type[Any] = type(value)
        if attrs.has(kind):
            changed: dict[str, object] = {}
            for field in attrs.fields(kind):
                old = getattr(value, field.name)
                new = self._clean(old, deepest)
                if new is not old:
                    changed[field.name] = new
            return attrs.evolve(cast("Any", value), **changed) if changed else value
        return value

    def _clean_items(self, value: "_Items", deepest: int) -> object:
        if isinstance(value, Mapping):
            members = {
                self._clean(name, 0): self._clean(inner, deepest) for name, inner in value.items()
            }
            return value if members == value else members
        items = [self._clean(inner, deepest) for inner in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return items if isinstance(value, list) else tuple(items)

    def _matches(self, text: str) -> list[_Match]:
        if not self.__tokens:
            return []
        needles = tuple(self.__tokens.values())
        matches = [
            _Match(layer, number, *found)
            for layer in _layers(text)
            for number, needle in enumerate(needles)
            for search in (_whole, _runs, _ends)
            for found in search(layer.text, needle)
        ]
        if "%" in text:
            matches += [
                _Match(layer, number, 0, len(needle.whole), 0)
                for number, needle in enumerate(needles)
                for layer in _quoted(text, needle)
            ]
        return matches

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.__tokens)} tokens)"


# JSON of this depth has to be written on purpose.
_DEEPEST: Final = 64
_MAX_CLEAN: Final = 4096


# --- stand-ins -----------------------------------------------------------------------------------

# Letters that take the place of others, and those that write numbers. Escapes of one and the other
# are of one length, even escapes of escapes: the key is whether its number has three digits, and
# whether the last digit of that in hexadecimal is a number, a to c, or d to f. None makes an escape
# behind % or \u.
_LETTERS: Final = {
    (False, 0): ("HIDE", "GPQRSTUVWXY"),
    (False, 1): ("LLKL", "JZ"),
    (False, 2): ("NOON", "M"),
    (True, 0): ("hide", "fgpqrstvwy"),
    (True, 1): ("llkl", "jz"),
    (True, 2): ("noon", "m"),
}


def _letters(character: str) -> tuple[str, str]:
    number = ord(character)
    last = number % 16
    return _LETTERS[number >= 100, (last >= 10) + (last >= 13)]


def _stand_in(secret: str, number: int) -> str:
    """A text that is no secret, and that a session treats as it does ``secret``: as long, with the
    same public part and the same characters that a URL or JSON escapes, and another one for every
    number."""
    public = _public(secret)
    shape = [
        _letters(character)[0][place % 4] if place >= public and character.isalnum() else character
        for place, character in enumerate(secret)
    ]
    rest = number
    for place in reversed(range(public, len(shape))):
        if rest and shape[place].isalnum():
            digits = _letters(secret[place])[1]
            rest, digit = divmod(rest, len(digits))
            shape[place] = digits[digit]
    return "".join(shape)


_UNUSABLE: Final = "unusable "


class Masker(Redactor):
    """Puts a stand-in in the place of every token, so that a text keeps its length and its escapes.

    Whoever redacts the stand-ins from a masked text gets what redacting the tokens from the text
    gives.
    """

    __slots__ = ("__count", "__stand_ins")

    def __init__(self) -> None:
        super().__init__()
        self.__count = 0
        self.__stand_ins: dict[Token, str] = {}

    def add(self, token: Token) -> bool:
        """Remember a token; see ``Redactor.add``."""
        return not self.stand_in(token).startswith(_UNUSABLE)

    def stand_in(self, token: Token) -> str:
        """The text that is written for a token, which is remembered. One that cannot be used has
        a stand-in that cannot be used either."""
        if not super().add(token):
            self.__count += 1
            return f"{_UNUSABLE}{self.__count}"
        kept = set(self.tokens)
        self.__stand_ins = {each: text for each, text in self.__stand_ins.items() if each in kept}
        stand_in = self.__stand_ins.get(token)
        # One that has no letters and no digits has no secret either.
        tries = 100
        while stand_in is None or (
            tries and (stand_in == token.reveal() or stand_in in self.__others(token))
        ):
            tries -= 1
            self.__count += 1
            stand_in = _stand_in(token.reveal(), self.__count)
        self.__stand_ins[token] = stand_in
        return stand_in

    def __others(self, token: Token) -> set[str]:
        return {text for each, text in self.__stand_ins.items() if each != token}

    def mask(self, text: str) -> str:
        """``text`` with stand-ins in the place of tokens, and of pieces of them."""
        matches = self._matches(text)
        if not matches:
            return text
        stand_ins = [self.__stand_ins[token] for token in self.tokens]
        changes: dict[int, str] = {}
        # The most undone first: the 7 of %37 is also a 7 where that is not undone, and changed for
        # itself it would break the escape.
        for match in reversed(matches):
            stand_in = stand_ins[match.number]
            for place in range(match.start, match.end):
                at = match.offset + place - match.start
                if at < len(stand_in) and match.layer.text[place] != stand_in[at]:
                    match.layer.respell(place, stand_in[at], changes)
        characters = list(text)
        for place, new in changes.items():
            characters[place] = new
        return "".join(characters)
