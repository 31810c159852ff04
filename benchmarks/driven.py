"""Sessions and connections driven by hand, as an adapter drives them."""

import json
from collections.abc import Callable, Iterable

from topone_proto import (
    ORDERS,
    Connection,
    Endpoint,
    SendText,
    Session,
    SessionConfig,
    Step,
    Token,
    Topic,
)
from topone_proto.adapters import FeedCore

URL = "ws://127.0.0.1:1/"
TOPICS = (ORDERS,)


def request_of(step: Step) -> str:
    """The text that a step wants sent."""
    return next(action.text for action in step.actions if isinstance(action, SendText))


def answer_to(request: str) -> str:
    """The acknowledgement of a request."""
    asked = json.loads(request)
    return json.dumps({"id": asked["id"], "method": asked["method"], "code": 0, "msg": "", "ts": 1})


def connected(session: Session, now: float = 0.0) -> str:
    """Bring a session to its first request, and return that."""
    session.start(now)
    return request_of(session.connection_made(now))


def new_session(topics: Iterable[Topic] = TOPICS) -> Session:
    """A session that was not started."""
    return Session(topics, endpoint=Endpoint(URL), token=Token("token"), jitter=lambda: 0.5)


def active_session(topics: Iterable[Topic] = TOPICS) -> Session:
    """A session with active subscriptions."""
    session = new_session(topics)
    session.start(0.0)
    requests = [a.text for a in session.connection_made(0.0).actions if isinstance(a, SendText)]
    for request in requests:
        session.message_received(answer_to(request), 0.0)
    return session


def active_connection() -> Connection:
    """A connection with an active subscription."""
    connection = Connection()
    connection.message_received(answer_to(request_of(connection.subscribe(ORDERS, 0.0))), 0.0)
    return connection


def active_feed() -> FeedCore[Callable[[], object]]:
    """The core of a feed with an active subscription, all events taken."""
    core: FeedCore[Callable[[], object]] = FeedCore(
        token=Token("token"),
        url=URL,
        topics=TOPICS,
        config=SessionConfig(),
        origin=None,
        insecure=False,
        jitter=lambda: 0.5,
    )
    session = core.session
    core.take(session.start(0.0))
    step = session.connection_made(0.0)
    core.take(step)
    core.take(session.message_received(answer_to(request_of(step)), 0.0))
    while core.get() is not None:
        pass
    return core
