"""The TLS settings of a dial that was given none: those of the system, read once.

Reading them takes some 20 to 200 ms, mostly for the system's file of authorities, and blocks. So
one context serves all dials of a process, until what it was read from has changed.
"""

import ssl
import sys
from functools import lru_cache
from pathlib import Path

__all__ = ["default_context"]


def default_context() -> ssl.SSLContext:
    """Return a context that checks certificates against the system's authorities, as they are set
    now (``SSL_CERT_FILE``, ``SSL_CERT_DIR``). It is shared: leave it as it is."""
    paths = ssl.get_default_verify_paths()
    # Windows has a store of its own, of which no file tells whether it has changed.
    unknown = object() if sys.platform == "win32" else None
    return _context((paths, _state(paths.cafile), _state(paths.capath), unknown))


@lru_cache(maxsize=1)
def _context(_: object) -> ssl.SSLContext:
    return ssl.create_default_context()


def _state(path: str | None) -> object:
    """Return what changes with a file or a directory."""
    try:
        found = Path(path).stat() if path else None
    except OSError:
        return None
    return found and (found.st_mtime_ns, found.st_size, found.st_ino)
