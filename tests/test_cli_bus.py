"""The commands that take an account from a message bus, with a real server."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import topone_nats
from bus_servers import NatsServer, running
from commands import invoke
from relayed import BEGINNING, WHOLE, message, update
from topone_proto.plain import from_plain
from topone_proto.relay.feed_core import FeedPosition


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    async def publish() -> None:
        async with topone_nats.connect(server.address) as bus:
            lease = await bus.acquire("main", "a node", 60)
            assert lease is not None
            told: list[list[Any]] = [[*BEGINNING], [WHOLE, update(1)], [update(2)]]
            for number, events in enumerate(told, 1):
                data = message(number, *events, epoch=lease.epoch)
                await bus.publish(lease, number, data)

    with running(NatsServer(tmp_path_factory.mktemp("nats"))) as server:
        asyncio.run(publish())
        yield f"nats://{server.address}"


def names(output: str) -> list[str]:
    return [json.loads(line)["event"] for line in output.splitlines()]


@pytest.mark.parametrize("adapter", ["asyncio", "trio", "threads"])
def test_watch_shows_the_events_that_the_relay_publishes(bus: str, adapter: str) -> None:
    code, out, err = invoke(
        "watch", "--from", bus, "--json", "--seconds", "0.5", "--adapter", adapter
    )
    assert (code, err) == (0, "")
    assert names(out) == [
        "Stalled",
        "Connected",
        "Subscribed",
        "Snapshot",
        "BalanceUpdate",
        "BalanceUpdate",
        "Resumed",
        "Closed",
    ]


def test_account_folds_them_into_an_account_that_is_whole(bus: str) -> None:
    code, out, err = invoke("account", "--from", bus, "--json", "--seconds", "0.5")
    assert (code, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    known = [each["after"] for each in found if each["event"] == "KnowledgeChanged"]
    assert known == ["whole"]
    assert [each["event"] for each in found].count("BalanceChanged") == 3
    assert found[-1] == {"event": "Closed", "failure": None}


def test_people_read_it_in_words(bus: str) -> None:
    out = invoke("account", "--from", bus, "--plain", "--seconds", "0.5")[1]
    assert "Snapshot      the whole account: 1 balances, 0 open orders" in out
    assert "KnowledgeChanged balance: whole" in out


def test_a_file_of_the_relay_says_where_the_bus_is(bus: str, tmp_path: Path) -> None:
    file = tmp_path / "bus.toml"
    file.write_text(f'[bus]\nurl = "{bus}"\n', "utf-8")
    code, out, _ = invoke("watch", "--from", str(file), "--json", "--seconds", "0.5")
    assert code == 0
    assert "Snapshot" in names(out)


def test_record_writes_each_event_with_its_time_and_position(bus: str, tmp_path: Path) -> None:
    file = tmp_path / "main.jsonl"
    code, out, err = invoke("record", str(file), "--from", bus, "--seconds", "0.5")
    assert (code, err) == (0, "")
    assert "2 updates, 8 lines" in out
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [from_plain(lines[number]) for number in (1, 2, 4, 5)] == [
        *BEGINNING,
        update(1),
        update(2),
    ]
    positions = [FeedPosition.parse(line["position"]).position for line in lines]
    assert positions == sorted(positions)
    assert all(isinstance(line["at"], float) for line in lines)


def test_an_account_that_nobody_publishes_is_said(bus: str) -> None:
    code, _, err = invoke("watch", "--from", bus, "--account", "mian", "--seconds", "0.2")
    assert code == 1
    assert "nobody has published mian on this bus: check --account" in err


def test_a_bus_that_is_not_there_is_said() -> None:
    code, out, err = invoke("watch", "--from", "nats://127.0.0.1:1", "--plain", "--seconds", "1")
    assert code == 1
    assert "Stalled       the bus cannot be read" in out
    assert "the bus cannot be read" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("watch", "--from", "nats://h", "--topics", "orders"), "leave out --topics"),
        (("account", "--from", "nats://h", "--url", "wss://x/", "--keyring"), "--url, --keyring"),
        (("watch", "--account", "main"), "name the bus with --from"),
        (("watch", "--from", "nats://h", "--account", "a b"), "at most 64 letters"),
        (("watch", "--from", "nats://me:word@h"), "a password is never taken"),
        (("watch", "--from", "nowhere.toml"), "use a URL such as nats://host:4222"),
        (("watch", "--from", "http://h"), "it is not a known message bus"),
        (("account", "--from", "nats://h", "--export", "x.csv"), "leave out --from"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], said: str) -> None:
    code, out, err = invoke(*arguments)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert "word" not in err.replace("password", "")
