"""MIT 6.5840's Raft tests, part 3D (snapshots), with their numbers, in virtual time: a snapshot each ten entries."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from raft_simulation import Simulation

from raftyard.actors.raft.config import RaftConfig
from raftyard.actors.raft.events import Ready

INTERVAL = 10
ROUNDS = 30
MOST_BYTES = 2_000
"""What a member may keep beside its snapshot."""

# Nothing stays in the log that a snapshot holds, and a snapshot takes several pieces.
CONFIG = RaftConfig(keep_entries=0, snapshot_chunk_bytes=1_000, max_snapshot_inflight_bytes=3_000)


class Snapshotting(Simulation):
    """Every member takes a snapshot at every tenth index that it applies. Commands are random numbers."""

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__(voters=3, seed=seed, config=CONFIG, **options)
        self.draw = random.Random(f"3D/{seed}")

    def carry_out(self, member: Any, ready: Ready) -> None:
        super().carry_out(member, ready)
        core = member.core
        if core is not None and core.handed_index // INTERVAL > core.snapshot_index // INTERVAL:
            busy = any(not hasattr(what, "done") for what, _ in member.writes)
            if not busy:
                self.snapshot(member.name)

    def command(self) -> bytes:
        return b"%d" % self.draw.getrandbits(62)

    def some(self) -> int:
        """Perhaps enough for a snapshot."""
        return INTERVAL // 2 + self.draw.randrange(INTERVAL)

    def agreed(self, *on: str) -> int:
        """A command that all of these apply; its index."""
        payload = self.command()
        self.agree(payload, on)
        return next(index for index, known in self.members[on[0]].applied if known == payload)

    def log_bytes(self) -> int:
        """The most that any member keeps beside its snapshot."""
        kept = [member.storage.content() for member in self.members.values()]
        return max(sum(map(len, content.payloads)) + 8 * len(content.terms) + 16 for content in kept)

    def everybody_restarts(self) -> None:
        for name in self.names:
            self.crash(name)
        for name in self.names:
            self.start(name)


Act = Callable[[Simulation, str], None]
DISCONNECT: tuple[Act, Act] = (Simulation.isolate, Simulation.heal)
CRASH: tuple[Act, Act] = (Simulation.crash, Simulation.start)


def thirty_rounds(simulation: Snapshotting, away: tuple[Act, Act] | None) -> None:
    """Each time somebody, every third time the leader, misses enough that it may need a snapshot."""
    simulation.elect()
    simulation.agreed(*simulation.names)
    for number in range(ROUNDS):
        leader = simulation.elect()
        follower = next(name for name in simulation.names if name != leader)
        victim, sender = (leader, follower) if number % 3 == 1 else (follower, leader)
        rest = tuple(name for name in simulation.names if name != victim)
        if away is None:
            rest = simulation.names
        else:
            away[0](simulation, victim)
            simulation.agreed(*rest)
        for _ in range(simulation.some()):
            simulation.propose(sender, simulation.command())
        simulation.agreed(*rest)
        assert simulation.log_bytes() < MOST_BYTES, f"round {number}"
        if away is not None:
            away[1](simulation, victim)
            simulation.agreed(*simulation.names)
    logs = [simulation.applied(name) for name in simulation.names]
    assert logs[0] == logs[1] == logs[2] and len(logs[0]) > ROUNDS * INTERVAL // 2


def test_with_a_snapshot_every_ten_entries_the_log_stays_small() -> None:
    simulation = Snapshotting(seed=1)
    thirty_rounds(simulation, away=None)
    assert simulation.taken > ROUNDS
    assert simulation.installed == 0, "everybody was there all the time"


@pytest.mark.parametrize("away", [DISCONNECT, CRASH], ids=["disconnected", "crashed"])
@pytest.mark.parametrize("loss", [0.0, 0.1], ids=["reliable", "unreliable"])
def test_who_was_away_is_caught_up_by_a_snapshot(away: tuple[Act, Act], loss: float) -> None:
    """Four of MIT's tests: disconnected or crashed, on a reliable network and on one that loses and delays."""
    options: dict[str, Any] = {"delay_ms": (1, 27), "in_order": False, "disk_ms": (0, 3)} if loss else {}
    simulation = Snapshotting(seed=2, **options)
    simulation.loss = loss
    thirty_rounds(simulation, away)
    assert simulation.installed >= ROUNDS // 3, f"only {simulation.installed} snapshots were needed"


def test_an_index_never_falls_when_everybody_crashes_with_snapshots() -> None:
    simulation = Snapshotting(seed=3, disk_ms=(0, 3))
    simulation.agreed(*simulation.names)
    for _ in range(5):
        for _ in range(simulation.some()):
            simulation.agreed(*simulation.names)
        before = simulation.agreed(*simulation.names)
        simulation.everybody_restarts()
        assert simulation.agreed(*simulation.names) > before


def test_two_restarts_after_a_snapshot_lose_nothing() -> None:
    """What the first start finds in the snapshot must still be there when something else was written in between."""
    simulation = Snapshotting(seed=4)
    for _ in range(INTERVAL + 2):
        simulation.agreed(*simulation.names)
    before = simulation.applied("n0")
    for _ in range(2):
        simulation.everybody_restarts()
        simulation.agreed(*simulation.names)
    for name in simulation.names:
        assert simulation.core(name).snapshot_index >= INTERVAL
        assert simulation.applied(name)[: len(before)] == before
