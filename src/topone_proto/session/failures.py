"""The failure that an exception of an adapter's library stands for.

An adapter builds a ``Failure`` from an exception's class, an errno or a status line, never from a
library's message, since some libraries put the whole URL into theirs.
"""

from typing import Final, cast

from topone_proto.errors import ConnectionFailed
from topone_proto.failures import Failure, FailureKind

__all__ = ["failure_from_exception"]

# By name, because the core loads neither socket nor ssl. Looked up along the exception's MRO, most
# derived first.
_KINDS: Final = {
    "socket.gaierror": FailureKind.DNS,
    "ssl.SSLError": FailureKind.TLS,
    "builtins.ConnectionRefusedError": FailureKind.REFUSED,
    "builtins.TimeoutError": FailureKind.TIMEOUT,
    "builtins.OSError": FailureKind.NETWORK,
}


def failure_from_exception(error: BaseException) -> Failure:
    """Return the failure that an exception of a dial or of a socket stands for.

    Looks at the exception, at its cause as a traceback shows it, and at the members of exception
    groups, and takes the first that has a meaning here. A plain ``OSError`` counts only if nothing
    else says more, since libraries wrap other exceptions in one. An exception without a meaning
    here is ``NOT_WEBSOCKET``: the transport worked, and the answer was wrong. (On an open
    connection a session takes that for ``LOST``.)

    An exception that stands for an HTTP answer is ``NOT_WEBSOCKET`` as well, since each library has
    its own: take the status and the headers out of it, and use ``failure_from_response``. A
    ``ConnectionFailed`` has its failure.

    Of any other exception's text only an ``OSError``'s ``strerror`` and a certificate's
    ``verify_message`` are kept.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    network: Failure | None = None
    while waiting:
        current = waiting.pop(0)
        if current is None or id(current) in seen:
            continue
        if isinstance(current, ConnectionFailed):
            return current.failure
        seen.add(id(current))
        for cls in type(current).__mro__:
            kind = _KINDS.get(f"{cls.__module__}.{cls.__qualname__}")
            if kind is not None:
                detail = getattr(current, "verify_message", None) or getattr(
                    current, "strerror", None
                )
                failure = Failure(kind, detail if isinstance(detail, str) else "")
                if kind is not FailureKind.NETWORK:
                    return failure
                if network is None or not network.detail:
                    network = failure
                break
        waiting.append(
            current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        )
        if isinstance(current, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", current).exceptions
    return network or Failure(FailureKind.NOT_WEBSOCKET, type(error).__name__)
