"""Faults by name, scripts of them, and ``topone simulate`` that plays them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import get_args

import pytest

from commands import invoke
from topone_cli._checks import Check, verdict
from topone_cli._doctor import examine
from topone_cli._faults import FAULTS, FaultError, describe_fault, parse_fault, read_script
from topone_proto import Credentials, Token
from topone_proto.exchange import (
    AcceptThenClose,
    AddCode,
    AnswerGarbage,
    BlockOrders,
    BlockTokens,
    BookForm,
    Burst,
    CloseConnections,
    CutHttp,
    DelayAck,
    DelayHistory,
    DelayHttp,
    DropConnections,
    DuplicateAck,
    ExpireToken,
    ExpireTokens,
    Fault,
    GarbleHttp,
    GoSilent,
    HangHttp,
    HttpFault,
    IgnoreHandshake,
    KillOldTokens,
    LagHttp,
    LoseAck,
    LoseRow,
    NodeClock,
    RefuseHandshake,
    RefuseHttp,
    RejectHttp,
    RejectRequest,
    ResetHttp,
    SendOddBook,
    SendRaw,
    SendStrangeUpdate,
    ShiftPages,
    StepClock,
    TimeForm,
    WriteTimes,
    WrongId,
)
from topone_proto.wire.requests import token_request

pytestmark = pytest.mark.thorough

SPELLED: dict[str, Fault | HttpFault] = {
    "refuse-handshake status=503 retry-after=7 times=3": RefuseHandshake(503, 7, 3),
    "refuse-handshake status=503 retry-after='Wed, 21 Oct'": RefuseHandshake(503, "Wed, 21 Oct"),
    "refuse-handshake status=503 times=none": RefuseHandshake(503, times=None),
    "answer-garbage data=hm": AnswerGarbage(b"hm"),
    "ignore-handshake": IgnoreHandshake(),
    "accept-then-close code=none": AcceptThenClose(None),
    "delay-ack seconds=0.5": DelayAck(0.5),
    "lose-ack method=sub_orders times=2": LoseAck(2, "sub_orders"),
    "duplicate-ack": DuplicateAck(),
    'reject-request code=7 msg="not now"': RejectRequest(7, "not now"),
    "wrong-id id=77": WrongId("77"),
    'send-raw text=\'{"method":"x"}\'': SendRaw('{"method":"x"}'),
    "send-strange-update peer=3": SendStrangeUpdate(3),
    "send-odd-book form=crossed": SendOddBook(BookForm.CROSSED),
    "burst count=100": Burst(100),
    "go-silent": GoSilent(),
    "close-connections code=1012 reason=restart": CloseConnections(1012, "restart"),
    "drop-connections  # a remark": DropConnections(),
    "node-clock milliseconds=-3000 times=none": NodeClock(-3000, None),
    "step-clock milliseconds=60000": StepClock(60000),
    "write-times form=seconds": WriteTimes(TimeForm.SECONDS),
    "add-code code=0": AddCode(0),
    "expire-token token=demo": ExpireToken("demo"),
    "refuse-http status=429 retry-after=20 path=order": RefuseHttp(429, 20, path="order"),
    "reject-http code=10027 times=none lasting=30": RejectHttp(10027, times=None, lasting=30.0),
    "garble-http body=hm status=502": GarbleHttp("hm", 502),
    "hang-http path=balance": HangHttp(path="balance"),
    "reset-http times=3": ResetHttp(times=3),
    "cut-http": CutHttp(),
    "delay-http seconds=2.5": DelayHttp(2.5),
    "lag-http seconds=5 lasting=60": LagHttp(5.0, lasting=60.0),
    "shift-pages rows=-2": ShiftPages(-2),
    "delay-history seconds=40 times=none": DelayHistory(40.0, times=None),
    "lose-row order-id=133000": LoseRow(133000),
    "expire-tokens": ExpireTokens(),
    "kill-old-tokens times=none": KillOldTokens(None),
    "block-tokens seconds=60": BlockTokens(60.0),
    "block-orders": BlockOrders(),
}


@pytest.mark.parametrize("text", SPELLED)
def test_a_fault_is_what_its_text_says(text: str) -> None:
    assert parse_fault(text) == SPELLED[text]


def test_a_code_may_be_a_text() -> None:
    assert parse_fault("reject-http code=T0005") == RejectHttp("T0005")


def test_every_fault_has_a_name_and_a_description() -> None:
    faults = {*get_args(Fault), *get_args(HttpFault)}
    assert {type(fault) for fault in SPELLED.values()} == faults
    assert set(FAULTS.values()) == faults
    assert describe_fault("delay-ack") == "delay-ack seconds=SECONDS [times=N] [method=TEXT]"
    for name in FAULTS:
        assert describe_fault(name).startswith(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("drop", "there is no such fault: 'topone simulate --help' lists"),
        ("drop-connection", "there is no such fault (is it drop-connections?): 'topone"),
        ("", "a fault is missing"),
        ("# a remark", "a fault is missing"),
        ("send-raw text='", "No closing quotation"),
        ("burst", "something is missing: it is burst count=N"),
        ("burst 5", "setting 1 does not fit: it is burst count=N"),
        ("burst number=5", "setting 1 does not fit"),
        ("burst count=many", "count: a number is wanted"),
        ("burst count=none", "count: a number is wanted"),
        ("write-times form=hours", "one of milliseconds, float, text, seconds, microseconds"),
        ("burst count=-1", "count: a number of 0 or more is wanted"),
        ("delay-ack seconds=nan", "seconds: a number of 0 or more is wanted"),
        ("delay-ack seconds=inf", "seconds: a number of 0 or more is wanted"),
        ("refuse-handshake status=101", "status: an HTTP status of a refusal"),
    ],
)
def test_what_is_no_fault_says_why(text: str, words: str) -> None:
    with pytest.raises(FaultError) as error:
        parse_fault(text)
    assert words in str(error.value)


def test_a_script_is_played_in_the_order_of_its_times(tmp_path: Path) -> None:
    script = tmp_path / "weather.txt"
    script.write_text("# weather\n\n  5 drop-connections\n0.5   burst count=3 # a lot\n")
    assert read_script(script) == [(0.5, Burst(3)), (5.0, DropConnections())]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x burst count=3", "line 2: it begins with no number of seconds"),
        ("-1 burst count=3", "line 2: it begins with no number of seconds"),
        ("nan burst count=3", "line 2: it begins with no number of seconds"),
        ("inf burst count=3", "line 2: it begins with no number of seconds"),
        ("3", "line 2: a fault is missing"),
        ("3 rain", "line 2: there is no such fault"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: str, words: str) -> None:
    script = tmp_path / "weather.txt"
    script.write_text(f"1 go-silent\n{line}\n")
    with pytest.raises(FaultError) as error:
        read_script(script)
    assert words in str(error.value)


def test_a_script_that_is_no_text_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "weather.txt"
    script.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FaultError, match="not text in UTF-8"):
        read_script(script)


COMMAND = (sys.executable, "-c", "from topone_cli import main; main()", "simulate", "--port", "0")


@contextmanager
def simulate(*arguments: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The command, and the URL that it says."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[2], process
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20.0)
    assert err == ""
    assert process.returncode == 130


def found(url: str) -> Check:
    return verdict(list(examine(url, Token("demo"), timeout=5.0, ping_wait=0.05)))


def test_a_fault_is_there_from_the_start() -> None:
    dial, http = "refuse-handshake status=429 times=none", "refuse-http status=503"
    with simulate("--fault", dial, "--fault", http) as (url, process):
        assert process.stdout is not None
        said = ""
        while "fault: RefuseHttp" not in said:
            said += process.stdout.readline()
        assert "HTTP 429" in found(url).text
        # It says where HTTP is, for which keys, and what was asked.
        http_url = said.partition("HTTP on ")[2].partition(",")[0]
        assert re.search(r"export TOPONE_APP_ID=[0-9a-f]{32} TOPONE_APP_KEY=[0-9a-f]{32}\n", said)
        for status in (503, 200):
            connection = HTTPConnection(http_url.removeprefix("http://"))
            connection.request("GET", "/t/v1/market/list")
            assert connection.getresponse().status == status
            connection.close()
        while "GET /t/v1/market/list: HTTP 200" not in said:
            said += process.stdout.readline()
        assert "GET /t/v1/market/list: HTTP 503, struck by RefuseHttp" in said


def test_keys_that_are_given_are_the_same_in_every_run_and_are_not_shown() -> None:
    keys = Credentials("my bot", "made-up")
    for _ in range(2):
        with simulate("--keys", keys.app_id, keys.reveal()) as (_, process):
            assert process.stdout is not None
            said = ""
            while "topone account" not in said:
                said += process.stdout.readline()
            assert "export TOPONE_APP_ID='my bot' TOPONE_APP_KEY=...\n" in said
            assert keys.reveal() not in said
            http_url = said.partition("HTTP on ")[2].partition(",")[0]
            connection = HTTPConnection(http_url.removeprefix("http://"))
            request = token_request(keys, random=123456, time=int(time.time()))
            connection.request("GET", request.target)
            body = connection.getresponse().read()
            connection.close()
            assert b"apiToken" in body


def test_an_empty_app_key_is_refused() -> None:
    code, _, err = invoke("simulate", "--port", "0", "--keys", "x", "")
    assert code == 2
    assert "--keys: app_key: it is empty" in err


def test_a_script_strikes(tmp_path: Path) -> None:
    script = tmp_path / "weather.txt"
    script.write_text("0.1 reject-request code=7 msg=rain times=none\n")
    with simulate("--script", str(script)) as (url, process):
        assert process.stdout is not None
        while "fault: RejectRequest" not in process.stdout.readline():
            pass
        assert "refused sub_balance with code 7 (rain)" in found(url).text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fault", "rain"), "--fault: there is no such fault"),
        (("--script", "no-such-file.txt"), "cannot be read"),
        (("--token", ""), "no client can have this"),
    ],
)
def test_what_cannot_be_played_is_said_before_anything_is_served(
    arguments: tuple[str, ...], words: str
) -> None:
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""
