"""The API token as a value, and the wrapping of what may be one. Nothing here can print a token."""

import re
from collections.abc import Awaitable, Callable
from inspect import Parameter, signature
from typing import Final, Never, TypeVar
from urllib.parse import quote

from topone_proto.errors import ConfigurationError

__all__ = [
    "HIDDEN",
    "AsyncTokenSource",
    "Token",
    "call_source",
    "conceal",
    "quoted",
    "usable",
    "wrapped",
]

_Source = TypeVar("_Source", bound=Callable[..., object])
_T = TypeVar("_T")

HIDDEN: Final = "***"
"""The text in the place of a token."""


class Token:
    """An API token that cannot be printed by accident: every text of it reads ``Token(***)``.

    Wrapping never raises, so that no traceback is made while a frame still holds the plain text;
    ``require_usable`` raises later.
    """

    __slots__ = ("__secret",)

    def __init__(self, secret: str) -> None:
        self.__secret = secret

    def reveal(self) -> str:
        """The secret text. For the moment of dialling; never keep it in a variable that outlives
        the dial."""
        return self.__secret

    def require_usable(self) -> None:
        """Check that this can be a token.

        Raises:
            ConfigurationError: it is empty, is no text, or has characters that no token has.
        """
        # The value itself is never shown, not even its length.
        if not _is_token(self.__secret):
            raise ConfigurationError(
                setting="token",
                problem="it is empty, or has spaces, line ends or non-ASCII characters",
                remedy="pass the apiToken just as the exchange gave it",
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Token):
            return NotImplemented
        return self.__secret == other.__secret

    def __hash__(self) -> int:
        return hash((Token, self.__secret))

    def __repr__(self) -> str:
        return f"Token({HIDDEN})"

    def __copy__(self) -> "Token":
        return self

    def __deepcopy__(self, memo: object) -> "Token":
        return self

    def __reduce__(self) -> Never:
        raise TypeError("a Token is not pickled: it would be written down in clear")


AsyncTokenSource = (
    Callable[[], str | Token | Awaitable[str | Token]]
    | Callable[[Token | None], str | Token | Awaitable[str | Token]]
)
"""A callable, async or not, that supplies a token: for ``token=`` of an async ``open_feed`` or
``open_account``. It may take one argument: the token that was refused, or None."""


def call_source(source: Callable[..., _T], refused: Token | None) -> _T:
    """Call an application's token callable, with the token that was refused if it takes that.

    It does if it has one positional parameter that must be given, or one called ``refused``.
    """
    return source(refused) if _takes_refused(source) else source()


def _takes_refused(source: Callable[..., object]) -> bool:
    try:
        parameters = signature(source).parameters.values()
    except (TypeError, ValueError):
        # Some of those that are written in C do not say.
        return False
    kinds = {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD}
    first = next(iter(parameters), None)
    if first is None or first.kind not in kinds:
        return False
    return first.default is Parameter.empty or first.name == "refused"


def _is_token(secret: object) -> bool:
    return (
        isinstance(secret, str)
        and secret.isascii()
        and secret.isprintable()
        and secret != ""
        and " " not in secret
    )


def conceal(token: "str | Token | _Source", url: str) -> "tuple[Token | _Source, str]":
    """The same with nothing secret left in it: the token wrapped, and any token in the URL masked.

    The first line of every ``open_feed``, so that no traceback which shows local variables can show
    a token: what is wrong with either is found out later, by ``Token.require_usable`` and by
    ``Endpoint``.
    """
    concealed = token if isinstance(token, Token) or callable(token) else Token(token)
    if isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller has a type checker
        url = _TOKEN_IN_URL.sub(rf"\1{HIDDEN}", url)
    return concealed, url


def wrapped(supplied: "_T | str") -> "_T | Token":
    """A text as a ``Token``, anything else as it is.

    For what a token callable returns, in the very expression that calls it: no variable then holds
    the text.
    """
    return Token(supplied) if isinstance(supplied, str) else supplied


def usable(supplied: object) -> Token | str:
    """Return what a token callable supplied as a token, or why it is none, in a few words."""
    supplied = wrapped(supplied)
    if not isinstance(supplied, Token):
        return type(supplied).__name__
    try:
        supplied.require_usable()
    except ConfigurationError:
        return "the callable supplied no usable token"
    return supplied


_TOKEN_IN_URL: Final = re.compile(r"([?&]token=)[^&#]*", re.IGNORECASE)


def quoted(secret: str) -> str:
    """Return the secret as it stands in a URL."""
    return quote(secret, safe=":")
