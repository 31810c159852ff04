"""The shipped strategies: what they promise, that no branch starves, that Hypothesis has them."""

import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, TypeVar, get_args

import attrs
import pytest
from hypothesis import Phase, find, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning, NoSuchExample

import topone_proto
from topone_proto import (
    ORDERS,
    Action,
    BalanceUpdate,
    Event,
    Message,
    OrderUpdate,
    Ping,
    Request,
    Response,
    SessionConfig,
    Subscribed,
    SubscriptionRejected,
    Topic,
    Unsubscribed,
    Update,
    decode,
)
from topone_proto.capture import CaptureLine
from topone_proto.session.address import Address
from topone_proto.testing import hypothesis_plugin
from topone_proto.testing.strategies import (
    Conversation,
    Defect,
    Trouble,
    _values,
    any_frames,
    conversations,
    decimal_spellings,
    decimals,
    frames,
    json_values,
    messages,
    near_misses,
    pings,
    requests,
    spellings,
    text_frames,
    troubled_conversations,
    values,
    wire_fields,
)
from topone_proto.testing.strategies._json import Verbatim

ROOT = Path(__file__).parents[1]
FEWER = settings(max_examples=max(10, settings().max_examples // 4))

_T = TypeVar("_T")


def check_all_made(
    strategy: st.SearchStrategy[_T], labels_of: Callable[[_T], Iterable[object]], *wanted: object
) -> None:
    """No branch starves: what is made has all these labels before long."""
    missing = set(wanted)

    def is_the_last(made: _T) -> bool:
        missing.difference_update(labels_of(made))
        return not missing

    # Examples of one run resemble each other, so there are many runs; each is the same every time.
    search = settings(max_examples=400, phases=[Phase.generate], database=None)
    for number in range(25):
        with suppress(NoSuchExample), warnings.catch_warnings():
            # What it finds it also writes down, however large that is.
            warnings.filterwarnings("ignore", "Generating overly large repr", HypothesisWarning)
            find(strategy, is_the_last, settings=search, random=Random(number))
            return
    pytest.fail(f"never made: {missing}")


def its_type(made: object) -> tuple[type[Any], ...]:
    # With those that it is derived from: Update is the base of every family's.
    return type(made).__mro__


# --- Hypothesis finds them


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the package as a user's project has it: built, installed, nothing more."""
    directory = tmp_path_factory.mktemp("installed")
    code = "import sys; from hatchling import build; print(build.build_wheel(sys.argv[1]))"
    wheel = run_python(code, str(directory), cwd=ROOT).strip()
    with zipfile.ZipFile(directory / wheel) as archive:
        archive.extractall(directory)
    return directory


def run_python(code: str, *arguments: str, cwd: Path, path: Path | None = None) -> str:
    # A coverage measurement of this process must not load its modules into the fresh one.
    env = {name: text for name, text in os.environ.items() if not name.startswith("COV")}
    if path is not None:
        env["PYTHONPATH"] = str(path)
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    fresh = subprocess.run(command, capture_output=True, check=False, cwd=cwd, env=env, text=True)
    assert fresh.returncode == 0, fresh.stderr
    return fresh.stdout


USERS_TEST = """
import sys
from decimal import Decimal
from pathlib import Path
from hypothesis import given, settings, strategies as st
import topone_proto
from topone_proto import Event, OrderUpdate

assert Path(topone_proto.__file__).is_relative_to(sys.argv[1])
seen = []

@settings(database=None, deadline=None, derandomize=True, max_examples=30)
@given(st.from_type(OrderUpdate), st.from_type(Event))
def test(update: OrderUpdate, event: Event) -> None:
    assert isinstance(event, Event)
    order = update.order
    assert order.amount.is_finite() and (update.ts is None or update.ts >= 0)
    assert order.create_time is None or 0 <= order.create_time < 253402300800
    seen.append(order.side)

test()
assert not all(side.is_known for side in seen), "an enum's own strategy knows the known ones only"
"""


@pytest.mark.thorough
def test_a_project_that_installed_the_package_has_the_types(
    installed: Path, tmp_path: Path
) -> None:
    run_python(USERS_TEST, str(installed), cwd=tmp_path, path=installed)


def test_importing_hypothesis_loads_no_strategy(installed: Path, tmp_path: Path) -> None:
    code = "import sys, hypothesis; print(*sys.modules)"
    loaded = run_python(code, cwd=tmp_path, path=installed).split()
    assert "topone_proto.testing.hypothesis_plugin" in loaded
    assert not {"topone_proto.testing.strategies", "topone_proto.plain", "cattrs"} & set(loaded)


@pytest.mark.parametrize("module", ["topone_proto", "topone_proto.testing.hypothesis_plugin"])
def test_importing_the_package_does_not_import_hypothesis(
    module: str, installed: Path, tmp_path: Path
) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    assert "hypothesis" not in run_python(code, cwd=tmp_path, path=installed).split()


@pytest.mark.parametrize("first", ["hypothesis", "topone_proto.testing.strategies", "topone_proto"])
def test_the_order_of_imports_does_not_matter(first: str, installed: Path, tmp_path: Path) -> None:
    code = f"import {first}, hypothesis.strategies, topone_proto, topone_proto.testing.strategies\n"
    code += "print(hypothesis.strategies.from_type(topone_proto.Order))"
    assert run_python(code, cwd=tmp_path, path=installed) == "orders()\n"


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    """As the entry point does, also where an older version of the package is installed."""
    hypothesis_plugin.register()
    hypothesis_plugin.register()


def public_classes() -> Iterator[type[Any]]:
    """Every public value class of the core, wherever it is."""
    for module in pkgutil.iter_modules(topone_proto.__path__, "topone_proto."):
        if module.name != "topone_proto.testing":
            names = vars(importlib.import_module(module.name))
            public = [names[name] for name in names.get("__all__", ())]
            yield from (cls for cls in public if isinstance(cls, type) and attrs.has(cls))


def test_every_value_class_of_the_package_itself_is_registered() -> None:
    """A class that joins the package has to join the strategies."""
    public = {getattr(topone_proto, name) for name in topone_proto.__all__}
    classes = {cls for cls in public if isinstance(cls, type) and attrs.has(cls)}
    assert classes <= hypothesis_plugin.TYPES
    for cls in hypothesis_plugin.TYPES:
        assert isinstance(values(cls), st.SearchStrategy)
    with pytest.raises(KeyError):
        values(int)


# A line of a recording is read from a file, and can say anything.
MADE = {*public_classes(), *hypothesis_plugin.TYPES} - {CaptureLine}


@pytest.mark.parametrize("cls", sorted(MADE, key=str))
@given(data=st.data())
@settings(max_examples=10)
def test_a_type_is_made_of_its_own_values(data: st.DataObject, cls: type[Any]) -> None:
    """Of every public class, so that a new one that cannot be made fails here."""
    made = data.draw(st.from_type(cls))
    # Two are only the bases of others.
    assert isinstance(made, cls) if cls in {Update, Address} else type(made) is cls
    assert not re.search(r"Decimal\('-?s?(NaN|Inf)", repr(made))


def test_messages_are_of_every_kind() -> None:
    check_all_made(messages(), its_type, *get_args(Message))


def test_what_stands_for_itself_in_a_frame_is_shown_in_short() -> None:
    assert len(repr(Verbatim("[" * 100_000))) < 100


@pytest.mark.parametrize("union", [Update, Message, Event, Action])
def test_a_union_is_made_of_all_its_members(union: Any) -> None:
    check_all_made(st.from_type(union), its_type, *get_args(union))


# --- Frames that mean something


@given(st.data())
def test_a_spelling_means_the_same_to_any_reader(data: st.DataObject) -> None:
    plain = data.draw(json_values())
    assert json.loads(data.draw(spellings(plain))) == plain


@given(st.data())
def test_a_spelled_decimal_keeps_every_digit(data: st.DataObject) -> None:
    number = data.draw(decimals())
    assert repr(Decimal(data.draw(decimal_spellings(number)))) == repr(number)


@given(st.data())
def test_a_request_is_written_in_full(data: st.DataObject) -> None:
    """Any reader finds the request in the frame, whatever else is in there."""
    request = data.draw(requests())
    assert wire_fields(request).items() <= json.loads(data.draw(text_frames(request))).items()


FORMS = [
    rb"\A\{",
    rb"\A\s+\{",
    rb"\\u[0-9A-F]{4}",
    rb"\\/",
    rb'" : "',
    rb'"method":"sub_[^"]+"\s*\}\s*\Z',
    rb'\A\s*\{\s*"data"',
    rb'Time":\d+\s*[,}]',
    rb'Time":\d+[eE]',
    rb'Time":\d+\.\d+\s*[,}]',
    rb'"amount":"\+00',
    rb'"amount":"-?[0-9]+e',
    rb'"price":null',
    rb'"price":""',
]


@pytest.mark.thorough
def test_updates_are_written_in_every_way() -> None:
    def forms_of(frame: str | bytes) -> list[object]:
        as_bytes = frame.encode() if isinstance(frame, str) else frame
        return [type(frame), *(form for form in FORMS if re.search(form, as_bytes))]

    # Of orders, which have every kind of member.
    check_all_made(values(OrderUpdate).flatmap(frames), forms_of, str, bytes, *FORMS)


def test_pings_have_every_form() -> None:
    forms = [r"pong", r'\{"method":"pong"\}', r'\{"pong":.*\}', r'\{"id":.*"pong"\}']

    def forms_of(ping: Ping) -> list[str]:
        return [form for form in forms if re.fullmatch(form, ping.answer)]

    check_all_made(pings(), forms_of, *forms)


# --- Frames that mean nothing


@pytest.mark.parametrize("defect", Defect)
def test_a_defect_can_be_asked_for(defect: Defect) -> None:
    check_all_made(near_misses([defect]), lambda miss: [miss.defect], defect)


@pytest.mark.thorough
def test_near_misses_have_every_defect() -> None:
    check_all_made(near_misses(), lambda miss: [miss.defect], *Defect)


PATHS = {
    *("$.data", "$.code", "$.method", "$.ping"),
    *(f"$.data.{name}" for name in ("asset", "available", "freeze", "id", "market", "type")),
    *(f"$.data.{name}" for name in ("side", "status", "price", "amount", "left")),
    *(f"$.data.{name}" for name in ("dealStock", "dealMoney")),
}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("defect", "paths"),
    [
        (Defect.WRONG_TYPE, ("$.ping", "$.code", "$.method", "$.data.amount")),
        (Defect.MISSING, ("$.code", "$.data", "$.data.amount")),
    ],
)
def test_a_defect_is_outside_as_well_as_inside_of_the_data(
    defect: Defect, paths: tuple[str, ...]
) -> None:
    check_all_made(near_misses([defect]), lambda miss: [miss.path], *paths)


@pytest.mark.thorough
def test_every_field_gets_its_defect() -> None:
    check_all_made(near_misses([Defect.WRONG_TYPE]), lambda miss: [miss.path], *PATHS)


@pytest.mark.thorough
def test_any_frames_mean_anything() -> None:
    check_all_made(any_frames().map(decode), its_type, *get_args(Message))


# --- Conversations


def check(conversation: Conversation) -> None:
    """Check every conversation: each frame means what it says it means."""
    expected = [turn.event for turn in conversation.received if turn.event is not None]
    assert [type(event) for event in conversation.events()] == expected
    for turn in conversation.received:
        assert decode(turn.frame) == turn.message
    ids = [turn.id for turn in conversation.turns if isinstance(turn, Request)]
    assert ids == [str(number) for number in range(1, len(ids) + 1)]


@given(conversations())
@settings(FEWER)
def test_a_legal_conversation_is_understood(conversation: Conversation) -> None:
    check(conversation)
    assert conversation.troubles == ()
    for event in conversation.events():
        assert not type(event).__name__.startswith(("Unexpected", "Malformed", "Unrecognised"))
    times = [
        turn.message.ts
        for turn in conversation.received
        if isinstance(turn.message, Response | BalanceUpdate | OrderUpdate)
    ]
    assert times == sorted(time for time in times if time is not None)


def check_answers(conversation: Conversation) -> None:
    asked = [turn.id for turn in conversation.turns if isinstance(turn, Request)]
    answered = [
        turn.message.id
        for turn in conversation.received
        if isinstance(turn.message, Response) and turn.trouble in {None, Trouble.REORDERED_ACK}
    ]
    assert sorted(asked) == sorted(answered, key=str)


@given(troubled_conversations())
@settings(FEWER)
@pytest.mark.thorough
def test_a_troubled_conversation_is_understood(conversation: Conversation) -> None:
    check(conversation)
    check_answers(conversation)
    assert conversation.troubles


@given(conversations([Topic("tomorrow"), ORDERS], max_turns=6))
@settings(FEWER)
def test_a_conversation_is_about_its_topics(conversation: Conversation) -> None:
    check(conversation)
    check_answers(conversation)
    assert conversation.topics == (Topic("tomorrow"), ORDERS)
    assert len(conversation.turns) <= 6 + len(conversation.topics)
    for turn in conversation.turns:
        assert "balance" not in (turn.method if isinstance(turn, Request) else str(turn.message))


def test_a_conversation_may_be_about_nothing() -> None:
    check_all_made(conversations([]).map(lambda talk: len(talk.turns)), lambda n: [n], 0, 2)


@pytest.mark.parametrize("trouble", Trouble)
def test_a_trouble_can_be_asked_for(trouble: Trouble) -> None:
    talks = troubled_conversations(troubles=[trouble])
    check_all_made(talks, lambda talk: [(*set(talk.troubles),)], (trouble,))


@pytest.mark.thorough
def test_troubled_conversations_have_every_trouble() -> None:
    check_all_made(troubled_conversations(), lambda talk: talk.troubles, *Trouble)


def test_legal_conversations_go_through_every_state() -> None:
    def kinds_of(talk: Conversation) -> Iterable[object]:
        asked = [turn.method for turn in talk.turns if isinstance(turn, Request)]
        yield from (type(turn.message) for turn in talk.received)
        yield from map(type, talk.events())
        if len(set(asked)) < len(asked):
            yield "again"

    wanted = [Subscribed, Unsubscribed, SubscriptionRejected, OrderUpdate, BalanceUpdate, Ping]
    check_all_made(conversations(), kinds_of, *wanted, "again")


# --- The guide


def test_the_examples_of_the_guide_run() -> None:
    guide = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "guide"}
    settings.register_profile("before", settings.default)
    settings.register_profile("guide", FEWER)
    settings.load_profile("guide")
    try:
        for block in re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL):
            exec(compile(block, "docs/testing.md", "exec"), names)
        tests = [names[name] for name in names if name.startswith("test_")]
        assert len(tests) == 7
        for test in tests:
            test()
    finally:
        settings.load_profile("before")


