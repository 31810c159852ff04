"""The simulation finds faults: each of these would go out into the world if it did not."""

import pytest

from simulation.account_mutants import ACCOUNT_MUTANTS
from simulation.mutants import MUTANTS, Mutant
from simulation.relay_mutants import RELAY_MUTANTS
from topone_proto.testing.simulation import Violation, draw, run

pytestmark = pytest.mark.thorough


def check_is_caught(mutant: Mutant, **shares: float) -> None:
    with mutant.mutate():
        for seed in mutant.seeds:
            try:
                run(draw(seed, **shares))
            except Violation as violation:
                assert violation.rule in mutant.rules, violation
                return
    pytest.fail(f"not caught within {mutant.seeds}")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_caught(mutant: Mutant) -> None:
    check_is_caught(mutant, relays=0.0)


@pytest.mark.parametrize("mutant", ACCOUNT_MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_of_an_account_that_heals_itself_is_caught(mutant: Mutant) -> None:
    check_is_caught(mutant, accounts=1.0, relays=0.0)


@pytest.mark.parametrize("mutant", RELAY_MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_of_a_relay_is_caught(mutant: Mutant) -> None:
    check_is_caught(mutant, relays=1.0)
