"""Errors of redis-py and of the server, as errors of the bus."""

import asyncio
import re
import ssl
from collections.abc import Awaitable
from typing import TypeVar

from redis import exceptions

from topone_relay._bus import BusRefused, BusUnavailable
from topone_relay._cancelling import heeding_cancellation

__all__ = ["as_bus_errors"]

_T = TypeVar("_T")

_CREDENTIALS = re.compile("WRONGPASS|NOAUTH|invalid (username|password)|Authentication required")
_PERMISSION = re.compile("NOPERM|no permission", re.IGNORECASE)
# The server gets over these, or is helped. redis-py cuts the word off for which it has a class.
_PASSING = re.compile("MISCONF|LOADING|CLUSTERDOWN|BUSY|NOREPLICAS|UNKILLABLE")
_PASSING_CLASSES = (
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
)


async def as_bus_errors(call: str, answer: Awaitable[_T], patience: float) -> _T:
    """Return an answer; raise what it raises as an error of the bus.

    Args:
        call: The call of the bus that is under way.
        answer: The answer of redis-py.
        patience: The seconds to wait for it. redis-py is given no timeout of its own: it waits for
            that in a way that misses cancellations.

    Raises:
        BusUnavailable: try again later.
        BusRefused: trying again cannot help.
    """
    try:
        async with asyncio.timeout(patience):
            return await heeding_cancellation(answer)
    except (exceptions.RedisError, OSError, TimeoutError) as error:
        failure = _translated(call, error)
    except AttributeError as error:
        # To a connection that is lost, asyncio of Python 3.13.0 writes as if it still had a loop.
        if error.name != "_add_writer" or error.obj is not None:
            raise
        failure = BusUnavailable(call, "the connection is lost")
    # Out here it has no context: in that are frames with the password.
    raise failure


def _translated(call: str, error: BaseException) -> BusRefused | BusUnavailable:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        error = cause
    if isinstance(error, ssl.SSLCertVerificationError):
        return BusRefused(
            call,
            f"the server's certificate is not accepted ({error.verify_message})",
            "give connect(ssl_ca_certs=...) the certificate of its authority, and dial the name "
            "that it is for",
        )
    text = str(error)
    if isinstance(error, exceptions.AuthenticationError) or _CREDENTIALS.search(text):
        return BusRefused(
            call,
            "the server refuses the credentials",
            "check user and password in the URL or the options, and the server's users",
        )
    if isinstance(error, exceptions.ResponseError):
        if isinstance(error, exceptions.NoPermissionError) or _PERMISSION.search(text):
            return BusRefused(
                call,
                "the server does not permit this user to do that",
                "give the user the permissions that the page on setting up the bus lists",
            )
        if not isinstance(error, _PASSING_CLASSES) and not _PASSING.search(text):
            return BusRefused(
                call, f"the server says {text}", "check the server, which may be too old"
            )
        return BusUnavailable(call, f"the server says {text}")
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return BusUnavailable(call, "no answer in time")
    # Their texts name the address, so only the kind is told.
    return BusUnavailable(call, f"{type(error).__name__} of the connection")
