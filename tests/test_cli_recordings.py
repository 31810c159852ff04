"""The commands that write and read recordings, and what becomes of feeds that never come about."""

import errno
import gzip
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

import topone_cli._files
from commands import (
    BOUND,
    PLAIN,
    SECRET,
    TOPONE,
    interrupt,
    invoke,
    of_topic,
    read_until,
    run,
    running,
)
from frames import ack, balance, order, requests
from topone_cli._chart import report
from topone_cli._events import AnyEvent
from topone_cli._files import open_recording, reading_progress
from topone_cli._replay import Player
from topone_cli._run import Adapter, Source, run_feed
from topone_cli._stats import Stats, Timeline
from topone_proto import BALANCE, ORDERS, Closed, Event, Subscribed, Token
from topone_proto.adapters import failure_from_response
from topone_proto.capture import Capture, RecordedSession, replay
from topone_proto.exchange import DropConnections, RejectRequest
from topone_simulator import Simulator, run_in_thread

pytestmark = pytest.mark.thorough

WALL = 1_800_000_000.0


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with run_in_thread(rate=100.0, tokens={SECRET: "account"}) as simulator:
        yield simulator


def life(*, seconds: float = 100.0) -> list[str]:
    """The recording of a feed that is broken off once, for a second, after so many."""
    lines: list[str] = []
    now = 50.0
    session = RecordedSession(
        [ORDERS, BALANCE],
        token=Token(SECRET),
        jitter=lambda: 0.5,
        write=lines.append,
        wall=lambda: WALL + now,
    )

    def ts(lag: float) -> int:
        return round((WALL + now - lag) * 1000)

    def follow() -> None:
        for request in requests(session.connection_made(now)):
            session.message_received(ack(request, ts=ts(0)), now)

    session.start(now)
    follow()
    for _ in range(10):
        now += seconds / 10
        session.message_received(order(ts=ts(0.025)), now)
        session.message_received(balance(ts=ts(0.075)), now)
    session.message_received("nonsense", now)
    session.connection_lost(1001, "", now)
    now += 1
    session.deadline_reached(now)
    follow()
    session.close(now)
    return lines


def events_of(lines: list[str]) -> list[Event]:
    return [event for _, step in replay(Capture(lines)) for event in step.events]


