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

from collections.abc import Mapping
from typing import Any, Final, TypeVar, cast

import attrs

from topone_proto._checks import DEEPEST
from topone_proto.errors import ConfigurationError
from topone_proto.secrets.pieces import Needle, at_ends, in_runs, in_url, in_whole
from topone_proto.secrets.spellings import LAYERS, Layer, layers
from topone_proto.secrets.token import HIDDEN, Token

__all__ = ["HIDDEN", "LAYERS", "MAX_TOKENS", "Redactor"]

MAX_TOKENS: Final = 16
"""The number of tokens that are remembered, the latest ones."""

_T = TypeVar("_T")
_Items = list[object] | tuple[object, ...] | Mapping[object, object]


class _Match:
    """A place in a layer that has a token or a piece of one."""

    __slots__ = ("end", "layer", "number", "offset", "start")

    def __init__(self, layer: Layer, number: int, start: int, end: int, offset: int) -> None:
        self.layer = layer
        self.number = number
        """Of which of the tokens."""
        self.start = start
        self.end = end
        self.offset = offset
        """The place in the token where it begins."""


class Redactor:
    """Removes tokens from texts. Nothing of it shows one.

    Args:
        tokens: what to remove from the start.
    """

    __slots__ = ("__clean", "__tokens")

    def __init__(self, *tokens: Token) -> None:
        # The latest is the last.
        self.__tokens: dict[Token, Needle] = {}
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
            needle = Needle(token.reveal())
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
        return cast("_T", self._clean(value, DEEPEST))

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
            for layer in layers(text)
            for number, needle in enumerate(needles)
            for search in (in_whole, in_runs, at_ends)
            for found in search(layer.text, needle)
        ]
        if "%" in text:
            matches += [
                _Match(layer, number, 0, len(needle.whole), 0)
                for number, needle in enumerate(needles)
                for layer in in_url(text, needle)
            ]
        return matches

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.__tokens)} tokens)"


_MAX_CLEAN: Final = 4096
