"""Single questions over HTTP, for the commands that ask one after the other."""

import asyncio
import ssl

from topone_asyncio._http import open_http
from topone_proto import ConnectionFailed, Failure, FailureKind
from topone_proto.adapters import HttpEndpoint
from topone_proto.wire.http import HttpRequest, HttpResponse

__all__ = ["fetch"]


def fetch(
    endpoint: HttpEndpoint,
    request: HttpRequest,
    timeout: float,
    ssl_context: ssl.SSLContext | None = None,
) -> HttpResponse:
    """Send a request and return the whole answer, whatever its status is.

    Args:
        endpoint: where to.
        request: the question.
        timeout: seconds that it may take.
        ssl_context: for a private CA.

    Raises:
        ConnectionFailed: there is no answer; its ``failure`` says why.
    """

    async def ask() -> HttpResponse:
        client = open_http(endpoint, ssl_context)
        try:
            async with asyncio.timeout(timeout):
                return await client.fetch(request)
        except TimeoutError:
            detail = f"no answer within {timeout:g} s"
            raise ConnectionFailed(Failure(FailureKind.TIMEOUT, detail)) from None
        finally:
            await client.aclose()

    return asyncio.run(ask())
