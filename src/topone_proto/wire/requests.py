"""The questions that an account asks the exchange over HTTP.

The facts are those of the exchange's pages "Getting started", "HTTP private" and "HTTP public".
"""

from collections.abc import Iterable
from typing import Final

from topone_proto._values import value
from topone_proto.secrets.token import Token
from topone_proto.wire.http import Credentials, HttpRequest

__all__ = [
    "DEFAULT_HTTP_URL",
    "MAX_PAGE_SIZE",
    "PageKey",
    "balances_request",
    "deals_request",
    "history_request",
    "markets_request",
    "open_orders_request",
    "signature",
    "token_request",
]

DEFAULT_HTTP_URL: Final = "https://gateway.topone.run"
"""The base of every path ("Getting started")."""

MAX_PAGE_SIZE: Final = 500
"""The largest page of the two histories ("HTTP private")."""


@value
class PageKey:
    """The place of a page in a history: both numbers come from the answer before."""

    cursor: int = 0
    """The id of the last row before; 0 for the first page."""
    mark: int = 0
    """The ``pageMark`` of the answer before; 0 for the first page."""


def signature(app_key: str, random: int, time: int, *, signed_name: str = "appKey") -> str:
    """Return the signature of a token request, 64 lower-case hexadecimal digits.

    It is the plain SHA-256 of one line, without any escaping ("Getting started").

    Args:
        app_key: the key.
        random: the request's random number.
        time: the request's time, in whole seconds since 1970 UTC.
        signed_name: the spelling of the first name in the line; the exchange's older page has
            ``appkey``.

    >>> signature("0123456789abcdef0123456789abcdef", 123456, 1570499640)
    '64896731a40dbdfd4d72c056f87b0cae1112bbcb9de75cad94e077b2501f0dd6'
    """
    from hashlib import sha256  # noqa: PLC0415 - it loads OpenSSL, and a feed signs nothing

    return sha256(f"{signed_name}={app_key}&random={random}&time={time}".encode()).hexdigest()


def token_request(
    credentials: Credentials, *, random: int, time: int, signed_name: str = "appKey"
) -> HttpRequest:
    """Return the request for a new token. The exchange takes one a minute, and blocks whoever asks
    more often for an hour.

    Args:
        credentials: the key pair.
        random: a number from 100000 to 999999, another one for each request.
        time: the time, in whole seconds since 1970 UTC.
        signed_name: see ``signature``.
    """
    return HttpRequest(
        "/u/v1/api/token",
        (
            ("appId", credentials.app_id),
            ("random", str(random)),
            ("time", str(time)),
            ("sig", signature(credentials.reveal(), random, time, signed_name=signed_name)),
        ),
    )


def balances_request(token: Token, assets: Iterable[str] | None = None) -> HttpRequest:
    """Return the question for balances: of these assets, or of all.

    The page does not say that ``assets`` may be left out. The exchange's older API took that for
    all.
    """
    query = () if assets is None else (("assets", ",".join(assets)),)
    return HttpRequest("/t/v1/balance/query", query, token)


def open_orders_request(
    token: Token, *, page: int = 1, page_size: int = 100, market: str | None = None
) -> HttpRequest:
    """Return the question for a page of the open orders.

    Args:
        token: the token.
        page: the page, from 1.
        page_size: the orders on it. The page does not say what the most is.
        market: the market, such as ``ETH/BTC``; None for all of them.
    """
    query = () if market is None else (("market", market),)
    return HttpRequest(
        "/t/v1/order/query",
        (*query, ("page", str(page)), ("pageSize", str(page_size))),
        token,
    )


def history_request(
    token: Token,
    key: PageKey | None = None,
    *,
    page_size: int = MAX_PAGE_SIZE,
    market: str | None = None,
) -> HttpRequest:
    """Return the question for a page of the finished orders, the newest first.

    It has no times on purpose: they filter by when an order was made, so a search from the start of
    a gap misses every older order that finished in it.
    """
    return _history("/t/v1/order/history", token, key, page_size, market)


def deals_request(
    token: Token,
    key: PageKey | None = None,
    *,
    page_size: int = MAX_PAGE_SIZE,
    market: str | None = None,
) -> HttpRequest:
    """Return the question for a page of the account's own deals, the newest first."""
    return _history("/t/v1/deals/history", token, key, page_size, market)


def _history(
    path: str, token: Token, key: PageKey | None, page_size: int, market: str | None
) -> HttpRequest:
    key = key if key is not None else PageKey()
    query = () if market is None else (("market", market),)
    pages = (
        ("pageSize", str(page_size)),
        ("pageCursor", str(key.cursor)),
        ("pageMark", str(key.mark)),
    )
    return HttpRequest(path, (*query, *pages), token)


def markets_request() -> HttpRequest:
    """Return the question for the markets. It needs no token."""
    return HttpRequest("/t/v1/market/list")
