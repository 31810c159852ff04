"""The token's life, judged by a token service that blocks whoever asks more than once a minute."""

from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from topone_proto import ConfigurationError, Token
from topone_proto.account import AccountConfig
from topone_proto.account.token_service import (
    FetchNewToken,
    SaveTokenState,
    TokenService,
    TokenState,
    TokenStep,
    TokenUnobtainable,
)
from topone_proto.wire.http import ApiError, ApiErrorMeaning

START = 1_570_000_000.0
ONE, TWO, THREE = Token("topapi:1"), Token("topapi:2"), Token("topapi:3")


def service(state: TokenState | None = None) -> TokenService:
    return TokenService(state, jitter=lambda: 0.0)


def error(meaning: ApiErrorMeaning, retry_after: float | None = None) -> ApiError:
    return ApiError(code=1, msg="no", meaning=meaning, status=200, retry_after=retry_after)


def reserves(step: TokenStep) -> bool:
    """True if the step is the first half of a request."""
    return any(
        action.state.asked_at is not None
        for action in step.actions
        if isinstance(action, SaveTokenState)
    )


def asks(tokens: TokenService, step: TokenStep, wall: float) -> bool:
    """Store what is to be stored, and return whether a request leaves then."""
    assert FetchNewToken() not in step.actions
    return bool(step.actions) and FetchNewToken() in tokens.stored(wall).actions


def with_token(token: Token = ONE) -> TokenService:
    tokens = service()
    assert asks(tokens, tokens.wanted(START), START)
    assert tokens.obtained(token, START + 2).token == token
    return tokens


def test_the_budget_is_stored_before_the_request_leaves() -> None:
    tokens = service()
    step = tokens.wanted(START)
    state = TokenState(asked_at=START, not_before=START + 65)
    assert step == TokenStep(None, (SaveTokenState(state),))
    # Nothing leaves before it is stored.
    assert tokens.wanted(START + 1) == TokenStep(None)
    assert not tokens.is_fetching
    assert tokens.stored(START + 1) == TokenStep(None, (FetchNewToken(),))
    assert tokens.is_fetching
    assert tokens.stored(START + 2) == TokenStep(None)


@pytest.mark.parametrize("seconds", [4, -1])
def test_a_reservation_that_took_too_long_to_store_is_of_no_use(seconds: float) -> None:
    tokens = service()
    tokens.wanted(START)
    step = tokens.stored(START + seconds)
    assert FetchNewToken() not in step.actions
    assert step.deadline == START + seconds + 65


@given(st.lists(st.floats(0, 10), min_size=1))
def test_a_store_that_is_slow_makes_requests_rarer_and_does_not_end_them(
    delays: list[float],
) -> None:
    tokens, wall, is_sent = service(), START, False
    for seconds in [*delays, delays[-1], delays[-1]]:
        assert reserves(tokens.wanted(wall))
        noted = tokens.state
        wall += seconds
        is_sent = FetchNewToken() in tokens.stored(wall).actions
        if is_sent:
            # What another process counts from.
            assert noted.not_before is not None
            assert noted.not_before - wall >= 65 - 65 / 20 - 1e-3
            tokens.failed(None, wall)
        wall = tokens.state.not_before or 0.0
    # The ones before have shown how long it takes.
    assert is_sent


def test_a_budget_that_cannot_be_stored_is_not_spent() -> None:
    tokens = service()
    tokens.wanted(START)
    step = tokens.not_stored(START + 1)
    assert step.deadline == START + 66
    assert tokens.not_stored(START + 2) == TokenStep(None, (), START + 66)
    assert asks(tokens, tokens.wanted(START + 66), START + 66)


def test_a_reservation_is_withdrawn_if_another_process_was_first() -> None:
    tokens = service()
    assert reserves(tokens.wanted(START))
    first = TokenState(asked_at=START - 1, not_before=START + 64)
    assert tokens.loaded(first, START) == TokenStep(None, (), START + 64)
    assert tokens.stored(START) == TokenStep(None, (), START + 64)
    assert not tokens.is_fetching


