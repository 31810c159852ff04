"""The things that a relay shows: its table in any size, its lines, its log and its metrics."""

import io
import json
import urllib.request
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from topone_cli._life import Line
from topone_cli._relay_output import open_relay_output
from topone_cli._relay_picture import RelayScreen, relay_picture
from topone_cli._relay_words import is_told, relay_words
from topone_proto import (
    BALANCE,
    Balance,
    BalanceUpdate,
    Connected,
    Disconnected,
    Failure,
    FailureKind,
    FeedMetrics,
    Gap,
)
from topone_proto.account import Knowledge, KnowledgeChanged
from topone_proto.relay import ItemsDropped, LeaseAcquired, LeaseEnded, LeaseUnsure
from topone_relay import (
    AccountFailed,
    AccountStatus,
    BusBack,
    BusLost,
    Leaving,
    MemberJoined,
    MemberLeft,
    NodeStatus,
)
from topone_relay.metrics import serve_metrics

FEED = FeedMetrics(
    epoch=3,
    failures={FailureKind.LOST: 2},
    updates=1234,
    gaps=1,
    anomalies={},
    conflated=0,
    waiting=0,
    capacity=1000,
    is_paused=False,
    is_connected=True,
    epoch_age=1.0,
    last_received_age=1.0,
    ack_latency=0.1,
    lag={},
    subscriptions={},
)


def account(name: str, holder: str | None, **more: Any) -> AccountStatus:
    fields: dict[str, Any] = {
        "epoch": None if holder is None else 7,
        "is_held": holder == "desk-a",
        "is_whole": True if holder == "desk-a" else None,
        "is_market": False,
        "leases": 2 if holder == "desk-a" else 0,
        "messages": 5678,
        "dropped": 0,
        "waiting": 3,
        "published_age": 2.0 if holder == "desk-a" else None,
        "problem": "",
        "feed": FEED if holder == "desk-a" else None,
    }
    return AccountStatus(name, holder, **fields | more)


STATUS = NodeStatus(
    "desk-a",
    ("desk-a", "desk-b"),
    is_bus_available=True,
    is_leaving=False,
    accounts=(
        account("main", "desk-a"),
        account("second", "desk-a", is_whole=False),
        account("books", "desk-a", is_market=True, is_whole=None),
        account("third", "desk-b"),
        account("lost", None, problem="the app key does not belong to this app id"),
        account("new", None),
        account("torn", "desk-a", is_held=False),
    ),
)
EVENTS = {
    LeaseAcquired("main", 7): "held here from now on, epoch 7",
    LeaseUnsure("main", 7): "nothing is published, as the bus does not renew",
    LeaseEnded("main", 7, "another machine has it"): "no longer held here, epoch 7: another mac",
    ItemsDropped("main", 9): "9 items dropped",
    MemberJoined("desk-b"): "desk-b is there",
    MemberLeft("desk-b"): "desk-b is gone",
    BusLost("publish: \x1b[2J"): "publish: \\x1b[2J",
    BusBack(): "the bus answers again",
    Leaving(3): "3 accounts are handed over",
    AccountFailed("main", Failure(FailureKind.TOKEN, detail="T0005"), 60.0): "again in 60 s",
    Connected(3): "epoch 3",
}


