"""An account session: token, stream, questions and healing as one machine, against an exchange in
virtual time."""

from http_exchange import World
from topone_proto import ORDERS, Closed
from topone_proto.account import FetchFailed, Resynced


def test_two_keys_become_a_whole_account() -> None:
    world = World()
    world.exchange.open(1)
    client = world.client()
    world.run(5.0)
    assert client.is_whole
    assert list(client.machine.account.open_orders().value) == [1]
    assert [path for _, path in world.exchange.calls] == [
        "/u/v1/api/token",
        "/t/v1/order/query",
        "/t/v1/balance/query",
    ]
    assert client.of(Resynced)[0].topic == ORDERS
    assert not client.of(FetchFailed)
    assert not client.of(Closed)