def test_the_fresher_of_two_tokens_is_kept() -> None:
    tokens = with_token(TWO)
    older = TokenState(token=ONE, obtained_at=START - 100, asked_at=START)
    assert tokens.loaded(older, START + 3).token == TWO
    newer = TokenState(token=ONE, obtained_at=START + 1, asked_at=START)
    assert tokens.loaded(newer, START + 3).token == ONE


def test_a_correction_of_the_clock_is_not_undone_by_one_that_is_only_passed_on() -> None:
    old = TokenState(asked_at=START - 200, ahead=-3600.0)
    tokens = service(old)
    assert asks(tokens, tokens.wanted(START), START)
    tokens.failed(error(ApiErrorMeaning.CLOCK), START + 1, ahead=3600.0)
    # Another process has asked in between, and knows of no newer time than was stored.
    passed_on = attrs.evolve(old, asked_at=START + 1, not_before=START + 66)
    tokens.loaded(passed_on, START + 2, known=old)
    assert tokens.state.ahead == 3600.0
    learnt = attrs.evolve(passed_on, ahead=3601.0)
    tokens.loaded(learnt, START + 3, known=passed_on)
    assert tokens.state.ahead == 3601.0


def test_a_clock_that_was_set_forward_earns_no_request() -> None:
    tokens = with_token()
    tokens.refused(ONE, START + 1)
    tokens.postpone(START + 5000)
    assert tokens.wanted(START + 4000).deadline == START + 5000
    tokens.postpone(START + 10)
    assert tokens.wanted(START + 4000).deadline == START + 5000


def test_a_token_that_is_withdrawn_proves_nothing() -> None:
    tokens = with_token()
    assert tokens.withdraw(TWO, START + 99).token == ONE
    assert tokens.withdraw(ONE, START + 100).token is None
    # Not even from a store that still has it.
    assert tokens.loaded(with_token().state, START + 100).token is None
    tokens.stored(START + 100)
    # A token service may give the same one out again.
    assert tokens.obtained(ONE, START + 101).token == ONE
    assert not tokens.is_replacement
    assert tokens.refused(ONE, START + 200).token is None


def test_an_older_token_of_another_process_proves_nothing_either() -> None:
    tokens = with_token()
    older = TokenState(TWO, START + 50, START + 50, START + 115)
    tokens.refused(ONE, START + 100)
    assert tokens.loaded(older, START + 100).token == TWO
    assert not tokens.is_replacement
    assert tokens.refused(TWO, START + 101).token is None
    tokens.loaded(TokenState(THREE, START + 150, START + 150), START + 160)
    assert tokens.is_replacement
    with pytest.raises(TokenUnobtainable):
        tokens.refused(THREE, START + 161)


def test_an_error_that_was_mended_in_vain_ends_it() -> None:
    tokens = service()
    tokens.wanted(START)
    tokens.stored(START)
    with pytest.raises(TokenUnobtainable, match="set this machine's clock"):
        tokens.failed(error(ApiErrorMeaning.CLOCK), START, is_hopeless=True)


def test_a_process_that_was_killed_has_spent_its_budget() -> None:
    killed = service()
    (save,) = killed.wanted(START).actions
    assert isinstance(save, SaveTokenState)
    again = service(save.state)
    assert again.wanted(START + 1) == TokenStep(None, (), START + 65)
    assert reserves(again.wanted(START + 65))


def test_there_is_one_request_at_a_time() -> None:
    tokens = service()
    assert asks(tokens, tokens.wanted(START), START)
    assert tokens.wanted(START + 1000) == TokenStep(None)
    assert tokens.is_fetching


