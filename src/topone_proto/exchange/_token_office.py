"""The token service of the simulated exchange: who gets a token, and who asks too often."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from hmac import compare_digest
from random import Random
from string import ascii_letters, digits
from typing import Final

from topone_proto.exchange._budget import Budget
from topone_proto.exchange._http_answers import Refusal
from topone_proto.exchange.http_config import HttpConfig
from topone_proto.exchange.http_faults import KillOldTokens
from topone_proto.exchange.tokens import App, Tokens

__all__ = ["TokenOffice"]

_LETTERS: Final = ascii_letters + digits
_LENGTH: Final = 74


class TokenOffice:
    """Judges requests for tokens, and issues them."""

    def __init__(self, apps: Iterable[App], tokens: Tokens, config: HttpConfig, seed: int) -> None:
        """Issue nothing yet.

        Args:
            apps: the key pairs there are.
            tokens: where new tokens are written.
            config: what kind of service it is.
            seed: the source of the tokens' letters, together with the time.
        """
        self._apps = {app.app_id: app for app in apps}
        self._tokens = tokens
        self._config = config
        self._seed = seed
        self._issued: dict[str, list[str]] = {}
        self._count = 0
        self._kills: list[int | None] = []
        # Whoever is not known shares one budget, so that there is an end to them.
        self._budgets = {
            app_id: Budget(1, config.token_interval, config.token_block)
            for app_id in (*self._apps, "")
        }

    @property
    def overruns(self) -> int:
        """The number of requests that were too many."""
        return sum(budget.overruns for budget in self._budgets.values())

    def count(self, app_id: str, now: float) -> bool:
        """Count a request. Return True if it is allowed."""
        return self._budgets[app_id if app_id in self._apps else ""].take(now)

    def blocked(self, app_id: str, now: float) -> float:
        """Return for how many seconds an application is blocked."""
        return self._budgets[app_id if app_id in self._apps else ""].blocked(now)

    def block(self, seconds: float, now: float) -> None:
        """Block everybody."""
        for budget in self._budgets.values():
            budget.block(seconds, now)

    def check(self, query: Mapping[str, str], time: float) -> None:
        """Judge a request for a token.

        Args:
            query: the parameters.
            time: the exchange's time, in seconds since 1970 UTC.

        Raises:
            Refusal: it is not in order.
        """
        app = self._apps.get(query.get("appId", ""))
        if app is None:
            raise Refusal("T0001", "unknown appId")
        random, written = query.get("random", ""), query.get("time", "")
        if not (len(random) == 6 and _is_number(random) and random[0] != "0"):
            raise Refusal("T0002", "random is no number from 100000 to 999999")
        if not (0 < len(written) <= 12 and _is_number(written)):
            raise Refusal("T0004", "time is no number of seconds")
        ahead = int(written) - time
        if ahead < -self._config.clock_tolerance:
            raise Refusal("T0003", "the request is too old")
        if ahead > self._config.clock_tolerance:
            raise Refusal("T0004", "the time is wrong")
        line = f"{self._config.signed_name}={app.app_key}&random={random}&time={written}"
        right = sha256(line.encode()).hexdigest()
        if not compare_digest(right.encode(), query.get("sig", "").encode()):
            raise Refusal("T0005", "the signature is wrong")

    def issue(self, app_id: str, time: float, now: float) -> str:
        """Return a new token of an application."""
        app = self._apps[app_id]
        issued = self._issued.setdefault(app_id, [])
        if self._kills_old():
            for token in issued:
                self._tokens.revoke(token)
            issued.clear()
        self._count += 1
        # Not the tokens of an exchange with the same seed that was started before, nor the one
        # before, which may have been issued in the same instant.
        chance = Random(f"{self._seed} {time!r} {app_id} {self._count}")
        token = "topapi:" + "".join(chance.choices(_LETTERS, k=_LENGTH))
        issued.append(token)
        self._tokens.allow(token, app.account, now + self._config.token_life)
        return token

    def expire(self) -> None:
        """End every token that was issued."""
        for issued in self._issued.values():
            for token in issued:
                self._tokens.revoke(token)

    def kill_old(self, fault: KillOldTokens) -> None:
        """Let the next new tokens end the ones before."""
        self._kills.append(fault.times)

    def clear_faults(self) -> None:
        """Forget what waits for new tokens."""
        self._kills.clear()

    def _kills_old(self) -> bool:
        if self._config.kills_old_tokens:
            return True
        if not self._kills:
            return False
        if (times := self._kills[0]) is not None:
            self._kills[:1] = [times - 1] if times > 1 else []
        return True


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
