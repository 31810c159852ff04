"""Tables of settings, events, actions and errors, from the classes and their docstrings."""

import inspect
import re
import sys
from collections.abc import Iterable
from enum import Enum
from types import ModuleType
from typing import Any, Final, get_args

import attrs
from docutils import nodes
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import topone_accounts
import topone_asyncio
import topone_proto
import topone_simulator
import topone_threads
import topone_trio
import topone_websockets
from topone_accounts import StoreError
from topone_proto import (
    Action,
    Closed,
    Connect,
    Disconnected,
    Failure,
    FailureKind,
    Session,
    SessionConfig,
    Token,
    TopOneError,
    account,
    adapters,
    capture,
    errors,
    events,
    exchange,
    failures,
    models,
    plain,
    relay,
)
from topone_proto.account import AccountConfig
from topone_proto.capture import CaptureError
from topone_proto.events import event_classes
from topone_proto.feed import (
    account_core,
    account_metrics,
    account_view,
    async_account,
    async_feed,
    callbacks,
    link,
    metrics,
    opening,
    opening_accounts,
    runtime,
    waiters,
    websocket,
)
from topone_proto.feed import buffer as delivery
from topone_proto.feed import core as feed
from topone_proto.feed import http as account_io
from topone_proto.relay import EnvelopeError, RelayConfig
from topone_proto.secrets import token
from topone_proto.session import (
    actions,
    address,
    answers,
    config,
    connection,
    endpoint,
    handshake,
    proxies,
    session,
    states,
    step,
    subscriptions,
)
from topone_proto.session import failures as session_failures
from topone_proto.testing import conformance, simulation, strategies
from topone_proto.testing.conformance import SCENARIOS, Group
from topone_proto.wire import codec, families, http, messages, requests
from topone_proto.wire import topic as topics
from topone_proto.wire.families import FAMILIES

__all__ = ["DIRECTIVES", "TableDirective", "table"]


def field_docs(cls: type) -> dict[str, str]:
    """The docstrings under the fields of a class, by the field's name."""
    found = ModuleAnalyzer.for_module(cls.__module__).find_attr_docs()
    return {
        name: " ".join(lines).strip()
        for (owner, name), lines in found.items()
        if owner == cls.__qualname__
    }


def summary(thing: object) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())


def _prose(thing: object) -> str:
    """A docstring without its sections of arguments and errors, in one line."""
    text = re.split(r"\n\n(?:Args|Raises):", inspect.getdoc(thing) or "")[0]
    return " ".join(text.split())


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    return "\n".join([_row(*heads), "|---" * len(heads) + "|", *(_row(*row) for row in rows)])


class TableDirective(SphinxDirective):
    """A directive that is written in the page's own language."""

    def text(self) -> str:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(self.text())


class Settings(TableDirective):
    """Every field of ``SessionConfig``, its default, its unit and what it means."""

    settings: type[Any] = SessionConfig

    def text(self) -> str:
        cls = self.settings
        # A private module is its package's own affair.
        home = f"{cls.__module__.partition('._')[0]}.{cls.__qualname__}"
        docs, defaults = field_docs(cls), cls()
        return table(
            ("setting", "default", "meaning"),
            (
                (f"{{attr}}`~{home}.{field.name}`", _default(field, defaults), docs[field.name])
                for field in attrs.fields(cls)
            ),
        )


class AccountSettings(Settings):
    """Every field of ``AccountConfig``, in the same way."""

    settings = AccountConfig


class RelaySettings(Settings):
    """Every field of ``RelayConfig``, in the same way."""

    settings = RelayConfig


def _default(field: "attrs.Attribute[Any]", defaults: object) -> str:
    value = getattr(defaults, field.name)
    kind = str(field.type)
    if value is None:
        return "none"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if "float" in kind:
        return f"{value:g}\N{NO-BREAK SPACE}s"
    return (
        f"`{value}`" if isinstance(value, str) else f"{value:,}".replace(",", "\N{NO-BREAK SPACE}")
    )


