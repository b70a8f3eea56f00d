"""Random faults and random work, with every invariant after every step, and then peace in which all comes right."""

import os
import random

import pytest
from raft_simulation import Chaos

BASE = int(os.environ.get("RAFTYARD_SEED", "0"))
FULL = os.environ.get("RAFTYARD_CAMPAIGN") == "full"


def run(seed: int) -> Chaos:
    print(f"replay: RAFTYARD_SEED={seed}")
    chaos = Chaos(seed)
    chaos.run()
    return chaos


@pytest.mark.parametrize("block", range(10))
def test_every_invariant_holds_and_peace_comes_whatever_happened(block: int) -> None:
    for seed in range(BASE + block * 30, BASE + block * 30 + 30):
        run(seed)


@pytest.mark.campaign
@pytest.mark.parametrize("block", range(20))
def test_every_invariant_holds_over_many_seeds(block: int) -> None:
    seeds = 2_500 if FULL else 100
    start = BASE + 1_000_000 + block * seeds
    for seed in range(start, start + seeds):
        run(seed)


def test_the_same_seed_gives_the_same_history() -> None:
    def history(seed: int) -> list[str]:
        chaos = Chaos(seed)
        seen: list[str] = []
        chaos.simulation.observers.append(lambda name, event, ready: seen.append(f"{name} {event} {ready}"))
        chaos.run()
        return seen

    seed = random.Random(BASE).randrange(10_000)
    print(f"seed {seed}")
    assert history(seed) == history(seed)


def test_the_chaos_reaches_what_it_is_meant_to_reach() -> None:
    """Elections, overwritten entries, memberships, transfers and reads all happen: else the seeds prove nothing."""
    seen = dict.fromkeys(("leaders", "overwritten", "memberships", "transferred", "reads", "snubbed"), 0)

    def observe(name: str, event: object, ready: object) -> None:
        for change in ready.changes:  # type: ignore[attr-defined]
            kind = type(change).__name__
            seen["leaders"] += kind == "BecameLeader"
            seen["memberships"] += kind == "MembershipChanged"
            seen["transferred"] += kind == "SteppedDown" and change.reason == "transferred leadership"

    for seed in range(60):
        chaos = Chaos(seed)
        chaos.simulation.observers.append(observe)
        chaos.run()
        invariants = chaos.simulation.invariants
        seen["overwritten"] += len(invariants.entries) - len(invariants.committed_terms)
        seen["reads"] += len(chaos.simulation.reads_answered)
        seen["snubbed"] += sum(
            core.dropped.get("hears a leader", 0) for core in chaos.simulation.cores.values()
        )
    assert seen["leaders"] > 200 and seen["overwritten"] > 100, seen
    assert seen["memberships"] > 60 and seen["transferred"] > 10 and seen["reads"] > 100, seen
