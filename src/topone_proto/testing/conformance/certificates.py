"""A certificate authority of the kit's own, which nobody trusts unless asked to."""

import ssl
from functools import cache

__all__ = ["authority_pem", "client_context", "server_context"]

try:
    import trustme
except ModuleNotFoundError as _error:
    if _error.name != "trustme":
        raise
    raise ImportError(
        'the conformance kit needs trustme: pip install "topone-proto[testing]"', name="trustme"
    ) from None


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


@cache
def server_context(*names: str) -> ssl.SSLContext:
    """Return a context for a server of this authority; its names are ``localhost`` and
    ``127.0.0.1`` unless there are others."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority().issue_cert(*(names or ("localhost", "127.0.0.1"))).configure_cert(context)
    return context


@cache
def client_context() -> ssl.SSLContext:
    """Return a context that trusts this authority."""
    context = ssl.create_default_context()
    _authority().configure_trust(context)
    return context


def authority_pem() -> bytes:
    """The authority's own certificate, for a file."""
    return _authority().cert_pem.bytes()
