"""The simulation finds faults: each of these would go out into the world if it did not."""

import pytest

from simulation.account_mutants import ACCOUNT_MUTANTS
from simulation.mutants import MUTANTS, Mutant
from simulation.relay_mutants import RELAY_MUTANTS
from topone_proto.testing.simulation import Violation, draw, run

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_caught(mutant: Mutant) -> None:
    with mutant.mutate():
        for seed in range(mutant.seeds):
            try:
                run(draw(seed, relays=0.0))
            except Violation as violation:
                assert violation.rule in mutant.rules, violation
                return
    pytest.fail(f"not caught within {mutant.seeds} seeds")


@pytest.mark.parametrize("mutant", ACCOUNT_MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_of_an_account_that_heals_itself_is_caught(mutant: Mutant) -> None:
    with mutant.mutate():
        for seed in range(mutant.seeds):
            try:
                run(draw(seed, accounts=1.0, relays=0.0))
            except Violation as violation:
                assert violation.rule in mutant.rules, violation
                return
    pytest.fail(f"not caught within {mutant.seeds} seeds with an account")


@pytest.mark.parametrize("mutant", RELAY_MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_of_a_relay_is_caught(mutant: Mutant) -> None:
    with mutant.mutate():
        for seed in range(mutant.seeds):
            try:
                run(draw(seed, relays=1.0))
            except Violation as violation:
                assert violation.rule in mutant.rules, violation
                return
    pytest.fail(f"not caught within {mutant.seeds} seeds with a relay")
