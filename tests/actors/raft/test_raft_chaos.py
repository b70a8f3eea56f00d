"""Random faults and random work, with every invariant after every step, and then peace in which all comes right."""

import os
import random

import pytest
from raft_chaos import Chaos
from raft_simulation import MS

from raftyard.actors.raft.events import BecameLeader, Event, MembershipChanged, Ready, SteppedDown

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


@pytest.mark.parametrize(
    "seed",
    [
        3963548051,  # a timer of a clock that drifts rang a nanosecond early, again and again
        3293892298,  # an acknowledgement of an earlier life came while a snapshot took the place of what it was for
    ],
)
def test_a_seed_that_once_went_wrong_ends_well(seed: int) -> None:
    run(seed)


@pytest.mark.campaign
@pytest.mark.parametrize("block", range(20))
def test_every_invariant_holds_over_many_seeds(block: int) -> None:
    """2,000 seeds in the slice; 12,000 in all, for which two cores take under two minutes."""
    seeds = 600 if FULL else 100
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
    """Each kind of fault and of work has its effect, often: else the seeds prove nothing."""
    least = {
        "leaders": 200, "overwritten": 100, "memberships": 60, "joint": 30, "learners": 30, "transferred": 10,
        "reads": 100, "reads with leases": 100, "snubbed": 20, "snapshots installed": 30, "failed writes": 20,
        "leaders lost by pauses": 1, "doubled": 30, "lost": 20, "out of order": 20, "drifting": 20, "saved at once": 6,
    }  # fmt: skip
    acts = (
        "cut", "isolate", "split", "shape", "heal", "crash", "crash_all", "restart", "pause", "resume", "spike",
        "break_disk", "stall_disk", "change", "change_apart", "transfer", "snapshot", "strand", "betray",
        "leave_behind",
    )  # fmt: skip
    seen = dict.fromkeys((*least, *acts), 0)
    for seed in range(80):
        chaos = Chaos(seed)
        watch(chaos, seen)
        chaos.run()
        simulation = chaos.simulation
        invariants, config = simulation.invariants, simulation.config
        seen["overwritten"] += len(invariants.entries) - len(invariants.committed_terms)
        seen["reads"] += len(simulation.reads_answered)
        seen["reads with leases"] += len(simulation.reads_answered) * config.lease_reads
        seen["snubbed"] += sum(core.dropped.get("hears a leader", 0) for core in simulation.cores.values())
        seen["snapshots installed"] += simulation.installed
        seen["failed writes"] += simulation.failed_writes
        seen["saved at once"] += simulation.saves_at_once
        seen["doubled"] += chaos.duplicate > 0
        seen["lost"] += chaos.loss > 0
        seen["out of order"] += not simulation.in_order
        seen["drifting"] += max(member.rate for member in simulation.members.values()) > 1
        for act, count in chaos.done.items():
            seen[act] = seen.get(act, 0) + count
    assert {what: count for what, count in seen.items() if count < least.get(what, 5)} == {}, seen


def watch(chaos: Chaos, seen: dict[str, int]) -> None:
    def observe(name: str, event: Event, ready: Ready) -> None:
        for change in ready.changes:
            if isinstance(change, MembershipChanged):
                seen["memberships"] += 1
                seen["joint"] += bool(change.membership.outgoing)
                seen["learners"] += bool(change.membership.learners)
            elif isinstance(change, SteppedDown):
                seen["transferred"] += change.reason == "transferred leadership"
                since = chaos.simulation.resumed_ns.get(name, -MS)
                seen["leaders lost by pauses"] += since == chaos.simulation.now_ns
            seen["leaders"] += isinstance(change, BecameLeader)

    chaos.simulation.observers.append(observe)
