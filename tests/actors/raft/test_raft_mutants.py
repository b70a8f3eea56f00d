"""Deliberate bugs, each of which the random simulations must find: else the checks guard nothing."""

import pytest
from raft_mutants import MUTANTS, SLOW, planted, seeds_to_kill

SEEDS = 800


@pytest.mark.parametrize(
    "mutant", [pytest.param(name, marks=[pytest.mark.campaign] if name in SLOW else []) for name in MUTANTS]
)
def test_a_deliberate_bug_is_found(mutant: str) -> None:
    found = seeds_to_kill(mutant, SEEDS)
    print(f"{mutant}: {found} seeds")
    assert found is not None, f"{SEEDS} seeds did not notice: {mutant}"


def test_what_was_planted_is_gone_afterwards() -> None:
    """Also where the function is known by another name, or stands in a table."""
    mutant = "votes without looking at the log"
    owner, name, _, _ = MUTANTS[mutant]
    before = getattr(owner, name)
    with planted(mutant):
        assert getattr(owner, name) is not before
    assert getattr(owner, name) is before
