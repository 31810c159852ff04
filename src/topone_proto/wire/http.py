"""HTTP questions and answers as values, and what an answer says when it is no answer.

Nothing here sends anything: ``requests`` makes the questions, any HTTP client sends them, and
``answers`` reads what comes back. An answer that is none becomes an ``ApiError``, whatever it is:
the exchange's pages do not say how its errors look, so codes may be numbers or text, and what
answers may be a proxy.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Never, cast
from urllib.parse import urlencode

import msgspec
from attrs import field

from topone_proto._values import value
from topone_proto.errors import ConfigurationError, TopOneError
from topone_proto.failures import failure_from_response, http_date
from topone_proto.secrets.redaction import Redactor
from topone_proto.secrets.token import Token
from topone_proto.wire.decimals import read_decimal

__all__ = [
    "ApiError",
    "ApiErrorMeaning",
    "Credentials",
    "HttpRequest",
    "HttpResponse",
    "read_data",
    "unusable",
]


class Credentials:
    """The key pair of an account: what a token is made from. No text of it shows the key.

    Args:
        app_id: the application's id, from the exchange's user centre.
        app_key: its key, which the exchange shows once.

    Raises:
        ConfigurationError: one of them is empty or is no text.
    """

    __slots__ = ("__app_key", "app_id")

    def __init__(self, app_id: str, app_key: str) -> None:
        for name, text in (("app_id", app_id), ("app_key", app_key)):
            if not isinstance(text, str) or not text:  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller has a type checker
                raise ConfigurationError(
                    setting=name,
                    problem="it is empty or no text",
                    remedy="pass it as the exchange's user centre shows it",
                )
        self.app_id: str = app_id
        """The application's id."""
        self.__app_key = app_key

    def reveal(self) -> str:
        """Return the key. For the moment of signing; never keep it in a variable that outlives the
        signature."""
        return self.__app_key

    def __repr__(self) -> str:
        return f"Credentials({self.app_id!r}, ***)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Credentials):
            return NotImplemented
        return (self.app_id, self.__app_key) == (other.app_id, other.__app_key)

    def __hash__(self) -> int:
        return hash((Credentials, self.app_id, self.__app_key))

    def __reduce__(self) -> Never:
        raise TypeError("Credentials are not pickled: the key would be written down in clear")


def _hidden(pairs: Iterable[tuple[str, str]]) -> str:
    return repr(tuple((name, "***" if name == "sig" else text) for name, text in pairs))


def _size(body: bytes) -> str:
    return f"<{len(body)} bytes>"


@value
class HttpRequest:
    """A GET request, without the host it goes to. Its repr shows no secret."""

    path: str
    """The path, such as ``/t/v1/balance/query``."""
    query: tuple[tuple[str, str], ...] = field(default=(), repr=_hidden)
    """The parameters, in the order in which they are sent."""
    token: Token | None = None
    """The token to send; None for a question that needs none."""

    @property
    def target(self) -> str:
        """Path and query, percent-encoded. As secret as a token if it has a signature."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers to add. The token stands bare in ``Authorization``, without ``Bearer``
        ("HTTP private"). For the moment of sending only."""
        accept = ("Accept", "application/json")
        return (accept,) if self.token is None else (accept, ("Authorization", self.token.reveal()))


@value
class HttpResponse:
    """An answer, whole. Its repr shows no body: a token may be in it."""

    status: int
    """The HTTP status."""
    body: bytes = field(default=b"", repr=_size)
    """The body, with every ``Content-Encoding`` undone."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """The headers, names in any case."""
    request: HttpRequest | None = None
    """The request that this answers. What an error repeats of its secrets is masked."""

    @property
    def date(self) -> float | None:
        """The server's time in seconds since 1970 UTC (``Date``); None if it does not say."""
        for name, text in self.headers:
            if name.lower() == "date" and (date := http_date(text.strip())) is not None:
                return date.timestamp()
        return None

    def masked(self, text: str) -> str:
        """Return ``text`` without the token and the signature of the request."""
        if self.request is None or not text:
            return text
        secrets = [Token(secret) for name, secret in self.request.query if name == "sig"]
        if self.request.token is not None:
            secrets.append(self.request.token)
        return Redactor(*secrets).redact(text)


class ApiErrorMeaning(Enum):
    """The consequence of an ``ApiError``: what to do now."""

    TOKEN = "token"
    """The token is not accepted: get a new one, within its budget, and ask once more."""
    RATE_LIMIT = "rate_limit"
    """Too many questions: stop asking, for ``retry_after`` seconds if that is known. The code 10027
    means an hour."""
    UNAVAILABLE = "unavailable"
    """The exchange or something on the way is in trouble: ask again, with back-off."""
    CLOCK = "clock"
    """This machine's clock is wrong: the signature's time is not accepted."""
    CREDENTIALS = "credentials"
    """The key pair is not accepted: asking again cannot help."""
    ADDRESS = "address"
    """The key pair is bound to other IP addresses: asking again from here cannot help."""
    REQUEST = "request"
    """The exchange does not understand the question: asking again cannot help."""
    ORDER = "order"
    """The exchange refuses the order: the account or the market is not as the order needs it."""
    UNKNOWN = "unknown"
    """A code that no page lists."""


_M = ApiErrorMeaning

