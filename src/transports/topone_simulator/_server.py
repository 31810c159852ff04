"""Serving: in the event loop that asks for it, or in a thread of its own."""

import asyncio
import contextlib
import logging
import ssl
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from concurrent.futures import Future
from typing import Final

from websockets.asyncio.server import serve as serve_websockets

from topone_proto.exchange import Gateway, GatewayConfig, LivingExchange
from topone_simulator._connection import Connection
from topone_simulator._core import Core
from topone_simulator._simulator import Simulator

__all__ = ["run_in_thread", "serve"]

_CLOSE_TIMEOUT: Final = 1.0


class _ErrorsOnly(logging.Logger):
    """websockets writes whole URLs, tokens included, at level DEBUG; no setting of the program may
    bring that out."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is logging's
        return level >= logging.ERROR


_logger: Final = _ErrorsOnly("topone_simulator.websockets")
_logger.parent = logging.getLogger("topone_simulator")


@contextlib.asynccontextmanager
async def serve(
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
        ssl_context: serves ``wss://`` instead of ``ws://``.

    Raises:
        OSError: the port cannot be listened on.
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
    gateway = Gateway(tokens, config=config, markets=living.markets, now=now)
    core = Core(gateway, living, next(iter(tokens.values()), "demo"))

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
        core.start()
        port = next(iter(server.sockets)).getsockname()[1]
        scheme = "ws" if ssl_context is None else "wss"
        address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        yield Simulator(core, address, port, config)
    finally:
        core.closing()
        server.close()
        await server.wait_closed()


@contextlib.contextmanager
def run_in_thread(
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
