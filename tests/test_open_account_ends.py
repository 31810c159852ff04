"""The ends of an account, and what an application is told of them: through every public door."""

import re
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from attrs import evolve

import topone_simulator
from account_plays import CONFIG, SERVER, playing
from test_open_account import DOORS, Door
from topone_proto import Closed, Credentials, FailureKind, FeedFailed
from topone_proto.account import (
    DelayCause,
    FetchDelayed,
    FetchKind,
    StateNotStored,
    StoredState,
    write_state,
)
from topone_proto.account.token_service import TokenState
from topone_proto.exchange import DropConnections, ErrorForm, ExpireTokens, RejectHttp, ResetHttp

WRONG_KEY = "wr0ng-k3y"


@pytest.fixture(params=["asyncio", "threads", "trio"])
def door(request: pytest.FixtureRequest) -> Door:
    return DOORS[request.param]


def shown(error: BaseException) -> str:
    """Everything that a traceback with the variables of this project's frames shows."""
    whole = traceback.TracebackException.from_exception(error, capture_locals=True)
    parts: list[traceback.TracebackException | None] = [whole]
    for part in parts:
        if part is not None:
            part.stack[:] = [frame for frame in part.stack if "/src/" in frame.filename]
            parts += [part.__cause__, part.__context__]
    return "".join(whole.format()) + repr(error) + repr(error.__dict__)


async def raised(call: Callable[[], Awaitable[object]]) -> BaseException:
    try:
        await call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("form", ErrorForm)
@pytest.mark.parametrize("code", ["T0001", "T0005"])
def test_keys_that_are_refused_end_it_with_the_cause(door: Door, code: str, form: str) -> None:
    config = evolve(SERVER, error_form=form)
    with topone_simulator.run_in_thread(http_config=config) as simulator:
        known = simulator.credentials.app_id
        keys = Credentials("nobody" if code == "T0001" else known, WRONG_KEY)
        errors: list[BaseException] = []

        async def main() -> None:
            where = {"url": simulator.url, "http_url": simulator.http_url}
            async with door.open_account(
                keys, cache=None, account_config=CONFIG, **where
            ) as account:
                # It waits while the account ends, and the others come after that.
                errors.append(await raised(account.wait_until_whole))
                errors.append(await raised(account.wait_until_whole))
                errors.append(await raised(account.refresh))
                while not isinstance(await anext(account), Closed):
                    pass
                errors.append(await raised(account.__anext__))

        door.run(main)
        assert len(simulator.http_calls) == 1
    assert len(errors) == 4
    for error in errors:
        assert isinstance(error, FeedFailed)
        assert error.failure.kind is FailureKind.TOKEN
        assert code in str(error)
        assert "check the app id and the app key" in str(error)
        assert "callable" not in str(error).partition(": check what")[0]
        assert WRONG_KEY not in shown(error)


def test_keys_that_are_refused_later_end_it_with_all_causes(door: Door) -> None:
    errors: list[BaseException] = []
    with topone_simulator.run_in_thread(http_config=SERVER) as simulator:

        async def main() -> None:
            async with door.open(simulator, account_config=CONFIG) as account:
                await account.wait_until_whole(60)
                # Its last question, or HTTP would refuse the token before a handshake does.
                while not any(call.path.endswith("history") for call in simulator.http_calls):
                    await door.sleep(0.001)
                simulator.inject(ExpireTokens())
                simulator.inject(RejectHttp("T0006", times=None, path="token"))
                simulator.inject(DropConnections())
                while account.is_whole:
                    await door.sleep(0.001)
                errors.append(await raised(account.wait_until_whole))

        door.run(main)
        [error] = errors
        assert isinstance(error, FeedFailed)
        for words in ("T0006", "an address that the key is bound to", "HTTP 401 in a handshake"):
            assert words in str(error)
        assert simulator.credentials.reveal() not in shown(error)


def test_a_wait_that_is_too_long_names_the_cause(door: Door) -> None:
    errors: list[BaseException] = []
    with topone_simulator.run_in_thread() as simulator:
        where = {"http_url": "http://127.0.0.1:1", "account_config": CONFIG}

        async def main() -> None:
            async with door.open(simulator, **where) as account:
                while "token" not in str(account.metrics().fetch_failures):
                    await door.sleep(0.01)
                errors.append(await raised(lambda: account.wait_until_whole(0.01)))
                errors.append(await raised(lambda: account.refresh(0.01)))

        door.run(main)
    for error, method in zip(errors, ("wait_until_whole", "refresh"), strict=True):
        assert isinstance(error, TimeoutError)
        assert str(error).startswith(f"{method} took longer than 0.01 s; the latest problem: token")
        assert "refused" in str(error)


def test_a_block_that_an_earlier_process_has_left_is_named(door: Door, tmp_path: Path) -> None:
    state, now = tmp_path / "state", time.time()
    token = TokenState(None, None, now - 10, now + 3000, failures=1)
    state.write_text(write_state(StoredState(token=token)), encoding="utf-8")
    state.chmod(0o600)
    with topone_simulator.run_in_thread() as simulator:

        async def main() -> None:
            async with door.open(simulator, cache=state, account_config=CONFIG) as account:
                while not isinstance(event := await anext(account), FetchDelayed):
                    pass
                assert (event.kind, event.cause) == (FetchKind.TOKEN, DelayCause.BLOCK)
                error = await raised(lambda: account.wait_until_whole(0.01))
                assert isinstance(error, TimeoutError)
                assert re.search(r"; token: the exchange blocks, \d{3,4} s to wait$", str(error))

        door.run(main)


def test_not_to_wait_at_all_is_possible(door: Door) -> None:
    with topone_simulator.run_in_thread() as simulator:
        simulator.inject(ResetHttp(path="/t/v1/"))

        async def main() -> None:
            async with door.open(simulator, account_config=CONFIG) as account:
                assert isinstance(await raised(lambda: account.wait_until_whole(0)), TimeoutError)
                await account.wait_until_whole(60)
                await account.wait_until_whole(0)
                await account.wait_until_whole(-1)
                # What went wrong before that is over.
                error = await raised(lambda: account.refresh(0))
                assert str(error) == "refresh took longer than 0 s"

        door.run(main)


def test_a_file_that_cannot_be_used_is_named(door: Door, tmp_path: Path) -> None:
    with topone_simulator.run_in_thread() as simulator:

        async def main() -> None:
            config = evolve(CONFIG, token_interval=10.0)
            async with door.open(simulator, cache=tmp_path, account_config=config) as account:
                while not isinstance(await anext(account), StateNotStored):
                    pass
                for wait in (account.wait_until_whole, account.refresh):
                    error = await raised(lambda: wait(0.01))  # noqa: B023 - at once
                    assert isinstance(error, TimeoutError)
                    assert str(tmp_path) in str(error)
                    assert "choose another place" in str(error)

        door.run(main)
        assert not simulator.http_calls


@pytest.mark.parametrize("code", [10001, 10002])
def test_a_token_service_that_understands_nothing_for_a_while(door: Door, code: int) -> None:
    with playing(door) as play:
        play.rest()
        play.simulator.inject(RejectHttp(code, times=2, path="token"))
        play.simulator.inject(ExpireTokens())
        play.drop()


def test_a_token_of_the_application_that_http_refuses_for_a_while(door: Door) -> None:
    with playing(door, token="demo") as play:
        play.rest()
        play.simulator.inject(RejectHttp(10003, times=3))
        play.drop()
        play.rest()
        assert len(play.told.failures) == 3
