"""Failures in words for whoever typed the command: its options, never the library's arguments."""

from typing import Final

from topone_proto import ConfigurationError, Failure, FailureKind

__all__ = [
    "VARIABLE",
    "CommandFailed",
    "explain",
    "explain_failure",
    "explain_problem",
    "in_options",
]

VARIABLE: Final = "TOPONE_TOKEN"
"""The environment variable that may hold the token."""

# What an argument of the library is called on the command line.
_NAMES: Final = {
    "insecure=True": "--insecure",
    "None (left out)": "no --origin",
    "token=...": f"{VARIABLE}, --token-file or --keyring",
    'pass origin=""': 'use --origin ""',
    "the URL of the token service": "--http-url",
    "check the request and the URL; asking": "check --http-url; asking",
    "a function as token= is asked for it, and open_account gets it from your key pair": "put it "
    f"into {VARIABLE}, --token-file or --keyring; topone account gets it from the keys of "
    "topone login",
}
_OPTIONS: Final = ("http_url", "insecure", "market_rate", "origin", "rate", "seed", "url")
_ADVICE: Final = {
    FailureKind.TLS: "check the clock and the certificate; for a private CA name its file in "
    "the environment variable SSL_CERT_FILE",
    FailureKind.TIMEOUT: "check the network, firewalls and proxies",
    FailureKind.TOKEN: "look at the file of --token-file, or at the keyring; they are read again "
    "before every dial",
    FailureKind.HANDSHAKE: "check that --url is the exchange's WebSocket URL, path included",
    FailureKind.NOT_WEBSOCKET: "check that --url is the exchange's WebSocket URL, path included",
    FailureKind.REFUSED: "check the host and the port of --url, and that the server runs",
    FailureKind.DNS: "check the host's name in --url and this machine's DNS",
}
# By its status, an answer says more than by its kind.
_OTHER_STATUS: Final = Failure(FailureKind.HANDSHAKE, status=404).advice


class CommandFailed(Exception):
    """A failure whose text says why and what to do. Exit code 1."""


def explain(error: ConfigurationError) -> str:
    """Return what is wrong with a setting and what to do, in words of the command."""
    setting = f"--{error.setting.replace('_', '-')}" if error.setting in _OPTIONS else error.setting
    return f"{setting}: {explain_problem(error)}"


def explain_problem(error: ConfigurationError) -> str:
    """Return the same without the setting's name."""
    return f"{error.problem}; {in_options(error.remedy)}"


def explain_failure(failure: Failure) -> str:
    """Return why there is no connection and what to check, in words of the command."""
    text = str(failure)
    advice = failure.advice
    if failure.kind is FailureKind.TOKEN:
        # The detail names an exception of this command's own.
        text = f"there is no token: {advice}"
    better = advice
    if failure.status is None or advice == _OTHER_STATUS:
        better = _ADVICE.get(failure.kind, advice)
    return text.removesuffix(advice) + in_options(better)


def in_options(text: str) -> str:
    """Return a text of the library with the command's options in place of its arguments."""
    for argument, option in _NAMES.items():
        text = text.replace(argument, option)
    return text
