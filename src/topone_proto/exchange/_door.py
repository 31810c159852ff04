"""The judge of handshakes, with the faults that strike at dials."""

from collections.abc import Iterable
from urllib.parse import parse_qsl

from topone_proto._values import value
from topone_proto.exchange.actions import Reject, SendGarbage, Stall
from topone_proto.exchange.config import GatewayConfig, OriginRule
from topone_proto.exchange.faults import (
    AcceptThenClose,
    AnswerGarbage,
    Armed,
    DialFault,
    IgnoreHandshake,
    NodeClock,
    RefuseHandshake,
)
from topone_proto.exchange.tokens import Tokens

__all__ = ["Door", "Entry"]


@value
class Entry:
    """A dial that is let in."""

    account: str | None
    """The account that its token opens; None on the public socket."""
    token: str | None
    """The token; None on the public socket."""


class Door:
    """Says who is let in."""

    def __init__(self, tokens: Tokens, config: GatewayConfig, *, is_public: bool) -> None:
        """Have no faults.

        Args:
            tokens: who may open which account.
            config: what kind of server it is.
            is_public: True if there is a public socket.
        """
        self.tokens = tokens
        """The accounts, by the tokens that open them."""
        self.faults: Armed[DialFault] = Armed()
        """The faults of the next dials."""
        self._config = config
        self._is_public = is_public

    def answer(
        self, target: str, headers: Iterable[tuple[str, str]], now: float
    ) -> Entry | Reject | SendGarbage | Stall:
        """Return the answer to a handshake, or the entry that it is."""
        fault = self.faults.strike(lambda fault: not isinstance(fault, AcceptThenClose | NodeClock))
        match fault:
            case RefuseHandshake(status=status, retry_after=retry_after):
                asked = () if retry_after is None else (("Retry-After", str(retry_after)),)
                return Reject(status, "refused on purpose", asked)
            case AnswerGarbage(data=data):
                return SendGarbage(data)
            case IgnoreHandshake():
                return Stall()
            case _:
                return self._judge(target, headers, now)

    def strike(self, kind: type[DialFault]) -> DialFault | None:
        """Return the next fault of a kind that is due for a dial that is let in."""
        return self.faults.strike(lambda fault: isinstance(fault, kind))

    def _judge(self, target: str, headers: Iterable[tuple[str, str]], now: float) -> Entry | Reject:
        path, _, query = target.partition("?")
        origins = [text.strip() for name, text in headers if name.lower() == "origin"]
        tokens = [text for name, text in parse_qsl(query) if name == "token"]
        account = self.tokens.account(tokens[0], now) if len(tokens) == 1 else None
        is_public = self._is_public and path == self._config.market_path
        if not is_public and self._config.path not in {None, path}:
            return Reject(404, "no such path")
        if not self._is_welcome(origins):
            return Reject(403, "Origin must be empty")
        if is_public:
            return Entry(None, None)
        if account is None:
            return Reject(401, "the token is missing or not known")
        return Entry(account, tokens[0])

    def _is_welcome(self, origins: list[str]) -> bool:
        match self._config.origin:
            case OriginRule.ABSENT:
                return not origins
            case OriginRule.EMPTY:
                return origins == [""]
            case _:
                return origins in ([], [""])