def saved(path: Path, lines: list[str]) -> Path:
    data = "".join(lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def names(out: str) -> list[str]:
    return [json.loads(line)["event"] for line in out.splitlines()]


# --- recording ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["watch.jsonl", "watch.jsonl.gz"])
def test_the_replay_of_a_recording_is_its_event_log(
    simulator: Simulator, tmp_path: Path, name: str
) -> None:
    file = str(tmp_path / name)
    with running("watch", "--url", simulator.url, "--json", "--record", file, token=SECRET) as feed:
        live = read_until(feed, lambda line: '"OrderUpdate"' in line)
        simulator.inject(DropConnections())
        live += read_until(feed, lambda line: '"Gap"' in line)
        code, rest, err = interrupt(feed)
    assert (code, err) == (130, "")
    assert {"OrderUpdate", "Gap", "Closed"} <= set(names("".join(live) + rest))
    assert invoke("replay", file, "--json") == (0, "".join(live) + rest, "")


def test_the_recording_of_a_demo_has_its_feed(tmp_path: Path) -> None:
    file = str(tmp_path / "demo.jsonl")
    code, _, err = run("demo", "--seconds", "3", "--rate", "50", "--json", "--record", file)
    assert (code, err) == (0, "")
    _, out, _ = invoke("replay", file, "--json")
    assert {"OrderUpdate", "BalanceUpdate", "Gap", "Closed"} <= set(names(out))


def test_a_replay_says_why_the_recorded_feed_has_failed(tmp_path: Path) -> None:
    lines: list[str] = []
    session = RecordedSession(
        token=Token(SECRET), jitter=lambda: 0.5, write=lines.append, wall=lambda: WALL
    )
    session.start(0.0)
    session.connection_failed(failure_from_response(401, ()), 1.0)
    code, out, err = invoke("replay", str(saved(tmp_path / "refused.jsonl", lines)))
    assert code == 0
    assert out.endswith("Closed        HTTP 401\n")
    assert err.startswith("topone: the recorded feed ended: the server answered")
    assert "get a new one" in err


@pytest.mark.parametrize("adapter", Adapter)
def test_ctrl_c_leaves_a_whole_recording(
    simulator: Simulator, adapter: Adapter, tmp_path: Path
) -> None:
    file = str(tmp_path / "watch.jsonl.gz")
    arguments = ("watch", "--url", simulator.url, "--adapter", adapter, "--json", "--record", file)
    with running(*arguments, token=SECRET) as process:
        lines = read_until(process, of_topic("orders"))
        code, out, err = interrupt(process)
    assert (code, err) == (130, "")
    live = "".join(lines) + out
    assert names(live)[-1] == "Closed"
    assert invoke("replay", file, "--json") == (0, live, "")
    with gzip.open(file, "rt") as text:
        assert SECRET not in text.read()


@pytest.mark.parametrize("adapter", Adapter)
def test_ctrl_c_never_comes_between_an_event_and_its_handling(
    simulator: Simulator, adapter: Adapter
) -> None:
    taken: list[Event] = []
    handled: list[Event] = []

    def handle(event: Event) -> None:
        taken.append(event)
        if isinstance(event, Subscribed):
            signal.raise_signal(signal.SIGINT)
        handled.append(event)

    former = signal.getsignal(signal.SIGINT)
    source = Source(
        token=Token(SECRET), url=simulator.url, topics=(ORDERS,), origin=None, insecure=False
    )
    with pytest.raises(KeyboardInterrupt):
        run_feed(adapter, source, handle, None)
    assert handled == taken
    assert handled[-1] == Closed()
    assert signal.getsignal(signal.SIGINT) is former


def test_record_tells_the_life_of_the_feed_and_what_there_is_in_the_end(
    simulator: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "orders.jsonl"
    code, out, err = run(
        *("record", str(file), "--url", simulator.url, "--topics", "orders", "--seconds", "1"),
        token=SECRET,
    )
    assert (code, err) == (0, "")
    *told, summary = out.splitlines()
    assert [line.split()[1] for line in told] == ["Connected", "Subscribed", "Closed"]
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    updates = len(events_of(lines)) - len(told)
    assert updates > 0
    assert summary.startswith(f"{file}: {updates} updates, {len(lines)} lines, ")
    assert "balance" not in "".join(lines)


@pytest.mark.parametrize("command", ["demo", "watch", "record"])
def test_a_file_that_is_there_is_not_recorded_over(
    simulator: Simulator, tmp_path: Path, command: str
) -> None:
    file = tmp_path / "precious.jsonl"
    file.write_text("precious")
    arguments = {
        "demo": ("--record", str(file)),
        "watch": ("--record", str(file), "--url", simulator.url),
        "record": (str(file), "--url", simulator.url),
    }[command]
    options = (command, *arguments, "--seconds", "1")
    code, out, err = invoke(*options, env={"TOPONE_TOKEN": SECRET})
    assert (code, out) == (1, "")
    assert "exists: use another name" in err
    assert file.read_text() == "precious"
    code, _, _ = invoke(*options, "--overwrite", env={"TOPONE_TOKEN": SECRET})
    assert code == 0
    assert "precious" not in file.read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
@pytest.mark.parametrize("adapter", Adapter)
def test_a_full_disk_ends_it_and_is_no_failure_of_the_network(
    simulator: Simulator, adapter: Adapter
) -> None:
    options = ("--url", simulator.url, "--adapter", adapter, "--overwrite")
    code, out, err = invoke("record", "/dev/full", *options, env={"TOPONE_TOKEN": SECRET})
    assert (code, err) == (1, "topone: cannot write to /dev/full: No space left on device\n")
    assert "Disconnected" not in out


class SmallDisk(io.StringIO):
    """A file on a disk that is full after a few lines."""

    def write(self, text: str) -> int:
        if self.tell() > 1500:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(text)


@pytest.mark.parametrize("adapter", Adapter)
def test_a_disk_that_fills_up_ends_the_feed(
    simulator: Simulator, adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topone_cli._files, "open_capture", lambda *_: SmallDisk())
    file = str(tmp_path / "file")
    options = ("--url", simulator.url, "--adapter", adapter, "--record", file, "--json")
    code, out, err = invoke("watch", *options, "--seconds", "20", env={"TOPONE_TOKEN": SECRET})
    assert (code, err) == (1, f"topone: cannot write to {file}: No space left on device\n")
    assert "Connected" in names(out)
    assert "Disconnected" not in names(out)
    assert names(out)[-1] == "Closed"
    assert len(names(out)) < 100, "it ends at once"


def test_where_nothing_can_be_recorded_nobody_connects(simulator: Simulator) -> None:
    before = len(simulator.handshakes)
    options = ("--url", simulator.url, "--record", "/nowhere/file")
    code, _, err = invoke("watch", *options, env={"TOPONE_TOKEN": SECRET})
    assert (code, err) == (1, "topone: cannot write to /nowhere/file: No such file or directory\n")
    assert len(simulator.handshakes) == before


# --- replay -------------------------------------------------------------------------------------


def test_a_replay_has_the_times_of_the_recording(tmp_path: Path) -> None:
    file = saved(tmp_path / "life.jsonl.gz", life())
    code, out, err = invoke("replay", str(file), env={"TZ": "UTC"})
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == len(events_of(life()))
    assert lines[0].split()[1:] == ["Connected", "epoch", "1"]
    minutes_and_seconds = [line.split()[0][3:] for line in (lines[0], lines[3], lines[-1])]
    assert minutes_and_seconds == ["00:50", "01:00", "02:31"]


# What makes rich take a pipe for a terminal.
TERMINAL: dict[str, str | None] = {
    "TTY_COMPATIBLE": "1",
    "TERM": "xterm",
    "COLUMNS": "80",
    "LINES": "24",
}
SCREEN = "\x1b[?1049h"


def test_at_a_terminal_a_replay_is_the_screen_of_watch(tmp_path: Path) -> None:
    file = saved(tmp_path / "life.jsonl", life())
    code, out, err = invoke("replay", str(file), env=TERMINAL | {"TZ": "UTC"})
    assert (code, err) == (0, "")
    assert SCREEN in out
    last = re.sub(r"\x1b\[[0-9;]*m", "", out.rpartition("\x1b[?1049l")[2])
    assert "topone replay, 100%, at " in last
    assert "closed  epoch 2  gaps 2" in last
    assert "02:31 Closed" in last, "the time of the recording"


@pytest.mark.parametrize(
    ("options", "env"),
    [(("--plain",), {}), (("--json",), {}), ((), {"TERM": "dumb"})],
    ids=["plain", "json", "dumb"],
)
def test_there_is_no_screen_for_who_wants_none_or_has_none(
    tmp_path: Path, options: tuple[str, ...], env: dict[str, str | None]
) -> None:
    file = saved(tmp_path / "life.jsonl", life())
    code, out, _ = invoke("replay", str(file), *options, env=TERMINAL | env)
    assert code == 0
    assert "\x1b" not in out
    assert len(out.splitlines()) == len(events_of(life()))


@pytest.mark.parametrize("name", ["life.jsonl", "life.jsonl.gz"])
def test_how_much_is_read_is_shown_beside_a_pipe(tmp_path: Path, name: str) -> None:
    stderr = io.StringIO()
    console = Console(file=stderr, force_terminal=True, width=80, _environ={})
    with open_recording(saved(tmp_path / name, life())) as recording:
        with reading_progress(recording, console):
            for _ in recording.capture:
                pass
        assert recording.fraction == 1.0
    assert "reading" in stderr.getvalue()
    assert "100%" in stderr.getvalue()


def test_a_recording_can_come_through_a_pipe() -> None:
    done = subprocess.run(
        [*TOPONE, "replay", "/dev/stdin", "--json"],
        check=False,
        input="".join(life()),
        capture_output=True,
        text=True,
        env=PLAIN,
        timeout=BOUND,
    )
    assert names(done.stdout) == [type(event).__name__ for event in events_of(life())]


class Time:
    """A clock that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Log:
    """An output that notes when it was told what."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.told: list[tuple[float, float]] = []

    def event(self, event: AnyEvent, at: float) -> None:
        self.told.append((self.time.now - 1000.0, at - WALL - 50.0))

    def note(self, text: str, at: float) -> None:
        raise AssertionError


@pytest.mark.parametrize("speed", [0.5, 1.0, 8.0])
def test_a_replay_takes_the_time_that_it_took(speed: float) -> None:
    time = Time()
    log = Log(time)
    player = Player(speed, clock=time.clock, sleep=time.sleep)
    player.play(Capture(life()), log)
    assert log.told[-1] == pytest.approx((101 / speed, 101))
    assert all(passed == pytest.approx(at / speed) for passed, at in log.told)
    time.now += 1
    assert player.time() - WALL == pytest.approx(50 + 101 + speed)


def test_a_replay_that_is_late_catches_up() -> None:
    time = Time()

    class Slow(Log):
        def event(self, event: AnyEvent, at: float) -> None:
            super().event(event, at)
            self.time.now += 7.0 if len(self.told) == 1 else 0.0

    log = Slow(time)
    Player(1.0, clock=time.clock, sleep=time.sleep).play(Capture(life()), log)
    assert log.told[1] == (7.0, 0.0)
    assert log.told[-1] == pytest.approx((101, 101))


def test_without_a_speed_a_replay_does_not_wait() -> None:
    time = Time()
    player = Player(None, clock=time.clock, sleep=time.sleep)
    player.play(Capture(life()), Log(time))
    assert time.slept == []
    assert player.time() == WALL + 50 + 101


@pytest.mark.parametrize("command", ["replay", "stats"])
def test_a_recording_that_breaks_off_is_read_up_to_there(tmp_path: Path, command: str) -> None:
    lines = life()
    whole = invoke(command, str(saved(tmp_path / "whole.jsonl", lines[:-1])), "--json")
    assert whole[2] == ""
    file = saved(tmp_path / "cut.jsonl", [*lines[:-1], lines[-1][:20]])
    code, out, err = invoke(command, str(file), "--json")
    assert (code, out) == (0, whole[1])
    assert err == "topone: the recording breaks off; its last line is left out\n"


@pytest.mark.parametrize("command", ["replay", "stats"])
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.jsonl", None, "none.jsonl: No such file"),
        ("empty.jsonl", b"", "empty.jsonl, line 1: it is empty"),
        ("har.jsonl", b'{"log": {}}', "jsonl, line 1: there is no header of a recording"),
        ("plain.gz", b"{}\n", "plain.gz: Not a gzipped file"),
        (
            "junk.jsonl",
            b"\n".join([life()[0].encode(), b"?", b"?"]),
            "junk.jsonl, line 2: it is no JSON object",
        ),
    ],
)
def test_what_is_no_recording_is_a_failure(
    tmp_path: Path, command: str, name: str, content: bytes | None, words: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    code, out, err = invoke(command, str(file))
    assert (code, out) == (1, "")
    assert words in err


def test_a_damaged_compressed_recording_is_a_failure(tmp_path: Path) -> None:
    data = bytearray(gzip.compress("".join(life()).encode()))
    data[10] |= 0b110  # the first block is of a type that does not exist
    file = tmp_path / "damaged.jsonl.gz"
    file.write_bytes(data)
    code, out, err = invoke("replay", str(file))
    assert (code, out) == (1, "")
    assert err.startswith(f"topone: cannot read {file}: ")


# --- stats --------------------------------------------------------------------------------------


def stats_of(lines: list[str]) -> Stats:
    stats = Stats()
    for line, step in replay(Capture(lines)):
        stats.take(line, step)
    return stats


def test_the_numbers_of_a_recording(tmp_path: Path) -> None:
    lines = life()
    code, out, err = invoke("stats", str(saved(tmp_path / "life.jsonl.gz", lines)), "--json")
    assert (code, err) == (0, "")
    stats = json.loads(out)
    frames = [json.loads(line)["text"] for line in lines if '"message_received"' in line]
    assert stats["topics"] == ["orders", "balance"]
    assert stats["began_at"] == WALL + 50
    assert stats["seconds"] == 101
    assert (stats["frames"], stats["bytes"]) == (25, len("".join(frames)))
    assert (stats["connections"], stats["losses"]) == (2, {"closed": 1})
    assert stats["events"] == {
        "Connected": 2,
        "Subscribed": 4,
        "OrderUpdate": 10,
        "BalanceUpdate": 10,
        "Malformed": 1,
        "Disconnected": 1,
        "Gap": 2,
        "Closed": 1,
    }
    assert stats["events_per_second"] == pytest.approx(31 / 101)
    assert stats["busiest_second"] == 6
    assert stats["latency_ms"] == {"min": 25, "p50": 25, "p90": 75, "p99": 75, "max": 75}
    assert stats["anomalies"] == {"Malformed": 1}
    assert stats["gap_counts"] == {"orders": 1, "balance": 1}
    (gap, other) = stats["gaps"]
    assert {gap["topic"], other["topic"]} == {"orders", "balance"}
    assert gap["ended"] == 101
    assert gap["began"] == pytest.approx(99.97, abs=0.06)
    assert stats["timeline"]["slot"] == 1
    assert {n: count for n, count in enumerate(stats["timeline"]["events"]) if count} == {
        0: 3,
        **dict.fromkeys(range(10, 100, 10), 2),
        100: 4,
        101: 6,
    }


def test_a_state_that_goes_backwards_counts_as_an_anomaly() -> None:
    lines: list[str] = []
    session = RecordedSession(
        [ORDERS],
        token=Token(SECRET),
        jitter=lambda: 0.5,
        write=lines.append,
        wall=lambda: WALL,
    )
    session.start(1.0)
    (request,) = requests(session.connection_made(2.0))
    session.message_received(ack(request), 3.0)
    session.message_received(order(status=3), 4.0)
    session.message_received(order(status=1), 5.0)
    assert stats_of(lines).anomalies == {"MovedBackwards": 1}


@pytest.mark.parametrize("count", [1, 2, 99, 1000])
def test_percentiles_are_the_ranks_of_the_sorted_values_to_four_digits(count: int) -> None:
    chance = random.Random(count)
    values = [chance.lognormvariate(3, 2) - 20 for _ in range(count)]
    stats = Stats()
    for value in values:
        stats.add_latency(value)
    ordered = sorted(values)
    found = stats.latencies()
    assert found["min"] == pytest.approx(ordered[0], rel=1e-3)
    assert found["max"] == pytest.approx(ordered[-1], rel=1e-3)
    for percent in (50, 90, 99):
        rank = -(-count * percent // 100)
        assert found[f"p{percent}"] == pytest.approx(ordered[rank - 1], rel=1e-3)


def test_a_timeline_of_any_length_stays_small_and_loses_nothing() -> None:
    timeline = Timeline()
    at = 0.0
    for n in range(20_000):
        at += (n % 7) * 1.5
        timeline.add(at, n % 3)
    assert sum(timeline.counts) == sum(n % 3 for n in range(20_000))
    assert len(timeline.counts) <= 3600
    assert len(timeline.counts) * timeline.width >= at
    slot, counts = timeline.in_parts(10)
    assert len(counts) <= 10
    assert sum(counts) == sum(timeline.counts)
    assert slot * len(counts) >= at
    timeline.add(1e15, 1)
    assert sum(timeline.counts) == sum(n % 3 for n in range(20_000)) + 1


def test_a_slot_has_the_events_of_its_time() -> None:
    timeline = Timeline()
    for at in (0.0, 0.9, 1.0, 9.5):
        timeline.add(at, 1)
    assert timeline.counts == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert timeline.in_parts(5) == (2.0, [3, 0, 0, 0, 1])
    assert timeline.in_parts(4) == (5.0, [3, 1]), "no three seconds"
    timeline.add(3600.0, 1)
    assert timeline.width == 2.0
    assert timeline.counts[:5] == [3, 0, 0, 0, 1]
    assert timeline.counts[1800] == 1


def reported(stats: Stats, *, width: int = 80, rows: int = 10) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None, record=True)
    console.print(report(stats, rows))
    return console.export_text().splitlines()


def test_the_report_at_80_columns_without_colour() -> None:
    lines = reported(stats_of(life()))
    assert all(len(line) <= 80 for line in lines)
    text = "\n".join(lines)
    assert "…" not in text
    assert "latency      min 25, p50 25, p90 75, p99 75, max 75 ms" in text
    assert "gap of orders: updates may be missing" in text


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_no_number_of_a_report_is_cut_at_any_width(width: int) -> None:
    stats = stats_of(life())
    stats.timeline.counts = [1234567 * (n + 1) for n in range(102)]
    lines = reported(stats, width=width)
    assert all(len(line) <= width for line in lines)
    text = " ".join(" ".join(lines).split())
    assert "min 25, p50 25, p90 75, p99 75, max 75 ms" in text
    assert "…" not in text
    _, counts = stats.timeline.in_parts(10)
    first = next(n for n, line in enumerate(lines) if "line" in line and "from" in line)
    shown = [re.findall(r" (\d+)(?: |$)", line)[-1] for line in lines[first + 1 :]]
    assert shown == [str(count) for count in counts]
    assert lines[-1].rstrip().endswith("gap" if width == 40 else "balance, orders")


@pytest.mark.parametrize("width", [40, 80])
def test_the_address_of_the_server_is_in_one_line(width: int) -> None:
    stats = stats_of(life())
    stats.url = "wss://gateway.topone.run/ws/user/"
    (line,) = (line for line in reported(stats, width=width) if "gateway" in line)
    assert f"{stats.url} " in f"{line} "


def test_the_bars_are_as_long_as_there_are_events_and_gaps_are_marked() -> None:
    lines = reported(stats_of(life()))
    first = next(n for n, line in enumerate(lines) if line.startswith("from "))
    assert "gaps of" in lines[first]
    bars = lines[first + 1 :]
    lengths = [line.count("█") for line in bars]
    counts = [int(line.split("█")[-1].split()[-1 if "," not in line else -3]) for line in bars]
    assert len(bars) == 7, "15 seconds each"
    assert sum(counts) == 31
    assert max(zip(lengths, counts, strict=True)) == (max(lengths), max(counts))
    marked = ["balance, orders" in line for line in bars]
    assert marked == [False] * 6 + [True]


@pytest.mark.parametrize("lines", [life()[:1], life()[:2]], ids=["header only", "one input"])
def test_a_recording_of_next_to_nothing_has_a_report(tmp_path: Path, lines: list[str]) -> None:
    file = saved(tmp_path / "short.jsonl", lines)
    for options in ((), ("--json",), ("--picture", str(tmp_path / "short.svg"))):
        code, out, err = invoke("stats", str(file), *options)
        assert (code, err) == (0, "")
        assert out


@pytest.mark.parametrize("name", ["life.svg", "life.png"])
def test_a_picture_shows_the_gaps_and_is_the_same_each_time(tmp_path: Path, name: str) -> None:
    file = saved(tmp_path / "life.jsonl", life())
    pictures: list[bytes] = []
    for _ in range(2):
        code, _, err = invoke("stats", str(file), "--picture", str(tmp_path / name))
        assert (code, err) == (0, "")
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]
    if name.endswith(".svg"):
        text = pictures[0].decode()
        assert "<!-- gap of orders -->" in text
        assert "<!-- 31 events, 2 gaps -->" in text
    else:
        assert pictures[0].startswith(b"\x89PNG")


