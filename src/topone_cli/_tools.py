"""The commands beside the feed: simulate and doctor."""

import socket
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from topone_cli._access import find_access
from topone_cli._checks import Check, show_checks
from topone_cli._complaints import FAILED, complain, fail, reported
from topone_cli._completion import complete_fault
from topone_cli._ctrl_c import run_asyncio
from topone_cli._errors import VARIABLE
from topone_cli._faults import FAULTS, FaultError, describe_fault, parse_fault, read_script
from topone_cli._help import Command
from topone_cli._options import (
    InsecureOption,
    KeyringOption,
    MaybeHttpUrlOption,
    RateOption,
    RefusedToken,
    SeedOption,
    TokenFileOption,
    UrlOption,
    check_positive,
    http_base,
    parse_http_url,
    require_tokenless,
)
from topone_cli._root import app
from topone_cli._usage import Misuse
from topone_proto import DEFAULT_URL, ConfigurationError, Credentials, Token

__all__ = ["doctor", "simulate"]

_FAULT_LIST: Final = "\n".join(describe_fault(name).replace("[", r"\[") for name in FAULTS)


@app.command(
    cls=Command,
    epilog=f"""[bold]Faults[/bold]

\b
{_FAULT_LIST}

A line of a script has the seconds after which a fault strikes, and the fault:
5 drop-connections

[bold]Examples[/bold]

\b
topone simulate --port 8765
topone simulate --port 8765 --fault "refuse-handshake status=503 times=3"
topone simulate --port 8765 --fault "refuse-http status=429 retry-after=20 path=order"
topone simulate --port 8765 --script faults.txt
topone simulate --port 8765 --http-port 8766 --keys bot made-up
{VARIABLE}=demo topone watch --url ws://127.0.0.1:8765/ws/user/""",
)
def simulate(
    *,
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="N", help="The WebSocket's TCP port; 0 picks a free one."
        ),
    ],
    http_port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="N", help="The HTTP API's TCP port; 0 picks a free one."
        ),
    ] = 0,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="The address to listen on.")
    ] = "127.0.0.1",
    rate: RateOption = 2.0,
    market_rate: Annotated[
        float,
        typer.Option(metavar="R", help="Actions of other traders in a second, on each market."),
    ] = 4.0,
    seed: SeedOption = 0,
    token: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A token to accept; may be given several times. Default: demo."
        ),
    ] = None,
    keys: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="ID KEY",
            help="The app id and app key of the HTTP API, made up by you. Default: new ones.",
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAULT",
            help="A fault to inject, see below; may be given several times.",
            autocompletion=complete_fault,
        ),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file of faults and their times, see below."),
    ] = None,
) -> None:
    """Run a simulated exchange for your own programs to connect to."""
    # No other command needs it, and it takes a third of the time to start.
    from topone_cli._simulate import simulate_exchange

    for name in token or ():
        try:
            Token(name).require_usable()
        except ConfigurationError as error:
            raise Misuse(f"--token: no client can have this: {error.problem}") from None
    try:
        credentials = None if keys is None else Credentials(*keys)
    except ConfigurationError as error:
        raise Misuse(f"--keys: {error.setting}: {error.problem}") from None
    try:
        faults = [(0.0, parse_fault(text)) for text in fault or ()]
        faults += [] if script is None else read_script(script)
    except FaultError as error:
        raise Misuse(f"{'--fault' if script is None else '--fault or --script'}: {error}") from None
    except OSError as error:
        raise Misuse(f"--script: {script} cannot be read ({error.strerror})") from None
    with reported():
        serving = simulate_exchange(
            host,
            port,
            token or ["demo"],
            rate=rate,
            market_rate=market_rate,
            seed=seed,
            script=faults,
            http_port=http_port,
            credentials=credentials,
        )
        try:
            run_asyncio(serving)
        except (socket.gaierror, UnicodeError):
            # It is not repeated: what is no host's name may be anything.
            fail("cannot listen: --host is not an address of this machine", FAILED)
        except OSError as error:
            fail(f"cannot listen on {host}:{port}: {error.strerror}", FAILED)


@app.command(
    cls=Command,
    epilog=f"""The keys and the token are those that 'topone account' uses. If there are
none, you are asked for a token.

[bold]Exit codes[/bold]

\b
0    a feed and an account will work
1    something is wrong; the last line says what
2    an argument or a setting is wrong, or an extra is not installed
130  ended by Ctrl-C, SIGTERM or SIGHUP

[bold]Examples[/bold]

\b
topone doctor
topone doctor --ping-wait 200
{VARIABLE}=demo topone doctor --url ws://127.0.0.1:8765/ws/user/""",
)
def doctor(
    *,
    url: UrlOption = DEFAULT_URL,
    http_url: MaybeHttpUrlOption = None,
    token_file: TokenFileOption = None,
    keyring: KeyringOption = False,
    insecure: InsecureOption = False,
    timeout: Annotated[
        float,
        typer.Option(
            callback=check_positive, metavar="N", help="Seconds that each check may take."
        ),
    ] = 10.0,
    ping_wait: Annotated[
        float,
        typer.Option(
            callback=check_positive, metavar="N", help="Seconds to wait for a ping of the server."
        ),
    ] = 5.0,
    json: Annotated[
        bool, typer.Option("--json", help="Print each check as one line of JSON, and nothing else.")
    ] = False,
    token: RefusedToken = None,  # noqa: ARG001 - its callback refuses it
) -> None:
    """Find out why a feed or an account does not work: check everything in its way, in turn."""
    require_tokenless(url)
    with reported():
        from topone_cli._doctor import check_url, examine
        from topone_cli._doctor_http import http_doctor

        where = check_url(url, insecure=insecure)
        if not where.ok:
            # Before anybody has to type a token for nothing.
            show_checks([where], Console(), json=json)
            raise typer.Exit(FAILED)
        endpoint = parse_http_url(http_base(url, http_url), insecure=insecure)
        access = find_access(endpoint, token_file, keyring=keyring, warn=complain, may_ask=True)
        has_http = access.keys is not None or http_url is not None or url == DEFAULT_URL
        http = http_doctor(endpoint, access, timeout)

        def checks() -> Generator[Check, None, None]:
            yield where
            yield from http.checks() if has_http else http.without_http()
            if http.token is not None:
                rest = examine(
                    url, http.token, insecure=insecure, timeout=timeout, ping_wait=ping_wait
                )
                yield from (check for check in rest if check.name != where.name)

        if not show_checks(checks(), Console(), json=json):
            raise typer.Exit(FAILED)