# 10001 to 10099: the exchange's list of 2018. T0001 to T0006: its token service of 2018.
_CODES: Final[Mapping[str, tuple[ApiErrorMeaning, str]]] = {
    "10001": (_M.REQUEST, "wrong parameter"),
    "10002": (_M.REQUEST, "unknown command"),
    "10003": (_M.TOKEN, "the token is not valid"),
    "10004": (_M.UNAVAILABLE, "timeout at the exchange"),
    "10005": (_M.UNAVAILABLE, "service unavailable"),
    "10020": (_M.ORDER, "the balance is too small"),
    "10021": (_M.ORDER, "the order's value is too small"),
    "10022": (_M.ORDER, "nobody to trade with"),
    "10023": (_M.ORDER, "no such order"),
    "10024": (_M.ORDER, "another user's order"),
    "10027": (_M.RATE_LIMIT, "too many order calls"),
    "10099": (_M.UNAVAILABLE, "server error"),
    "T0001": (_M.CREDENTIALS, "unknown app id"),
    "T0002": (_M.REQUEST, "wrong random number"),
    "T0003": (_M.CLOCK, "the request is too old"),
    "T0004": (_M.CLOCK, "wrong time"),
    "T0005": (_M.CREDENTIALS, "wrong signature"),
    "T0006": (_M.ADDRESS, "IP address not allowed"),
}

_ADVICE: Final[Mapping[ApiErrorMeaning, str]] = {
    _M.TOKEN: "get a new token, one a minute at most: the exchange blocks for an hour whoever asks "
    "more often",
    _M.RATE_LIMIT: "stop asking for a while; the exchange blocks for an hour",
    _M.UNAVAILABLE: "ask again later",
    _M.CLOCK: "set this machine's clock",
    _M.CREDENTIALS: "check the app id and the app key",
    _M.ADDRESS: "ask from an address that the key is bound to",
    _M.REQUEST: "check the request and the URL; asking again cannot help",
    _M.ORDER: "check the order",
    _M.UNKNOWN: "look the code up, and ask the exchange",
}

_MAX_WORDS: Final = 200


class ApiError(TopOneError):
    """The exchange did not answer the question.

    ``meaning`` says what to do; the other attributes say what came.
    """

    def __init__(
        self,
        *,
        code: int | str | None,
        msg: str,
        meaning: ApiErrorMeaning,
        status: int,
        retry_after: float | None = None,
    ) -> None:
        what = f"HTTP {status}" if code is None else f"code {code}"
        super().__init__(f"the exchange answered with {what} ({msg}): {_ADVICE[meaning]}")
        self.code = code
        """The exchange's code, a number or a text as it was sent; None if there was none."""
        self.msg = msg
        """The exchange's words, or ours if it had none. Cut to 200 characters."""
        self.meaning = meaning
        """The consequence."""
        self.status = status
        """The HTTP status."""
        self.retry_after = retry_after
        """Seconds to wait, if the answer said so (``Retry-After``)."""


# --- reading an answer ---------------------------------------------------------------------------


def _load(body: bytes) -> Any:
    """JSON with every number that is no integer as an exact Decimal."""
    decode = _decoder.decode
    try:
        return decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError):
        # The exchange's own samples have no-break spaces between their tokens.
        return decode(body.replace(b"\xc2\xa0", b" "))


def _exact(text: str) -> Decimal | None:
    try:
        return read_decimal(text)
    except ValueError:
        return None


_decoder: Final = msgspec.json.Decoder(float_hook=_exact)


def read_data(response: HttpResponse) -> Any:
    """Return the ``data`` of an answer that says success; None if it has none.

    Raises:
        ApiError: it says something else, or nothing that can be read.
    """
    status = response.status
    try:
        answer = _load(response.body)
    except (msgspec.DecodeError, RecursionError, ValueError):
        answer = None
    if not isinstance(answer, dict):
        raise unusable(response, "no JSON object")
    answer = cast("dict[str, Any]", answer)
    code, words = _code(answer)
    words = response.masked(words)[:_MAX_WORDS]
    code = response.masked(code)[:_MAX_WORDS] if isinstance(code, str) else code
    if code is None or status >= 400:
        raise unusable(response, words or "no success", code)
    if str(code) != "0":
        raise _refusal(response, code, words)
    return answer.get("data")


def _code(answer: dict[str, Any]) -> tuple[int | str | None, str]:
    """The code and the words of an answer, in each of the forms that were ever seen."""
    inner = answer.get("error")
    if isinstance(inner, dict):
        inner = cast("dict[str, Any]", inner)
        return _as_code(inner.get("code")), _words(inner.get("message"))
    code = _as_code(answer.get("code", answer.get("error_code")))
    data = answer.get("data")
    return code, _words(answer.get("msg")) or _words(data)


def _as_code(plain: object) -> int | str | None:
    if isinstance(plain, str):
        return plain
    return plain if type(plain) is int else None


def _words(plain: object) -> str:
    return plain if isinstance(plain, str) else ""


def _refusal(response: HttpResponse, code: int | str, words: str) -> ApiError:
    meaning, listed = _CODES.get(str(code), (_M.UNKNOWN, "a code that no page lists"))
    return ApiError(
        code=code,
        msg=words or listed,
        meaning=meaning,
        status=response.status,
        retry_after=_retry_after(response),
    )


def unusable(response: HttpResponse, words: str, code: int | str | None = None) -> ApiError:
    """Return the error for an answer that is judged by its HTTP status."""
    status = response.status
    if code is not None and str(code) in _CODES:
        return _refusal(response, code, words)
    if status == 429:
        meaning = _M.RATE_LIMIT
    elif status in {401, 403}:
        meaning = _M.TOKEN
    elif 400 <= status < 500 and status != 408:
        meaning = _M.REQUEST
    else:
        # Also 200 with something else than an answer: a proxy's page.
        meaning = _M.UNAVAILABLE
    return ApiError(
        code=code,
        msg=words,
        meaning=meaning,
        status=status,
        retry_after=_retry_after(response),
    )


def _retry_after(response: HttpResponse) -> float | None:
    return failure_from_response(response.status, response.headers).retry_after