def test_a_picture_without_matplotlib_says_which_extra_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "topone_cli._plot", raising=False)
    file = saved(tmp_path / "life.jsonl", life())
    code, _, err = invoke("stats", str(file), "--picture", str(tmp_path / "life.png"))
    assert code == 2
    assert 'pip install "topone-proto[plot]"' in err


def test_no_command_but_a_picture_needs_matplotlib(tmp_path: Path) -> None:
    file = saved(tmp_path / "life.jsonl", life())
    program = (
        "import sys; sys.modules['matplotlib'] = None; sys.argv = ['topone', 'stats', "
        f"{str(file)!r}]; import topone_cli; topone_cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        env=PLAIN,
        timeout=BOUND,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_picture_of_another_kind_is_a_usage_error(tmp_path: Path) -> None:
    file = saved(tmp_path / "life.jsonl", life())
    code, out, err = invoke("stats", str(file), "--picture", "life.bmp")
    assert (code, out) == (2, "")
    assert ".png or .svg" in err


def test_a_picture_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    file = saved(tmp_path / "life.jsonl", life())
    code, _, err = invoke("stats", str(file), "--picture", "/nowhere/life.svg")
    assert (code, err) == (
        1,
        "topone: cannot write to /nowhere/life.svg: No such file or directory\n",
    )


# --- feeds that never come about ----------------------------------------------------------------


@pytest.mark.parametrize("adapter", Adapter)
def test_a_watch_that_never_connected_is_a_failure(adapter: Adapter) -> None:
    with run_in_thread(rate=0.0) as gone:
        url = gone.url
    code, out, err = invoke(
        *("watch", "--url", url, "--adapter", adapter, "--seconds", "0.5", "--json"),
        env={"TOPONE_TOKEN": SECRET},
    )
    assert code == 1
    assert "no topic was ever subscribed to: refused" in err
    assert names(out)[-1] == "Closed"


@pytest.mark.parametrize("adapter", Adapter)
def test_a_watch_whose_every_topic_is_refused_ends_at_once(adapter: Adapter) -> None:
    with run_in_thread(rate=0.0, tokens={SECRET: "account"}) as simulator:
        simulator.inject(RejectRequest(code=7, msg="no right", times=2))
        code, out, err = invoke(
            *("watch", "--url", simulator.url, "--adapter", adapter, "--json", "--seconds", "30"),
            env={"TOPONE_TOKEN": SECRET},
        )
    assert code == 1
    assert "the exchange refused sub_orders with code 7 (no right)" in err
    assert names(out)[1:] == ["SubscriptionRejected", "SubscriptionRejected", "Closed"]


def test_a_watch_with_one_topic_left_goes_on() -> None:
    with run_in_thread(rate=0.0, tokens={SECRET: "account"}) as simulator:
        simulator.inject(RejectRequest(code=7, method="sub_orders"))
        code, out, err = invoke(
            *("watch", "--url", simulator.url, "--seconds", "0.5", "--json"),
            env={"TOPONE_TOKEN": SECRET},
        )
    assert (code, err) == (0, "")
    assert "SubscriptionRejected" in names(out)