class EventTable(TableDirective):
    """The classes of ``Event``, each with its fields."""

    def text(self) -> str:
        return _of_classes(event_classes(), "event")


class ActionTable(TableDirective):
    """The classes of ``Action``, each with its fields."""

    def text(self) -> str:
        return _of_classes(get_args(Action), "action")


def _of_classes(classes: Iterable[type], word: str) -> str:
    return table(
        (word, "fields", "meaning"),
        (
            (
                f"{{class}}`~{cls.__module__}.{cls.__qualname__}`",
                ", ".join(f"`{field.name}`" for field in attrs.fields(cls)) or "none",
                summary(cls),
            )
            for cls in classes
        ),
    )


class Exceptions(TableDirective):
    """Every exception of the project and what to do about it."""

    def text(self) -> str:
        gathered = [getattr(errors, name) for name in errors.__all__]
        gathered += [getattr(events, name) for name in events.__all__]
        classes = [
            c for c in [*gathered, CaptureError, EnvelopeError, StoreError] if issubclass_of_ours(c)
        ]
        return table(
            ("exception", "what it means, what to do"),
            (
                # A private module is its package's own affair.
                (f"{{class}}`~{cls.__module__.partition('._')[0]}.{cls.__qualname__}`", _prose(cls))
                for cls in classes
            ),
        )


def issubclass_of_ours(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, TopOneError) and cls is not TopOneError


class Failures(TableDirective):
    """Every ``FailureKind``: meaning and advice."""

    def text(self) -> str:
        docs = field_docs(FailureKind)
        return table(
            ("kind", "what happened", "what to check"),
            ((f"`{kind.value}`", docs[kind.name], Failure(kind).advice) for kind in FailureKind),
        )


_HOMES: Final = {
    "Adapters": (
        topone_trio,
        topone_asyncio,
        topone_threads,
        topone_accounts,
        topone_websockets,
    ),
    "Topics and what they bring": (
        *(sys.modules[family.update.__module__] for family in FAMILIES),
        families,
        topics,
        models,
    ),
    "Events": (events, messages, plain),
    "Settings": (config, endpoint, address, token),
    "When something goes wrong": (errors, failures, answers, session_failures),
    "Accounts, recordings, metrics": (account, http, requests, capture, metrics),
    "Relay": (relay,),
    "Machines": (session, connection, states, subscriptions, step, actions, codec),
    "For the author of an adapter": (
        feed,
        callbacks,
        link,
        waiters,
        delivery,
        async_feed,
        runtime,
        websocket,
        account_io,
        opening,
        account_core,
        account_view,
        async_account,
        account_metrics,
        opening_accounts,
        handshake,
        proxies,
    ),
    "A simulated exchange": (topone_simulator, exchange),
    "For tests": (strategies, simulation, conformance),
}