@pytest.mark.parametrize("number", range(3))
def test_a_failure_of_a_conversation_is_small_and_readable(number: int) -> None:
    """A property that fails at once, whatever is in the conversation: it is shrunk within a few
    hundred runs, and what is shown is less than a screen."""
    runs = 0

    @seed(number)
    @settings(
        database=None,
        deadline=None,
        max_examples=50,
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,  # Hypothesis's own line, which is longer than a screen is wide
    )
    @given(troubled_conversations())
    def fails(conversation: Conversation) -> None:
        nonlocal runs
        runs += 1
        assert not conversation.troubles

    with pytest.raises(AssertionError) as caught:
        fails()
    shown = "\n".join(getattr(caught.value, "__notes__", []))
    assert "Conversation about orders, balance" in shown
    assert len(shown.splitlines()) <= 12
    assert max(map(len, shown.splitlines())) <= 160
    assert runs <= 300


@given(troubled_conversations())
@settings(FEWER)
def test_a_conversation_is_shown_with_a_line_for_each_turn(conversation: Conversation) -> None:
    lines = repr(conversation).splitlines()
    assert len(lines) == 1 + len(conversation.turns)
    assert max(map(len, lines)) <= 160
    assert len(conversation.turns) <= 14


def test_settings_that_cannot_work_together_are_made_to() -> None:
    silent: dict[str, Any] = {"ping_interval": None, "silence_timeout": None}
    assert _values._workable(silent).silence_timeout == SessionConfig().silence_timeout


def test_a_turn_is_shown_in_one_line() -> None:
    class Printer:
        shown = ""

        def text(self, text: str) -> None:
            self.shown += text

    turn, printer = find(conversations(), lambda talk: bool(talk.received)).received[0], Printer()
    turn._repr_pretty_(printer, cycle=False)
    assert printer.shown == repr(turn)
    assert "\n" not in printer.shown