def drawn(screen: RelayScreen, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(relay_picture(screen, width=width, height=height), height=height)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    return lines


@pytest.mark.parametrize(("width", "height"), [(40, 24), (80, 24), (200, 50)])
def test_the_table_says_who_holds_what_at_any_size(width: int, height: int) -> None:
    screen = RelayScreen("topone relay, node desk-a, nats://bus.example:4222", STATUS)
    screen.log.append(Line(0.0, "MemberJoined", "desk-b is there"))
    lines = drawn(screen, width, height)
    text = "\n".join(lines)
    assert lines[0].startswith("topone relay, node desk-a")
    assert lines[1].startswith("running  3 of 7 held here  2 by nobody")
    assert ("2 nodes  desk-a, desk-b" in lines[1]) is (width > 40)
    rows = {words[1]: words[2:] for line in lines if len(words := line.split()) > 3}
    expected = {
        "main": ["desk-a", "whole"],
        "second": ["desk-a", "not"],
        "books": ["desk-a", "live"],
        "third": ["desk-b", "stand-by"],
        "lost": ["nobody", "failed"],
        "new": ["nobody", "waiting"],
        "torn": ["desk-a", "unsure"],
    }
    assert {name: rows[name][:2] for name in expected} == expected
    # What needs somebody comes first.
    assert text.index("lost") < text.index("main") < text.index("third")
    assert "MemberJoined desk-b is" in text
    assert ("the app key does not belong" in text) is (width == 200)
    assert ("1234" in text) is (width > 40)


def test_the_header_says_what_is_wrong_with_the_node() -> None:
    screen = RelayScreen("topone relay")
    assert drawn(screen, 80, 24)[1].strip() == "starting"
    for changes, word in (({"is_bus_available": False}, "no bus"), ({"is_leaving": True}, "leavi")):
        fields = {"is_bus_available": True, "is_leaving": False} | changes
        screen.status = NodeStatus("desk-a", (), accounts=(), **fields)
        assert drawn(screen, 80, 24)[1].startswith(word)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_each_happening_has_its_sentence(event: object) -> None:
    assert EVENTS[event] in relay_words(event)


def test_what_an_account_tells_all_day_is_not_logged() -> None:
    told = [
        Disconnected(Failure(FailureKind.LOST), 1.0, 1, 1),
        Gap(BALANCE, None, None, 1),
        KnowledgeChanged(BALANCE, Knowledge.STALE, Knowledge.WHOLE),
    ]
    not_told = [
        BalanceUpdate(Balance("A", Decimal(1), Decimal(0)), 1),
        KnowledgeChanged(BALANCE, Knowledge.WHOLE, Knowledge.STALE),
    ]
    assert [event for event in (*told, *not_told) if is_told(event)] == told


def test_lines_for_programs_and_for_a_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "relay.jsonl"
    for json_too in (True, False):
        with open_relay_output("", "desk-a", json=json_too, plain=False, log=log) as output:
            output.status(STATUS)
            output.event("main", LeaseAcquired("main", 7), 1.5)
            output.event(None, MemberJoined("desk-b"), 2.0)
    lines, written = capsys.readouterr().out.splitlines(), log.read_text().splitlines()
    assert written == lines[:2] * 2
    assert list(map(json.loads, written[:2])) == [
        {"event": "LeaseAcquired", "time": 1.5, "node": "desk-a", "account": "main", "epoch": 7},
        {"event": "MemberJoined", "time": 2.0, "node": "desk-a", "member": "desk-b"},
    ]
    assert lines[2].endswith("LeaseAcquired  main: held here from now on, epoch 7")
    assert lines[3].endswith("MemberJoined   desk-b is there")


def test_the_metrics_of_a_node() -> None:
    with serve_metrics(lambda: STATUS, 0) as port:
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=60) as answer:
            text = answer.read().decode()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["topone_relay_bus_available",] == 1
    assert found["topone_relay_members",] == 2
    assert found["topone_relay_held",] == 3
    assert found["topone_relay_account_held", "main"] == 1
    assert found["topone_relay_account_held", "third"] == 0
    assert found["topone_relay_account_unheld", "new"] == 1
    assert found["topone_relay_account_whole", "second"] == 0
    assert ("topone_relay_account_whole", "books") not in found
    assert ("topone_relay_epoch", "new") not in found
    assert found["topone_relay_messages_total", "main"] == 5678
    assert found["topone_relay_feed_updates_total", "main"] == 1234
    assert found["topone_relay_feed_failures_total", "main", "lost"] == 2
    assert ("topone_relay_feed_updates_total", "third") not in found
