"""Serving: in the event loop that asks for it, or in a thread of its own."""

import asyncio
import contextlib
import logging
import secrets
import socket
import ssl
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from concurrent.futures import Future
from typing import Final

from websockets.asyncio.server import serve as serve_websockets

from topone_proto.exchange import (
    App,
    Gateway,
    GatewayConfig,
    HttpConfig,
    HttpDesk,
    LivingExchange,
    Tokens,
)
from topone_proto.wire.http import Credentials
from topone_simulator._connection import Connection
from topone_simulator._core import Core
from topone_simulator._http import HttpServer
from topone_simulator._simulator import Simulator

__all__ = ["run_in_thread", "serve"]

_CLOSE_TIMEOUT: Final = 1.0
# asyncio takes three from accepting a connection to its protocol's ``connection_made``.
_TURNS: Final = 5


class _ErrorsOnly(logging.Logger):
    """websockets writes whole URLs, tokens included, at level DEBUG; no setting of the program may
    bring that out."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is logging's
        return level >= logging.ERROR


_logger: Final = _ErrorsOnly("topone_simulator.websockets")
_logger.parent = logging.getLogger("topone_simulator")


@contextlib.asynccontextmanager
async def serve(  # noqa: PLR0913 - each by its name
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    tokens: Mapping[str, str] | None = None,
    config: GatewayConfig | None = None,
    rate: float = 0.0,
    market_rate: float = 0.0,
    history: float = 0.0,
    seed: int = 0,
    ssl_context: ssl.SSLContext | None = None,
    http_port: int = 0,
    http_config: HttpConfig | None = None,
    credentials: Credentials | None = None,
) -> AsyncGenerator[Simulator, None]:
    """Serve while the ``async with`` block runs; at its end every connection is closed.

    Args:
        host: the address to listen on.
        port: the TCP port to listen on; 0 for any that is free.
        tokens: which token opens which account; None for the one token ``demo`` of the account
            ``demo``. The first account is the living one.
        config: what kind of server it is; None for the defaults with the time of this machine.
        rate: how many events per second happen to the living account on average; 0 for none.
        market_rate: how many events per second and market others cause on average; 0 for none.
        history: for how many seconds others have traded before, for candles to pull: 21600 is six
            hours.
        seed: the source of all chance in the account's life and in the markets'.
        ssl_context: serves ``wss://`` and ``https://`` instead of ``ws://`` and ``http://``.
        http_port: the TCP port of the HTTP API; 0 for any that is free.
        http_config: what kind of HTTP API it is; None for the defaults.
        credentials: the key pair of the living account; None for a new one.

    Raises:
        OSError: a port cannot be listened on.
        ConfigurationError: a rate or the history is negative or not finite.
    """
    now = asyncio.get_running_loop().time()
    tokens = {"demo": "demo"} if tokens is None else tokens
    config = config or GatewayConfig(start_ts=round(time.time() * 1000))
    living = LivingExchange(
        seed,
        rate=rate,
        market_rate=market_rate,
        history=history,
        now=now,
        start_time=config.start_ts / 1000,
    )
    known, account_name = Tokens(tokens), next(iter(tokens.values()), "demo")
    gateway = Gateway(known, config=config, markets=living.markets, now=now)
    # A key pair of its own, since clients keep what they know of one in a file.
    credentials = credentials or Credentials(secrets.token_hex(16), secrets.token_hex(16))
    http_config = http_config or HttpConfig()
    desk = HttpDesk(
        {account_name: living.account},
        [App(credentials.app_id, credentials.reveal(), account_name)],
        tokens=known,
        config=http_config,
        markets=living.markets,
        clock=lambda now: gateway.server_ts(now) / 1000,
        seed=seed,
    )
    core = Core(gateway, desk, living, account_name)
    http = HttpServer(desk, core.loop.time, _logger, has_date=http_config.has_date)

    class Own(Connection):
        """Of this simulator."""

    Own.core = core
    # Everything that websockets would decide by itself is off: compression, keep-alive, time
    # limits, its header.
    server = await serve_websockets(
        core.handle,
        host,
        port,
        process_response=core.handshake,
        create_connection=Own,
        compression=None,
        ping_interval=None,
        open_timeout=None,
        close_timeout=_CLOSE_TIMEOUT,
        server_header=None,
        logger=_logger,
        ssl=ssl_context,
    )
    try:
        port = next(iter(server.sockets)).getsockname()[1]
        http_port = await http.start(host, http_port, ssl_context)
        core.start()
        secure = "" if ssl_context is None else "s"
        named = f"[{host}]" if ":" in host else host
        yield Simulator(
            core,
            address=f"ws{secure}://{named}:{port}",
            http_address=f"http{secure}://{named}:{http_port}",
            config=config,
            credentials=credentials,
        )
    finally:
        await _stop_accepting([*server.sockets, *http.sockets])
        core.closing()
        await http.close()
        server.close()
        await server.wait_closed()


async def _stop_accepting(listeners: Iterable[socket.socket]) -> None:
    """Accept no more connections, and wait until those that were accepted are known to their
    servers. A server that is closed in between leaves them open for ever."""
    loop = asyncio.get_running_loop()
    for listener in listeners:
        # Windows' own event loop has no readers.
        with contextlib.suppress(NotImplementedError):
            loop.remove_reader(listener.fileno())
    for _ in range(_TURNS):
        await asyncio.sleep(0)


@contextlib.contextmanager
def run_in_thread(  # noqa: PLR0913 - those of serve
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    tokens: Mapping[str, str] | None = None,
    config: GatewayConfig | None = None,
    rate: float = 0.0,
    market_rate: float = 0.0,
    history: float = 0.0,
    seed: int = 0,
    ssl_context: ssl.SSLContext | None = None,
    http_port: int = 0,
    http_config: HttpConfig | None = None,
    credentials: Credentials | None = None,
) -> Generator[Simulator, None, None]:
    """``serve`` in an event loop and a thread of its own while the ``with`` block runs, for any
    other program.

    Arguments and errors are those of ``serve``. The thread has ended when the block is left.
    """
    started: Future[tuple[Simulator, Callable[[], object]]] = Future()
    ended: Future[None] = Future()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with serve(
            host,
            port,
            tokens=tokens,
            config=config,
            rate=rate,
            market_rate=market_rate,
            history=history,
            seed=seed,
            ssl_context=ssl_context,
            http_port=http_port,
            http_config=http_config,
            credentials=credentials,
        ) as simulator:
            started.set_result((simulator, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(main())
            ended.set_result(None)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            (ended if started.done() else started).set_exception(error)

    thread = threading.Thread(target=run, name="topone-simulator", daemon=True)
    thread.start()
    simulator, stop = started.result()
    try:
        yield simulator
    finally:
        stop()
        thread.join()
        ended.result()
