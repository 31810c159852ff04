"""The certificates that are trusted by default: read off the event loop, once, and again when they
have changed."""

import asyncio
import ssl
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

import topone_asyncio
import topone_trio
from frames import TOKEN
from topone_asyncio import over_aiohttp
from topone_proto import Connect, ConnectionFailed, Endpoint, Token
from topone_trio import _dial, over_websockets
from topone_websockets import _certificates, default_context

NOWHERE = Connect(Endpoint("wss://127.0.0.1:1/"), Token(TOKEN), 10.0, 2**20)

PROTOCOL = ssl.PROTOCOL_TLS_CLIENT

CONTEXTS: dict[str, Callable[[], ssl.SSLContext]] = {
    "topone_websockets": default_context,
    "topone_trio": _dial._context,
}


@pytest.fixture(autouse=True)
def nothing_is_read_yet() -> None:
    _certificates._context.cache_clear()
    _dial._read.cache_clear()


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_context_serves_until_its_files_change(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = CONTEXTS[name]
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "nowhere"))
    system = context()
    assert context() is system
    path = tmp_path / "ca.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    without = context()
    path.write_text("")
    empty = context()
    assert context() is empty
    path.write_bytes(trustme.CA().cert_pem.bytes())
    made = context()
    assert [len(each.get_ca_certs()) for each in (without, empty, made)] == [0, 0, 1]
    path.unlink()
    assert context().get_ca_certs() == []


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_path_that_cannot_be_looked_at_is_no_error(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ssl.get_default_verify_paths()._replace(cafile="/dev/null/below", capath="")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    assert CONTEXTS[name]() is CONTEXTS[name]()


@pytest.mark.parametrize("name", CONTEXTS)
def test_the_store_of_windows_is_read_at_every_dial(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ssl, "create_default_context", partial(ssl.SSLContext, PROTOCOL))
    assert CONTEXTS[name]() is not CONTEXTS[name]()


def dial_in_asyncio(open_websocket: Any) -> None:
    async def main() -> None:
        with pytest.raises(ConnectionFailed):
            async with open_websocket(NOWHERE, print):
                pass

    asyncio.run(main())


def dial_in_trio(open_websocket: Any) -> None:
    async def main() -> None:
        with pytest.raises(ConnectionFailed):
            async with open_websocket(NOWHERE, print):
                pass

    trio.run(main)


DIALS: dict[str, Callable[[], None]] = {
    "asyncio": lambda: dial_in_asyncio(topone_asyncio.open_websocket),
    "asyncio over aiohttp": lambda: dial_in_asyncio(over_aiohttp.open_websocket),
    "trio": lambda: dial_in_trio(topone_trio.open_websocket),
    "trio over websockets": lambda: dial_in_trio(over_websockets.open_websocket),
}


@pytest.mark.parametrize("name", DIALS)
def test_certificates_are_read_in_a_thread_and_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[threading.Thread] = []
    create = ssl.create_default_context

    def read() -> ssl.SSLContext:
        readers.append(threading.current_thread())
        return create()

    monkeypatch.setattr(ssl, "create_default_context", read)
    for _ in range(2):
        DIALS[name]()
    [reader] = readers
    assert reader is not threading.main_thread()
