"""The tap of a core: whoever passes an account on sees each step's events as they happen. And a
store that is reached over the network."""

import asyncio
from typing import Any

import topone_simulator
from frames import order
from test_feed import Rig
from test_open_account import DOORS, SERVER, place, run_asyncio
from topone_proto import ORDERS, Connected, Disconnected, OrderUpdate, Subscribed
from topone_proto.account import StateNotStored, StoredState
from topone_proto.adapters import MemoryStore

DOOR = DOORS["asyncio"]


def test_a_tap_sees_what_the_application_is_given_in_the_same_call() -> None:
    rig = Rig(ORDERS)
    seen: list[object] = []
    rig.receive(order())
    rig.core.tap(seen.extend)
    step = rig.core.received(order(), 1.0)
    assert step is not None, "it would not be seen"
    rig.core.take(step)
    assert seen == list(step.events)
    rig.core.take(rig.session.connection_lost(None, "", 2.0))
    assert any(isinstance(event, Disconnected) for event in seen)
    given = [rig.core.get() for _ in range(rig.core.waiting)]
    assert given[1:] == seen


class AsyncStore:
    """A store whose every access takes a turn of the loop."""

    def __init__(self) -> None:
        self.inside = MemoryStore()
        self.failures = 0

    async def save(self, state: StoredState, previous: StoredState) -> StoredState | None:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise ConnectionResetError(104, "Connection reset by peer")
        return self.inside.save(state, previous)

    async def load(self) -> StoredState:
        await asyncio.sleep(0)
        return self.inside.load()


def test_the_tap_of_an_account_sees_updates_while_the_account_is_as_they_left_it() -> None:
    with topone_simulator.run_in_thread(http_config=SERVER) as simulator:
        store = AsyncStore()

        async def main() -> None:
            async with DOOR.open(simulator, cache=store) as account:
                seen: list[object] = []
                are_known: list[bool] = []
                has_come = asyncio.Event()

                def look(events: tuple[Any, ...]) -> None:
                    seen.extend(events)
                    for event in events:
                        if isinstance(event, OrderUpdate):
                            are_known.append(event.order.id in account.open_orders().value)
                            has_come.set()

                account.driver.core.tap(look)
                await account.wait_until_whole(60)
                number = place(simulator)
                await has_come.wait()
                assert are_known == [True]
                # Nothing has come before the tap.
                kinds = [type(event) for event in seen]
                assert kinds.count(Connected) == 1
                assert kinds.count(Subscribed) == 2
                assert [e.order.id for e in seen if isinstance(e, OrderUpdate)] == [number]

        run_asyncio(main)
        assert store.inside.load().token.token is not None


def test_a_store_over_the_network_that_fails_is_tried_again() -> None:
    with topone_simulator.run_in_thread(http_config=SERVER) as simulator:
        store = AsyncStore()
        store.failures = 1

        async def main() -> None:
            reported: list[object] = []
            async with DOOR.open(simulator, cache=store) as account:
                account.driver.core.tap(reported.extend)
                await account.wait_until_whole(60)
            [failed] = [event for event in reported if isinstance(event, StateNotStored)]
            assert "Connection reset" in failed.problem

        run_asyncio(main)