def test_a_token_is_given_out_until_its_hard_age_and_renewed_from_its_soft_age_on() -> None:
    tokens = with_token()
    assert tokens.wanted(START + 3599) == TokenStep(ONE, (), START + 3600)
    renewing = tokens.wanted(START + 3600)
    assert renewing.token == ONE
    assert asks(tokens, renewing, START + 3600)
    assert tokens.wanted(START + 7079) == TokenStep(ONE)
    assert tokens.wanted(START + 7080) == TokenStep(None)
    assert tokens.obtained(TWO, START + 7081).token == TWO


def test_the_age_of_a_token_counts_from_before_its_request() -> None:
    tokens = service()
    tokens.wanted(START)
    tokens.stored(START)
    tokens.obtained(ONE, START + 500)
    assert tokens.state.obtained_at == START


def test_a_failure_is_tried_again_later_each_time() -> None:
    tokens = service()
    now, waits = START, []
    for _ in range(9):
        assert asks(tokens, tokens.wanted(now), now)
        step = tokens.failed(None, now)
        assert step.token is None
        assert not asks(tokens, step, now)
        assert step.deadline is not None
        waits.append(step.deadline - now)
        now = step.deadline
    assert waits == [65, 130, 260, 520, 1040, 2080, 3600, 3600, 3600]


def test_a_retry_is_spread_and_its_time_stays() -> None:
    tokens = TokenService(jitter=iter([0.5]).__next__)
    tokens.wanted(START)
    assert tokens.failed(None, START).deadline == START + 65 * 1.25
    assert tokens.wanted(START + 1).deadline == START + 65 * 1.25


def test_a_block_lasts_an_hour_or_as_long_as_the_exchange_says() -> None:
    for retry_after, wait in ((None, 3600), (10, 3600), (9999, 9999)):
        tokens = service()
        tokens.wanted(START)
        step = tokens.failed(error(ApiErrorMeaning.RATE_LIMIT, retry_after), START + 1)
        assert step.deadline == START + 1 + wait
    tokens = service()
    tokens.wanted(START)
    step = tokens.failed(error(ApiErrorMeaning.UNAVAILABLE, 500), START)
    assert step.deadline == START + 500


@pytest.mark.parametrize(
    "meaning", [ApiErrorMeaning.CREDENTIALS, ApiErrorMeaning.ADDRESS, ApiErrorMeaning.REQUEST]
)
def test_what_cannot_be_mended_by_asking_ends_the_asking(meaning: ApiErrorMeaning) -> None:
    tokens = service()
    tokens.wanted(START)
    with pytest.raises(TokenUnobtainable, match=r"check|ask from"):
        tokens.failed(error(meaning), START)
    with pytest.raises(TokenUnobtainable):
        tokens.wanted(START + 10**6)


def test_a_service_that_gave_a_token_is_asked_again_though_it_understands_nothing() -> None:
    shared = service()
    shared.loaded(TokenState(ONE, START), START)
    for tokens in (with_token(), service(TokenState(ONE, START)), shared):
        assert asks(tokens, tokens.refused(ONE, START + 100), START + 100)
        step = tokens.failed(error(ApiErrorMeaning.REQUEST), START + 101)
        assert step.deadline is not None
        assert step.deadline >= START + 101 + 65
        assert not tokens.is_over


def test_a_good_token_outlives_a_renewal_that_cannot_succeed() -> None:
    tokens = with_token()
    assert asks(tokens, tokens.wanted(START + 3600), START + 3600)
    assert tokens.failed(error(ApiErrorMeaning.CREDENTIALS), START + 3601).token == ONE
    assert tokens.wanted(START + 7000) == TokenStep(ONE)
    with pytest.raises(TokenUnobtainable):
        tokens.wanted(START + 7080)


def test_a_refusal_takes_back_that_token_and_no_other() -> None:
    tokens = with_token()
    assert tokens.refused(THREE, START + 100).token == ONE
    step = tokens.refused(ONE, START + 100)
    assert step.token is None
    assert asks(tokens, step, START + 100)
    assert tokens.obtained(TWO, START + 101).token == TWO
    # The old one's refusal comes late.
    assert tokens.refused(ONE, START + 102).token == TWO


