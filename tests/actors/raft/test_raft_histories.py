"""What clients heard during the chaos has an order: every history is linearizable, and a broken cluster's is not."""

import os

import pytest
from raft_clients import ServedChaos
from raft_mutants import planted

from raftyard.actors.raft.invariants import Invariants
from raftyard.actors.scenarios.checkers.linearizability import NotLinearizable

BASE = int(os.environ.get("RAFTYARD_SEED", "0"))
FULL = os.environ.get("RAFTYARD_CAMPAIGN") == "full"


def run(seed: int) -> ServedChaos:
    print(f"replay: RAFTYARD_SEED={seed}")
    chaos = ServedChaos(seed)
    chaos.run()
    return chaos


@pytest.mark.parametrize("block", range(4))
def test_what_clients_heard_has_an_order(block: int) -> None:
    for seed in range(BASE + block * 10, BASE + block * 10 + 10):
        run(seed)


@pytest.mark.campaign
@pytest.mark.parametrize("block", range(20))
def test_what_clients_heard_has_an_order_over_many_seeds(block: int) -> None:
    seeds = 200 if FULL else 25
    start = BASE + 2_000_000 + block * seeds
    for seed in range(start, start + seeds):
        run(seed)


def test_the_clients_do_what_they_are_meant_to_do() -> None:
    """Reads and writes are answered, some outcomes stay unknown, retries happen: else the histories prove nothing."""
    known = unknown = reads = most = 0
    for seed in range(20):
        history = run(seed).simulation.history
        unknown += sum(operation.end is None for operation in history)
        reads += sum(operation.kind == "get" for operation in history)
        known += sum(operation.end is not None and operation.kind != "get" for operation in history)
        most = max(most, len(history))
    assert known > 1_000 and reads > 500 and unknown > 50 and most > 200, (known, reads, unknown, most)


@pytest.mark.parametrize(
    "mutant",
    [
        "answers reads without asking anybody",
        "reads before an entry of its own is committed",
        "answers a read with an older index",
        "forgets the answers of a session",
    ],
)
def test_a_broken_cluster_gives_a_history_without_an_order(
    mutant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all other checks off."""
    monkeypatch.setattr(Invariants, "check_step", lambda *args: None)
    with planted(mutant):
        for seed in range(300):
            try:
                run(seed)
            except NotLinearizable as found:
                print(f"{seed + 1} seeds: {found}")
                return
            except AssertionError:
                continue
    raise AssertionError("no history showed it")
