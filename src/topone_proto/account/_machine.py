"""A whole account as one machine: a session, its tokens, the account, and the healing of it.

Theory. Four machines share the inputs:

- the *session* dials, subscribes and names what may have been missed;
- the *account* folds the session's events, and says what has to be asked;
- the *tokens* say with which token to dial and to ask, and when to get another one;
- the *healer* sends the account's questions, one at a time, within the budgets.

Every input goes to the machine that it is for. Then all of them are looked at, in a fixed order,
until nothing is due: a token that the session waits for, a request for a token, a question, and the
state that has to be stored. So the step that one input returns has everything that it caused.

``requests`` says how a request leaves and what its answer changes, and this module what joins them
to the session.

Invariants:

- Nothing is dialled without a token, however long the budget takes to allow one: the session's own
  timeout of a token does not run then. Dialling again never causes a request for a token.
- While the application is behind (``reading_paused``) nothing new is asked, since every answer and
  every failure would bring it more events than it has room for.
- After ``Closed`` there is no action and no deadline, and whatever still comes is ignored.
"""

from collections.abc import Callable, Iterable
from typing import Final

from attrs import evolve

from topone_proto.account._actions import AccountStep
from topone_proto.account._config import AccountConfig
from topone_proto.account._requests import Requester
from topone_proto.account._stored import StoredState
from topone_proto.account._work import Caused
from topone_proto.events import Closed, Connected, Disconnected, Event
from topone_proto.failures import Failure, FailureKind
from topone_proto.secrets.token import Token
from topone_proto.session.actions import Close, Connect, FetchToken
from topone_proto.session.config import SessionConfig
from topone_proto.session.endpoint import Endpoint
from topone_proto.session.session import Session
from topone_proto.session.states import SessionState
from topone_proto.session.step import Step
from topone_proto.wire.http import Credentials
from topone_proto.wire.topic import Topic

__all__ = ["Machine"]

_MAX_DETAIL: Final = 512


