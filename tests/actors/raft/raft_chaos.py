"""Random faults and random work on a simulated cluster, and then peace, in which everything must come right.

Faults: members crash, pause and are left behind; links are cut in one or both directions, to halves, bridges and rings;
messages are late, lost, doubled and out of order; disks are slow, stall and fail; clocks drift. Work: proposals, reads,
snapshots, transfers, changes of one member or of many. Every seed has a temper and limits of its own; in one of five
members save within the step, as where the storage is memory.
"""

import random

from raft_simulation import MS, Simulation

from raftyard.actors.raft.core import Raft, RaftConfig
from raftyard.actors.raft.events import (
    AddLearner,
    ChangeMembership,
    PromoteLearner,
    RemoveMember,
    TransferLeadership,
)

DELAYS_MS = ((1, 1), (0, 5), (1, 60), (10, 300))


class Chaos:
    """Random faults and random work on a simulation, then peace, in which everything must come right."""

    simulation_class: type[Simulation] = Simulation

    def __init__(self, seed: int, core_class: type[Raft] = Raft) -> None:
        draw = random.Random(f"chaos/{seed}")
        self.random = draw
        # For what came later, so that all else is drawn as it would be without.
        aside = random.Random(f"chaos/{seed}/aside")
        self.mood = draw.choice(("", "", "", "snapshots", "snapshots", "leases", "leases"))
        """What a story is mostly about: nothing, or what seldom happens by itself."""
        saves_at_once = aside.random() < 0.2
        voters = draw.choice((1, 2, 3, 3, 3, 4, 5, 5))
        config = RaftConfig(
            pre_vote=draw.random() < 0.8,
            check_quorum=(check_quorum := draw.random() < 0.9),
            lease_reads=check_quorum and (self.mood == "leases" or draw.random() < 0.2),
            clock_drift=(drift := draw.choice((0.0, 0.1, 0.3))),
            max_inflight_messages=draw.choice((1, 3, 128)),
            max_batch_entries=draw.choice((1, 2, 4096)),
            caught_up_entries=draw.choice((0, 10, 256)),
            max_uncommitted_bytes=draw.choice((1_000, 64 << 20, 64 << 20)),
            storage_patience_ms=aside.choice((5_000, 200)),
            keep_bytes=aside.choice((16 << 20, 16 << 20, 16 << 20, 30)),
            keep_entries=draw.choice((0,) if self.mood == "snapshots" else (0, 5, 50)),
            snapshot_chunk_bytes=(
                chunk := draw.choice((7, 20, 100) if self.mood == "snapshots" else (100, 1 << 18))
            ),
            max_snapshot_inflight_bytes=chunk * draw.choice((1, 3, 8)),
        )
        self.simulation = self.simulation_class(
            voters=voters,
            spare=draw.choice((0, 1, 3)),
            seed=seed,
            config=config,
            delay_ms=draw.choice(DELAYS_MS),
            disk_ms=draw.choice(((0, 0), (0, 3), (1, 50), (0, 600))),
            in_order=draw.random() < 0.5,
            core_class=core_class,
            saves_at_once=saves_at_once,
        )
        for member in self.simulation.members.values():
            member.rate = 1 + draw.uniform(0, drift)
        self.loss = self.simulation.loss = draw.choice((0.0, 0.0, 0.05, 0.3))
        self.duplicate = self.simulation.duplicate = draw.choice((0.0, 0.1, 0.5))
        self.proposed = 0
        self.done: dict[str, int] = {}
        """How often each kind of act came."""
        # No two seeds do the same things equally often: what is rare in most is common in some (swarm testing).
        self.temper = [draw.choice((0.2, 1, 1, 4)) for _ in range(24)]
        self.pauses_ms = draw.choice(
            (
                (0, 1, 20, 100, 400, 1_000),
                (0, 1, 20, 100, 400, 1_000),
                (0, 1, 5, 20, 100),
                (20, 400, 400, 700),
            )
        )

    def run(self, actions: int = 120) -> None:
        for _ in range(actions):
            self.act()
            self.let(self.random.choice(self.pauses_ms))
            self.nobody_leads_without_a_quorum()
        self.peace()

    def let(self, ms: float) -> None:
        """Time passes."""
        self.simulation.run(ms)

    def nobody_leads_without_a_quorum(self) -> None:
        """A leader that no quorum answered for the longest timeout steps down; it looks with each heartbeat."""
        config = self.simulation.config
        patience_ns = (config.election_max_ms + config.heartbeat_ms) * MS
        for name, core in self.simulation.awake.items():
            # Who was paused first lets in the answers that wait for it, and looks with the heartbeat after that.
            awake_ns = self.simulation.now_ns - self.simulation.resumed_ns.get(name, -patience_ns)
            if core.is_leader and config.check_quorum and awake_ns > 2 * config.heartbeat_ms * MS:
                since = self.simulation.now_ns - patience_ns
                heard = [peer for peer, progress in core.peers.items() if progress.last_heard_ns >= since]
                # A change of membership that was just begun counts from the next heartbeat on.
                known = any(membership.is_quorum((name, *heard)) for membership in core.memberships)
                assert known, f"{name} leads on without a quorum"

    def act(self) -> None:
        kinds = (
            (self.propose, 10), (self.read, 4), (self.cut, 3), (self.isolate, 2), (self.heal, 5), (self.crash, 3),
            (self.restart, 6), (self.change, 6), (self.transfer, 4), (self.crash_all, 0.2), (self.split, 2),
            (self.strand, 3), (self.snapshot, 5), (self.pause, 2), (self.resume, 6), (self.shape, 1),
            (self.spike, 1), (self.break_disk, 1), (self.stall_disk, 1), (self.change_apart, 1),
            (self.leave_behind, 8 * (self.mood == "snapshots")), (self.betray, 6 * (self.mood == "leases")),
        )  # fmt: skip
        weights = [weight * temper for (_, weight), temper in zip(kinds, self.temper, strict=False)]
        act = self.random.choices([act for act, _ in kinds], weights)[0]
        self.done[act.__name__] = self.done.get(act.__name__, 0) + 1
        act()

    def any_alive(self) -> str | None:
        alive = list(self.simulation.awake)
        leaders = self.simulation.leaders()
        if leaders and self.random.random() < 0.6:
            return self.random.choice(leaders)
        return self.random.choice(alive) if alive else None

    def propose(self) -> None:
        name = self.any_alive()
        if name is not None:
            count = self.random.choice((1, 1, 1, 5, 20))
            payloads = tuple(b"p%d" % (self.proposed + i) for i in range(count))
            self.proposed += count
            self.simulation.propose(name, *payloads)

    def read(self) -> None:
        name = self.any_alive()
        if name is not None:
            self.proposed += 1
            self.simulation.read(name, self.proposed)

    def cut(self) -> None:
        self.simulation.cut(*self.random.choices(self.simulation.names, k=2))

    def isolate(self) -> None:
        self.simulation.isolate(self.any_alive() or "n0")

    def split(self) -> None:
        names = self.simulation.names
        self.simulation.isolate(*self.random.sample(names, self.random.randint(1, len(names))))

    def strand(self) -> None:
        """A leader that is cut off, perhaps with a friend, goes on taking work that will be overwritten."""
        leader = self.simulation.leader()
        if leader is not None:
            self.simulation.isolate(
                leader, *self.random.sample(self.simulation.names, self.random.choice((0, 1)))
            )
            for _ in range(self.random.choice((1, 3))):
                self.propose()
                if leader in self.simulation.awake:
                    self.simulation.propose(leader, b"s%d" % self.simulation.count)

    def leave_behind(self) -> None:
        """Somebody misses so much that it needs a snapshot; meanwhile newer ones are taken, and it may crash."""
        simulation = self.simulation
        leader = simulation.leader()
        if leader is None:
            return
        victim = self.random.choice(simulation.names)
        simulation.heal()
        simulation.isolate(victim)
        if victim in simulation.awake and self.random.random() < 0.3:
            simulation.propose(victim, b"lost")
        for _ in range(3):
            self.propose()
            self.let(self.random.choice((5, 200)))
        self.snapshot_of(leader)
        self.let(100)
        simulation.heal()
        for _ in range(self.random.choice((1, 4))):
            self.let(self.random.choice((10, 50, 150, 600)))
            self.propose()
            self.snapshot_of(simulation.leader() or leader)
            if self.random.random() < 0.3 and victim in simulation.awake:
                simulation.crash(victim)
                simulation.start(victim)

    def betray(self) -> None:
        """A leader is cut off from voters that are eager to have another, and goes on answering reads."""
        simulation = self.simulation
        leader = simulation.leader()
        if leader is None:
            return
        others = [name for name in simulation.names if name != leader]
        if others and self.random.random() < 0.5:
            simulation.cut(leader, self.random.choice(others))
            self.let(self.random.choice((100, 700)))
        if self.random.random() < 0.4 and leader in simulation.awake:
            simulation.step(leader, TransferLeadership(target=None, ref=2))
            self.let(self.random.choice((0, 1, 3)))
        simulation.isolate(leader)
        for name in others:
            if self.random.random() < 0.3 and name in simulation.awake:
                simulation.crash(name)
                simulation.start(name)
        for _ in range(30):
            for name in simulation.leaders():
                self.proposed += 1
                simulation.read(name, self.proposed)
                if name != leader:
                    simulation.propose(name, b"b%d" % self.proposed)
            self.let(30)

    def shape(self) -> None:
        """Partitions in which not everybody sees the same: a bridge, a ring, somebody mute or deaf."""
        simulation = self.simulation
        names = self.random.sample(simulation.names, len(simulation.names))
        one, others = names[0], names[1:]
        kind = self.random.choice(("bridge", "ring", "mute", "deaf"))
        half = len(others) // 2
        for at, name in enumerate(names):
            for to, other in enumerate(names):
                apart = {
                    "bridge": at and to and (at <= half) != (to <= half),
                    "ring": (at - to) % len(names) not in (0, 1, len(names) - 1),
                    "mute": name == one and other != one,
                    "deaf": other == one and name != one,
                }
                if apart[kind]:
                    simulation.cut(name, other)

    def spike(self) -> None:
        """The network becomes slower or faster: what was sent before may arrive long after what is sent now."""
        self.simulation.delay_ms = self.random.choice(DELAYS_MS)

    def heal(self) -> None:
        self.simulation.heal()

    def pause(self) -> None:
        name = self.any_alive()
        if name is not None:
            self.simulation.pause(name)

    def resume(self) -> None:
        for name in list(self.simulation.held):
            if self.random.random() < 0.7:
                self.simulation.resume(name)

    def break_disk(self) -> None:
        """A write fails: once, or each time until somebody mends the disk. Whatever was to be written, may be."""
        name = self.random.choice(self.simulation.names)
        self.simulation.members[name].bad_disk = self.random.choice(("once", "once", "always"))

    def stall_disk(self) -> None:
        """For longer than any timeout, or not."""
        name = self.random.choice(self.simulation.names)
        stall_ms = self.random.choice((100, 500, 3_000))
        self.simulation.members[name].stalled_until_ns = self.simulation.now_ns + stall_ms * MS

    def crash(self) -> None:
        name = self.any_alive()
        if name is not None:
            self.simulation.crash(name)

    def crash_all(self) -> None:
        for name in list(self.simulation.cores):
            self.simulation.crash(name)

    def restart(self) -> None:
        for name in self.simulation.names:
            if name not in self.simulation.cores and self.random.random() < 0.7:
                if self.random.random() < 0.5:
                    self.simulation.members[name].bad_disk = ""
                self.simulation.start(name)

    def change(self) -> None:
        leader = self.simulation.leader()
        if leader is None:
            return
        if self.random.random() < 0.5:
            self.change_many(leader)
            return
        member = self.random.choice(self.simulation.names)
        event = self.random.choice((AddLearner, PromoteLearner, PromoteLearner, RemoveMember))
        self.simulation.step(leader, event(member=member, ref=1))

    def change_many(self, leader: str) -> None:
        """Any other set of those that may vote; all others perhaps as learners, so that they may the next time."""
        core = self.simulation.core(leader)
        able = [
            name
            for name in self.simulation.names
            if name in core.membership.voters or core.is_caught_up(name)
        ]
        voters = tuple(self.random.sample(able, self.random.randint(min(1, len(able)), len(able))))
        others = [name for name in self.simulation.names if name not in voters]
        learners = tuple(others[: self.random.randint(0, len(others))])
        self.simulation.step(leader, ChangeMembership(voters=voters, learners=learners, ref=1))

    def change_apart(self) -> None:
        """A change to new voters reaches only these; the old ones hear nothing of it, and the leader perhaps dies."""
        simulation = self.simulation
        leader = simulation.leader()
        if leader is None:
            return
        core = simulation.core(leader)
        old = [name for name in core.membership.voters if name != leader]
        new = [
            name
            for name in simulation.names
            if name != leader and name not in old and core.is_caught_up(name)
        ]
        if len(new) < 2:
            self.change_many(leader)
            return
        simulation.heal()
        simulation.isolate(*old)
        keeps = (leader,) if self.random.random() < 0.5 else ()
        simulation.step(leader, ChangeMembership(voters=(*keeps, *new), ref=1))
        self.let(self.random.choice((5, 100)))
        if self.random.random() < 0.7 and leader in simulation.awake:
            simulation.crash(leader)
        for _ in range(8):
            self.let(self.random.choice((50, 300)))
            self.propose()
            for name in simulation.leaders():
                self.proposed += 1
                simulation.read(name, self.proposed)

    def snapshot(self) -> None:
        name = self.any_alive()
        if name is not None:
            self.snapshot_of(name)

    def snapshot_of(self, name: str) -> None:
        if name in self.simulation.awake:
            self.simulation.snapshot(name)

    def transfer(self) -> None:
        leader = self.simulation.leader()
        if leader is not None:
            target = self.random.choice((None, *self.simulation.names))
            self.simulation.step(leader, TransferLeadership(target=target, ref=2))

    def peace(self) -> None:
        """Faults end; within a bounded time there is one leader, new work is done, and all members agree."""
        simulation = self.simulation
        simulation.heal()
        simulation.loss = simulation.duplicate = 0.0
        simulation.delay_ms, simulation.disk_ms = (1, 5), (0, 2)
        simulation.resume()
        for name, member in simulation.members.items():
            member.bad_disk, member.stalled_until_ns = "", 0
            if name not in simulation.cores:
                simulation.start(name)
        simulation.run(5_000)
        leader = simulation.elect(within_ms=10_000)
        if not simulation.config.check_quorum:
            # Who was removed unawares then raises the term for ever, and each time the snapshot begins again.
            for name in simulation.names:
                if name not in simulation.core(leader).membership.members:
                    simulation.crash(name)
            simulation.run(200)
            leader = simulation.elect()
        before = simulation.core(leader).term
        simulation.propose(leader, b"peace")
        simulation.read(leader, -1)
        assert not simulation.core(leader).membership.outgoing, "a joint change never ended"
        members = simulation.core(leader).membership.members
        done = simulation.run_until(lambda: simulation.all_applied(b"peace", members), 10_000)
        assert done, f"not everybody of {members} applied the last entry"
        simulation.run(3_000)
        assert -1 in simulation.reads_answered, "a read in peace was not answered"
        if simulation.config.check_quorum:
            # Without it a member that was removed unawares may depose leaders for ever (§4.2.3).
            core = simulation.core(leader)
            assert core.is_leader and core.term == before, "peace was disturbed"
        log = simulation.core(leader)
        for name in members:
            core = simulation.core(name)
            first = max(core.first_index, log.first_index)
            assert core.entries(first, core.last_index + 1) == log.entries(first, log.last_index + 1), (
                f"{name} differs"
            )
            applied = simulation.members[name].applied
            assert applied == simulation.members[leader].applied, f"{name} applied otherwise"
