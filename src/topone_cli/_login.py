"""The commands login and logout: the key pair of an account."""

import sys
from functools import partial
from getpass import getpass
from typing import Annotated

import typer
from attrs import evolve

from topone_cli._complaints import complain, reported
from topone_cli._errors import CommandFailed
from topone_cli._help import Command
from topone_cli._options import (
    AccountNameOption,
    HttpUrlOption,
    InsecureOption,
    RefusedAppId,
    RefusedAppKey,
    parse_http_url,
)
from topone_cli._root import app
from topone_cli._token import has_terminal, import_keyring
from topone_proto import ConfigurationError, Credentials
from topone_proto.adapters import HttpEndpoint
from topone_proto.wire.requests import DEFAULT_HTTP_URL

__all__ = ["login", "logout"]


@app.command(
    cls=Command,
    epilog="""You are asked for the key at a prompt that does not show it. Without a terminal,
the app id is the first line of standard input, and the key the second.

[bold]Exit codes[/bold]

\b
0    the keys work, and are stored
1    they do not work, or could not be tried; nothing is stored
2    an argument or a setting is wrong, or an extra is not installed
130  ended by Ctrl-C, SIGTERM or SIGHUP

[bold]Examples[/bold]

\b
topone login
topone login --file
topone login --account desk-2
pass show topone | topone login""",
)
def login(
    *,
    file: Annotated[
        bool,
        typer.Option(
            "--file",
            help="Store them in a file that only you can read. Default: the system's keyring.",
        ),
    ] = False,
    account: AccountNameOption = "",
    http_url: HttpUrlOption = DEFAULT_HTTP_URL,
    insecure: InsecureOption = False,
    app_id: RefusedAppId = None,  # noqa: ARG001 - its callback refuses it
    app_key: RefusedAppKey = None,  # noqa: ARG001 - its callback refuses it
) -> None:
    """Store your account's app id and app key, after trying them.

    The other commands use them from then on; keys stored with --account are for 'topone relay'. To
    try them takes a token, of which the exchange gives one a minute.
    """
    endpoint = parse_http_url(http_url, insecure=insecure)
    with reported():
        from topone_accounts import FileStore, default_path
        from topone_cli._http import fetch
        from topone_cli._keys import store_in_file, store_in_keyring
        from topone_cli._prove import Prover

        if not file:
            import_keyring("a login without --file")
        keys = _ask(endpoint)
        store = FileStore(default_path(keys.app_id, endpoint))
        prover = Prover(partial(fetch, endpoint), store, complain)
        prover.prove(keys, is_new=True)
        typer.echo("The exchange has given a token for these keys: they are good.")
        if file:
            typer.echo(f"They are stored in {store_in_file(endpoint, keys, account)}.")
        else:
            store_in_keyring(endpoint, keys, account)
            typer.echo("They are stored in the keyring.")
        if account:
            typer.echo(f"To follow the account: topone relay, with a table [accounts.{account}]")
        else:
            typer.echo("To see the account: topone account")


@app.command(
    cls=Command,
    epilog="""[bold]Examples[/bold]

\b
topone logout""",
)
def logout(
    *,
    account: AccountNameOption = "",
    http_url: HttpUrlOption = DEFAULT_HTTP_URL,
    insecure: InsecureOption = False,
) -> None:
    """Delete the keys that login has stored, and the token that was made from them."""
    endpoint = parse_http_url(http_url, insecure=insecure)
    with reported():
        from topone_cli._keys import forget_keys, stored_keys

        keys = stored_keys(endpoint, account)
        if keys is not None:
            _forget_token(endpoint, keys)
        places = forget_keys(endpoint, account)
        if not places:
            raise CommandFailed(f"no keys are stored for {endpoint.url}")
        typer.echo(f"The keys are deleted from {' and '.join(places)}.")
        typer.echo("They still work: revoke them at the exchange if nobody is to use them.")


def _ask(endpoint: HttpEndpoint) -> Credentials:
    """Read the key pair, from a prompt or from standard input."""
    if has_terminal():
        sys.stderr.write(f"For {endpoint.url}, from the exchange's user centre:\n")
        sys.stderr.flush()
    try:
        return Credentials(_line("App id: "), _line("App key (it is not shown): "))
    except (ConfigurationError, EOFError):
        pass
    raise ConfigurationError(
        setting="keys",
        problem="the app id or the app key is missing",
        remedy="type both, or let standard input have two lines: the app id and the app key",
    )


def _line(prompt: str) -> str:
    if not has_terminal():
        return sys.stdin.readline().strip()
    if "not shown" in prompt:
        return getpass(prompt).strip()
    return input(prompt).strip()


def _forget_token(endpoint: HttpEndpoint, keys: Credentials) -> None:
    """Take the token out of the file that the processes share. The budget stays."""
    from topone_accounts import FileStore, default_path

    store = FileStore(default_path(keys.app_id, endpoint))
    try:
        state = store.load()
        while state.token.token is not None:
            token = evolve(state.token, token=None, obtained_at=None)
            found = store.save(evolve(state, token=token), state)
            if found is None:
                break
            state = found
    except OSError as error:
        raise CommandFailed(str(error)) from None