def test_a_refused_token_waits_for_the_budget() -> None:
    tokens = with_token()
    step = tokens.refused(ONE, START + 10)
    assert step == TokenStep(None, (SaveTokenState(tokens.state),), START + 65)
    assert tokens.state.token is None


def test_two_refusals_in_a_row_end_it_and_an_acceptance_between_them_does_not() -> None:
    tokens = with_token()
    tokens.refused(ONE, START + 100)
    tokens.obtained(TWO, START + 101)
    tokens.accepted(TWO)
    assert tokens.refused(TWO, START + 200).token is None
    tokens.obtained(THREE, START + 201)
    tokens.accepted(ONE)
    with pytest.raises(TokenUnobtainable, match="fresh"):
        tokens.refused(THREE, START + 202)


def test_a_token_service_that_repeats_a_refused_token_ends_it() -> None:
    tokens = with_token()
    tokens.refused(ONE, START + 100)
    with pytest.raises(TokenUnobtainable, match="gives out"):
        tokens.obtained(ONE, START + 101)


def test_what_another_process_stored_is_used_but_not_what_was_refused_here() -> None:
    tokens = service()
    stored = with_token().state
    assert tokens.loaded(stored, START + 5).token == ONE
    tokens.refused(ONE, START + 100)
    assert tokens.loaded(stored, START + 101).token is None


@pytest.mark.parametrize("seconds", [0, -500])
def test_a_block_that_another_process_does_not_know_of_is_not_forgotten(seconds: float) -> None:
    tokens = with_token()
    tokens.refused(ONE, START + 100)
    assert FetchNewToken() in tokens.stored(START + 101).actions
    other = tokens.state
    tokens.failed(error(ApiErrorMeaning.RATE_LIMIT), START + 102)
    # The clock may be set meanwhile.
    tokens.set_back(-seconds)
    # The other one has stored an order call, say, before it could know.
    step = tokens.loaded(other, START + 103 + seconds)
    assert step.deadline == START + 102 + 3600 + seconds
    assert tokens.state.not_before == step.deadline


def test_failures_that_another_process_does_not_know_of_are_counted() -> None:
    tokens, wall, other = service(), START, TokenState()
    for number in range(1, 8):
        assert tokens.loaded(other, wall).actions
        assert FetchNewToken() in tokens.stored(wall).actions
        # The other one stores what it knew before.
        other = attrs.evolve(tokens.state, not_before=wall + 65)
        wall = tokens.failed(None, wall).deadline or 0.0
        assert tokens.state.failures == number
    tokens.loaded(other, wall - 1)
    assert tokens.state.failures == 7
    # A token that it has got is the end of them.
    assert tokens.loaded(TokenState(TWO, wall, wall, wall + 65), wall).token == TWO
    assert tokens.state.failures == 0


def test_a_failure_does_not_end_a_block_that_another_process_was_told_of() -> None:
    tokens = service()
    assert asks(tokens, tokens.wanted(START), START)
    tokens.loaded(TokenState(asked_at=START, not_before=START + 3600, failures=1), START + 5)
    assert tokens.failed(None, START + 10).deadline == START + 3600


def test_a_token_of_another_process_that_is_accepted_refutes_the_end() -> None:
    tokens = with_token()
    tokens.refused(ONE, START + 100)
    assert FetchNewToken() in tokens.stored(START + 101).actions
    tokens.obtained(TWO, START + 102)
    with pytest.raises(TokenUnobtainable):
        tokens.refused(TWO, START + 103)
    assert tokens.is_over
    stored = TokenState(THREE, START + 200, START + 200, START + 265)
    assert tokens.loaded(stored, START + 210).token == THREE
    assert tokens.is_over
    tokens.accepted(THREE)
    assert not tokens.is_over