class Machine(Requester):
    """The parts of an account session and what joins them. ``AccountSession`` has the inputs."""

    def __init__(
        self,
        source: Credentials | Token | None,
        topics: Iterable[Topic],
        endpoint: Endpoint | None,
        config: SessionConfig | None,
        settings: AccountConfig,
        state: StoredState,
        max_closed: int,
        jitter: Callable[[], float],
        wall: Callable[[], float],
        make_session: Callable[..., Session],
    ) -> None:
        super().__init__(source, settings, state, max_closed, jitter, wall)
        self._session = make_session(
            topics,
            endpoint=endpoint,
            token=source if isinstance(source, Token) else None,
            config=config,
            jitter=jitter,
        )
        self._failure: Failure | None = None
        self._session_deadline: float | None = None
        self._own_deadline: float | None = None
        # True while the session waits for a token of ours.
        self._awaits_token = False
        self._dialled: Token | None = None
        # The last failure of a dial, if it refused a token of ours.
        self._refusal: Failure | None = None
        self._has_ended = False
        # True if the account has nothing to ask.
        self._is_settled = False
        # True while the application is behind.
        self._is_paused = False

    @property
    def _is_running(self) -> bool:
        return self._session.state not in {SessionState.NEW, SessionState.CLOSED}

    # --- the session ----------------------------------------------------------------------------

    def _of(self, step: Step, now: float) -> AccountStep:
        """A step of the session. Most of them cause nothing here."""
        if step.events or any(isinstance(action, Connect | FetchToken) for action in step.actions):
            caused = Caused()
            self._take(step, caused, now)
            return self._settle(caused, now)
        self._session_deadline = step.deadline
        return AccountStep((), step.actions, self._deadline())

    def _take(self, step: Step, caused: Caused, now: float) -> None:
        """Take a step of the session to the other machines."""
        self._session_deadline = step.deadline
        for event in step.events:
            event = self._hear(event)  # noqa: PLW2901 - the same event, with all causes
            changes = self.account.apply(event)
            # Nothing comes after the end.
            caused.events += (*changes, event) if isinstance(event, Closed) else (event, *changes)
            self._heard_at = now
        for action in step.actions:
            match action:
                case FetchToken() if self._tokens.is_own:
                    self._awaits_token = True
                    continue
                case Connect(token=token):
                    self._dialled = token
                case _:
                    pass
            caused.actions.append(action)

    def _pause(self, step: Step, now: float, *, is_paused: bool) -> AccountStep:
        """A step of the session that says whether the application is behind."""
        self._is_paused = is_paused
        caused = Caused()
        self._take(step, caused, now)
        return self._settle(caused, now)

    def _hear(self, event: Event) -> Event:
        """Take what an event of the session says of a token; return the event with all of its
        causes."""
        match event:
            case Connected() if self._dialled is not None:
                self._refusal = None
                self._tokens.accepted(self._dialled)
            case Disconnected(reason=Failure(kind=FailureKind.TOKEN)) if self._refusal is not None:
                return evolve(event, reason=self._refusal)
            case Closed(failure=failure):
                self._failure = failure
            case _:
                pass
        return event

    def _judge(self, failure: Failure, now: float) -> Failure:
        """The failure of a dial, as the session is to take it. A refusal of a token of ours is no
        reason for it to end: what a refusal proves, the token service knows."""
        is_dial = self._session.state is SessionState.CONNECTING and self._tokens.is_own
        if not (is_dial and failure.refuses_token and self._dialled is not None):
            return failure
        self._refusal = failure
        problem = f"HTTP {failure.status} in a handshake"
        self._tokens.refused(self._dialled, problem, now, self._look_at_clock(now))
        return Failure(FailureKind.TOKEN, retry_after=failure.retry_after)

    def _end(self, step: Step, failure: Failure | None, caused: Caused, now: float) -> None:
        """Take the session's last step, with the reason for it."""
        if self._awaits_token:
            # The session believes that the application is asked for a token: nobody is.
            self._awaits_token = False
            actions = (action for action in step.actions if not isinstance(action, Close))
            step = evolve(step, actions=tuple(actions))
        if failure is not None:
            events = [Closed(failure) if isinstance(e, Closed) else e for e in step.events]
            step = evolve(step, events=tuple(events))
        self._take(step, caused, now)

    # --- what is due ----------------------------------------------------------------------------

    def _settle(self, caused: Caused, now: float) -> AccountStep:
        """Do everything that is due by now."""
        if self._has_ended:
            return AccountStep()
        wall = self._look_at_clock(now)
        if self._is_running:
            if not self._is_paused:
                self._tokens.update(now, wall)
            self._dial(caused, now)
        # Not if there is no token to dial with: that was the end.
        if self._is_running:
            # Its budget is stored already.
            self._renew(caused, now, wall)
            self._waits.note(caused.events, now)
            if not self._is_paused:
                self._say_wait(caused, now)
                self._heal(caused, now, wall)
            if not self._is_paused or self._store.deadline is None:
                self._save(caused, now)
            self._own_deadline = self._find_deadline(now, wall)
        if self._session.state is SessionState.CLOSED:
            self._under_way.clear()
            self._reserved = self._session_deadline = self._own_deadline = None
            self._has_ended = True
        self._is_settled = self.account.is_settled
        return AccountStep(tuple(caused.events), tuple(caused.actions), self._deadline())

    def _dial(self, caused: Caused, now: float) -> None:
        """Give the session the token that it waits for."""
        tokens = self._tokens
        if not self._awaits_token:
            return
        if tokens.token is not None:
            self._awaits_token = False
            self._take(self._session.token_obtained(tokens.token, now), caused, now)
        elif tokens.failure is not None:
            detail = str(tokens.failure)
            if tokens.causes:
                detail += f"; refused with: {tokens.causes}"
            failure = Failure(FailureKind.TOKEN) if self._refusal is None else self._refusal
            failure = evolve(failure, detail=detail[:_MAX_DETAIL])
            self._end(self._session.close(now), failure, caused, now)

    # --- deadlines ------------------------------------------------------------------------------

    def _deadline(self) -> float | None:
        times = [None if self._awaits_token else self._session_deadline, self._own_deadline]
        return min((at for at in times if at is not None), default=None)

    def _find_deadline(self, now: float, wall: float) -> float | None:
        times: list[float | None] = [request.expires_at for request in self._under_way]
        if self._is_paused:
            return min((at for at in times if at is not None), default=None)
        times += [self._tokens.deadline, self._store.deadline, self._look_at]
        times.append(self._healer.suspicions.deadline)
        is_busy = any(request.waiting is not None for request in self._under_way)
        if not is_busy and self._reserved is None and self._tokens.token is not None:
            times.append(self._healer.deadline(now, self._budget.free_at(now, wall)))
        return min((at for at in times if at is not None), default=None)
