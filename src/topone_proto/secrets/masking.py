"""Stand-ins for tokens in recordings."""

from typing import Final

from topone_proto.secrets.pieces import public_part
from topone_proto.secrets.redaction import Redactor
from topone_proto.secrets.token import Token

__all__ = ["Masker"]

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
    public = public_part(secret)
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
