"""The assignment of accounts to nodes: shares that are fair, soon, and that stay."""

from collections import Counter

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from topone_proto.relay.placing import MOST_MOVES, PATIENCE, place

NODES = st.sampled_from("abcde")


@define
class Cluster:
    """Nodes that look at the same facts, one after the other, and do as they decide."""

    accounts: frozenset[str]
    nodes: dict[str, frozenset[str]] = field(factory=dict[str, frozenset[str]])
    leases: dict[str, str] = field(factory=dict[str, str])
    looks: Counter[str] = field(factory=Counter[str])
    moves: int = 0

    def join(self, node: str, offers: frozenset[str] | None = None) -> None:
        self.nodes[node] = self.accounts if offers is None else offers

    def leave(self, node: str) -> None:
        del self.nodes[node]
        self.leases = {name: holder for name, holder in self.leases.items() if holder != node}

    def round(self) -> int:
        """Let each node look once, all at the same facts. Return how much has moved."""
        facts = dict(self.leases)
        moves = 0
        for node in self.nodes:
            wanted = frozenset(name for name, holder in facts.items() if holder == node)
            found = place(node, self.nodes, facts, wanted, self.looks)
            assert len(found.give) <= MOST_MOVES
            assert wanted.issuperset(found.give)
            assert self.nodes[node].issuperset(found.take)
            for name in found.give:
                del self.leases[name]
            for name in found.take:
                self.leases.setdefault(name, node)
            moves += len(found.give) + len(found.take)
        for name in self.accounts:
            self.looks[name] = 0 if name in self.leases else self.looks[name] + 1
        return moves

    def settle(self) -> None:
        """Let them look until nothing moves."""
        for _ in range(200):
            if not self.round():
                return
        raise AssertionError("it never comes to rest")

    def counts(self) -> list[int]:
        held = Counter(self.leases.values())
        return sorted(held[node] for node in self.nodes)


def cluster(accounts: int) -> Cluster:
    return Cluster(frozenset(f"account-{number}" for number in range(accounts)))


@given(st.integers(0, 60), st.lists(st.tuples(NODES, st.booleans()), min_size=1, max_size=12))
def test_whoever_comes_and_goes_shares_are_fair_and_stay(
    accounts: int, steps: list[tuple[str, bool]]
) -> None:
    it = cluster(accounts)
    for node, has_time in steps:
        if node in it.nodes:
            it.leave(node)
        else:
            it.join(node)
        if has_time:
            it.settle()
    it.join("last")
    it.settle()
    assert len(it.leases) == accounts
    counts = it.counts()
    assert counts[-1] - counts[0] <= 1


@given(st.integers(1, 100), st.integers(1, 5))
def test_one_that_joins_moves_no_more_than_its_share(accounts: int, nodes: int) -> None:
    it = cluster(accounts)
    for number in range(nodes):
        it.join(f"node-{number}")
    it.settle()
    before = dict(it.leases)
    it.join("new")
    it.settle()
    moved = [name for name in before if it.leases[name] != before[name]]
    assert {it.leases[name] for name in moved} <= {"new"}
    assert len(moved) <= accounts // (nodes + 1) + 1
    it.leave("new")
    it.settle()
    assert all(it.leases[name] == before[name] for name in before if name not in moved)


@given(st.data())
def test_nobody_gets_what_it_does_not_offer(data: st.DataObject) -> None:
    it = cluster(12)
    subsets = st.frozensets(st.sampled_from(sorted(it.accounts)))
    for node in data.draw(st.lists(NODES, unique=True, min_size=1)):
        it.join(node, data.draw(subsets))
    it.settle()
    offered = frozenset[str]().union(*it.nodes.values())
    assert set(it.leases) == offered
    assert all(name in it.nodes[holder] for name, holder in it.leases.items())


def test_what_falls_to_a_node_that_does_not_take_it_is_taken_by_another() -> None:
    accounts = frozenset({"main"})
    offers = {"a": accounts, "b": accounts}
    takes = {node: place(node, offers, {}, frozenset(), {}).take for node in offers}
    assert sorted(takes.values()) == [(), ("main",)]
    [silent] = [node for node, take in takes.items() if take]
    [other] = offers.keys() - {silent}
    for looks, expected in ((PATIENCE - 1, ()), (PATIENCE, ("main",))):
        assert place(other, offers, {}, frozenset(), {"main": looks}).take == expected


def test_leases_of_nodes_that_are_gone_are_waited_for() -> None:
    accounts = frozenset({"main", "second"})
    found = place("a", {"a": accounts}, {"main": "gone", "second": "a"}, frozenset({"second"}), {})
    assert (found.take, found.give) == ((), ())
