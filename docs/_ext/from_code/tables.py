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

import topone_asyncio
import topone_proto
import topone_simulator
import topone_threads
import topone_trio
from topone_proto import (
    Action,
    Closed,
    Connect,
    Disconnected,
    Event,
    Failure,
    FailureKind,
    Session,
    SessionConfig,
    Token,
    TopOneError,
    errors,
    events,
)
from topone_proto.capture import CaptureError

__all__ = ["DIRECTIVES"]

_PACKAGES: Final = (topone_proto, topone_trio, topone_asyncio, topone_threads, topone_simulator)


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


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
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

    def text(self) -> str:
        docs = field_docs(SessionConfig)
        return _table(
            ("setting", "default", "meaning"),
            (
                (
                    f"{{attr}}`~topone_proto.config.SessionConfig.{field.name}`",
                    _default(field),
                    docs[field.name],
                )
                for field in attrs.fields(SessionConfig)
            ),
        )


def _default(field: "attrs.Attribute[Any]") -> str:
    value = getattr(SessionConfig(), field.name)
    kind = str(field.type)
    if value is None:
        return "none"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if "float" in kind:
        return f"{value:g} s"
    return f"`{value!r}`" if isinstance(value, str) else f"{value:,}".replace(",", " ")


class EventTable(TableDirective):
    """The classes of ``Event``, each with its fields."""

    def text(self) -> str:
        return _of_classes(get_args(Event), "event")


class ActionTable(TableDirective):
    """The classes of ``Action``, each with its fields."""

    def text(self) -> str:
        return _of_classes(get_args(Action), "action")


def _of_classes(classes: Iterable[type], word: str) -> str:
    return _table(
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
        classes = [c for c in [*gathered, CaptureError] if issubclass_of_ours(c)]
        return _table(
            ("exception", "what it means, what to do"),
            ((f"{{class}}`~{cls.__module__}.{cls.__qualname__}`", _prose(cls)) for cls in classes),
        )


def issubclass_of_ours(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, TopOneError) and cls is not TopOneError


class Failures(TableDirective):
    """Every ``FailureKind``: meaning and advice."""

    def text(self) -> str:
        docs = field_docs(FailureKind)
        return _table(
            ("kind", "what happened", "what to check"),
            ((f"`{kind.value}`", docs[kind.name], Failure(kind).advice) for kind in FailureKind),
        )


class ApiTable(TableDirective):
    """Every name that ``topone_proto`` and the adapters export, with its summary."""

    def text(self) -> str:
        return _table(
            ("name", "from", "what it is"),
            (
                (_reference(package, name), f"`{package.__name__}`", _about(package, name))
                for package in _PACKAGES
                for name in sorted(package.__all__, key=str.lower)
            ),
        )


def _reference(package: ModuleType, name: str) -> str:
    role = "class" if isinstance(getattr(package, name), type) else "obj"
    return f"{{{role}}}`{name} <{_home(package, name)}.{name}>`"


def _home(package: ModuleType, name: str) -> str:
    """The module that a name is documented in: one that exports it, best a public one."""
    modules = [found for found in sorted(sys.modules) if found.startswith("topone_")]
    homes = [
        module
        for module in modules
        if module != "topone_proto" and name in getattr(sys.modules[module], "__all__", ())
        if getattr(sys.modules[module], name) is getattr(package, name)
    ]
    thing = getattr(package, name)
    if not (isinstance(thing, type) or inspect.isfunction(thing)):
        homes = [home for home in homes if ("", name) in _attr_docs(home)]
    return min(
        homes, key=lambda home: ("._" in home, home != getattr(thing, "__module__", home), home)
    )


def _attr_docs(module: str) -> dict[tuple[str, str], list[str]]:
    return ModuleAnalyzer.for_module(module).find_attr_docs()


def _about(package: ModuleType, name: str) -> str:
    thing = getattr(package, name)
    if isinstance(thing, type) or inspect.isfunction(thing):
        return summary(thing)
    text = " ".join(_attr_docs(_home(package, name))["", name])
    return text.partition(". ")[0].strip().removesuffix(".") + "."


_STATUSES: Final = (301, 401, 403, 404, 429, 500, 503)


class Statuses(TableDirective):
    """What a session does about an answer to the handshake; asked of a session."""

    def text(self) -> str:
        rows = []
        for status in _STATUSES:
            failure = Failure(FailureKind.HANDSHAKE, status=status)
            rows.append((str(status), _reaction(failure), failure.advice))
        return _table(("HTTP status", "the feed", "what to check"), rows)


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


DIRECTIVES: Final = {
    "api-table": ApiTable,
    "action-table": ActionTable,
    "event-table": EventTable,
    "exception-table": Exceptions,
    "failure-table": Failures,
    "settings-table": Settings,
    "status-table": Statuses,
}