def test_a_clock_that_was_set_back_costs_one_interval() -> None:
    tokens = service(TokenState(asked_at=START, not_before=START + 65))
    assert tokens.wanted(START - 10_000).deadline == START - 10_000 + 65
    assert reserves(tokens.wanted(START - 10_000 + 65))
    assert reserves(service(TokenState(asked_at=START)).wanted(START - 10))
    young = service(TokenState(ONE, START, START, START + 65))
    assert young.wanted(START - 500).token == ONE


def test_a_token_is_renewed_before_it_ends_or_the_settings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="soft_age"):
        AccountConfig(token_soft_age=7080)


class Tokens(RuleBasedStateMachine):
    """Any life of any number of processes, one after the other. The exchange is the oracle."""

    @initialize()
    def begin(self) -> None:
        self.now = START
        self.stored = TokenState()
        self.unstored: TokenState | None = None
        self.requests: list[float] = []
        self.given: list[Token] = []
        self.tokens = service(self.stored)
        self.is_over = False

    def take(self, call: Any, *arguments: Any) -> None:
        try:
            step: TokenStep = call(*arguments)
        except TokenUnobtainable:
            self.is_over = True
            return
        for action in step.actions:
            match action:
                case SaveTokenState(state):
                    self.unstored = state
                case FetchNewToken():
                    # The budget was stored first, or this process could be killed unnoticed.
                    assert self.stored.asked_at is not None
                    assert self.now - self.stored.asked_at < 5
                    self.requests.append(self.now)
        assert step.token is None or step.token in self.given

    @precondition(lambda self: self.unstored is not None)
    @rule()
    def store(self) -> None:
        assert self.unstored is not None
        self.stored, self.unstored = self.unstored, None
        self.take(self.tokens.stored, self.now)

    @precondition(lambda self: self.unstored is not None)
    @rule()
    def fail_to_store(self) -> None:
        self.unstored = None
        self.take(self.tokens.not_stored, self.now)

    @rule(seconds=st.floats(0, 2) | st.floats(0, 5000))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def want(self) -> None:
        self.take(self.tokens.wanted, self.now)

    @precondition(lambda self: self.tokens.is_fetching)
    @rule()
    def obtain(self) -> None:
        self.given.append(Token(f"topapi:{len(self.given)}"))
        self.take(self.tokens.obtained, self.given[-1], self.now)

    @precondition(lambda self: self.tokens.is_fetching)
    @rule(
        meaning=st.none() | st.sampled_from(ApiErrorMeaning),
        retry_after=st.none() | st.floats(0, 9999),
    )
    def fail(self, meaning: ApiErrorMeaning | None, retry_after: float | None) -> None:
        failure = None if meaning is None else error(meaning, retry_after)
        self.take(self.tokens.failed, failure, self.now)

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        self.take(self.tokens.refused, data.draw(st.sampled_from(self.given)), self.now)

    @precondition(lambda self: self.given)
    @rule()
    def accept(self) -> None:
        self.tokens.accepted(self.given[-1])

    @rule()
    def the_process_is_killed_and_starts_again(self) -> None:
        self.tokens = service(self.stored)
        self.unstored = None
        self.is_over = False

    @invariant()
    def the_exchange_never_sees_two_requests_within_a_minute(self) -> None:
        assert all(
            later - earlier > 60
            for earlier, later in zip(self.requests, self.requests[1:], strict=False)
        )

    @invariant()
    def an_expired_token_is_not_given_out(self) -> None:
        if not self.is_over:
            state = self.tokens.state
            if state.obtained_at is not None and self.now - state.obtained_at >= 7080:
                self.take(lambda: self.tokens.wanted(self.now))
                if not self.is_over:
                    assert self.tokens.wanted(self.now).token is None


TestTokens = Tokens.TestCase
TestTokens.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