class ApiTables(TableDirective):
    """Every public name with its summary, by what it is for."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(self.text(), allow_section_headings=True)

    def text(self) -> str:
        shown: set[str] = set()
        lines: list[str] = []
        for title, modules in _HOMES.items():
            lines += [f"## {title}", ""]
            rows: list[tuple[str, str]] = []
            for module in modules:
                # An event is also a message: shown once, where it comes first.
                fresh = [
                    n for n in module.__all__ if n not in shown or n not in topone_proto.__all__
                ]
                rows += [(_link(module, name), _about(module, name)) for name in fresh]
                shown.update(fresh)
            lines += [table(("name", "what it is"), rows), ""]
        missing = {*topone_proto.__all__, *adapters.__all__} - shown
        if missing:
            raise self.error(f"no section in docs/_ext/from_code/tables.py for {missing}")
        return "\n".join(lines)


def _importable_from(module: ModuleType, name: str) -> str:
    """The module that a program imports a name from."""
    for gathering in (topone_proto, adapters):
        if getattr(gathering, name, None) is getattr(module, name) and name in gathering.__all__:
            return gathering.__name__
    return module.__name__


def _link(module: ModuleType, name: str) -> str:
    shown = f"{_importable_from(module, name)}.{name}"
    if "._" in _home(module, name):
        # A value that a private module explains has no place of its own to link to.
        return f"`{shown}`"
    role = "class" if isinstance(getattr(module, name), type) else "obj"
    return f"{{{role}}}`{shown} <{_home(module, name)}.{name}>`"


def _has_docstring(thing: object) -> bool:
    """True for classes, methods and functions, wrapped ones included. Others have theirs below
    them."""
    return (
        isinstance(thing, type)
        or inspect.ismethod(thing)
        or inspect.isfunction(inspect.unwrap(thing))  # type: ignore[arg-type]  # not only functions
    )


def _home(module: ModuleType, name: str) -> str:
    """The module that documents a name: the one that exports it, or the one that defines it."""
    thing = getattr(module, name)
    if _has_docstring(thing):
        home = thing.__module__
        # Under another name, or bound to what only this module has, it is documented here.
        is_here = "._" in home or inspect.ismethod(thing) or thing.__name__ != name
        return module.__name__ if is_here else home
    if ("", name) in _attr_docs(module.__name__):
        return module.__name__
    [home] = [
        found
        for found in sorted(sys.modules)
        if found.startswith(f"{module.__name__}.")
        and name in getattr(sys.modules[found], "__all__", ())
        and ("", name) in _attr_docs(found)
    ]
    return home


def _attr_docs(module: str) -> dict[tuple[str, str], list[str]]:
    return ModuleAnalyzer.for_module(module).find_attr_docs()


def _about(module: ModuleType, name: str) -> str:
    thing = getattr(module, name)
    if _has_docstring(thing):
        return summary(thing)
    text = " ".join(_attr_docs(_home(module, name))["", name])
    return text.partition(". ")[0].strip().removesuffix(".") + "."


_STATUSES: Final = (301, 401, 403, 404, 429, 500, 503)


class Statuses(TableDirective):
    """A session's reactions to an answer to the handshake; asked of a session."""

    def text(self) -> str:
        rows = []
        for status in _STATUSES:
            failure = Failure(FailureKind.HANDSHAKE, status=status)
            rows.append((str(status), _reaction(failure), failure.advice))
        return table(("HTTP status", "the feed", "what to check"), rows)


def _reaction(failure: Failure) -> str:
    soonest, latest = _retry(failure, 0.0), _retry(failure, 1.0)
    if soonest is None or latest is None:
        return "ends"
    return f"dials again, first after {soonest:g} to {latest:g} s"


def _retry(failure: Failure, chance: float) -> float | None:
    session = Session(token=Token("demo"), jitter=lambda: chance)
    [connect] = session.start(0.0).actions
    assert isinstance(connect, Connect)
    step = session.connection_failed(failure, 0.0)
    disconnected = step.events[0]
    assert isinstance(disconnected, Disconnected)
    assert (disconnected.retry_in is None) is isinstance(step.events[-1], Closed)
    return disconnected.retry_in


class Scenarios(TableDirective):
    """The scenarios of the conformance kit, by group, the cases of one in one row."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(self.text(), allow_section_headings=True)

    def text(self) -> str:
        docs = field_docs(Group)
        lines: list[str] = []
        for group in Group:
            rows: dict[str, tuple[str, list[str]]] = {}
            for scenario in SCENARIOS:
                if scenario.group is group:
                    name, _, case = scenario.name.partition(": ")
                    rows.setdefault(name, (scenario.doc, []))[1].append(case)
            rows_of_group = table(
                ("scenario", "cases", "what has to hold"),
                ((name, ", ".join(cases), doc) for name, (doc, cases) in rows.items()),
            )
            lines += [f"### {group.capitalize()}", "", docs[group.name], "", rows_of_group, ""]
        return "\n".join(lines)


DIRECTIVES: Final = {
    "api-tables": ApiTables,
    "action-table": ActionTable,
    "event-table": EventTable,
    "exception-table": Exceptions,
    "failure-table": Failures,
    "scenario-table": Scenarios,
    "settings-table": Settings,
    "account-settings-table": AccountSettings,
    "relay-settings-table": RelaySettings,
    "status-table": Statuses,
}
