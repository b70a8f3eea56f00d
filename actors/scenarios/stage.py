"""The stage: one cluster, and those nested in it, on one clock; what passes and what is undone there. The verbs are in
links.py, members.py, services.py and conditions.py; `Simulation` (simulation.py) has them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from random import Random
from types import TracebackType
from typing import Any, Self

from ..errors import RaftyardError, Unavailable
from ..messages import (
    ORCHESTRATOR,
    DescribeCluster,
    DescribeConnections,
    LinkPolicy,
    ListClusters,
    cluster_actor,
)
from ..orchestrator import OrchestratorSettings, start_orchestrator
from ..raft.config import RaftConfig
from ..storage.simulated import DiskFaults
from ..system import ActorError, Event, Promise, System
from .document import nearest
from .format import GROUPS, MAX_NODES, ClusterShape
from .ground import MOST_NODES, Ground, LiveGround, VirtualGround
from .histories import History
from .inside import Inside
from .picture import Picture
from .quantities import epoch_ns_of, ns_of, share_of
from .views import View
from .watch import Watch

__all__ = ["Fault", "ScenarioFailed", "Stage", "StepFailed"]

CLUSTER = "0"
Door = Callable[[System, str], None]
ANSWER_S = 10.0
AGAIN_NS = 100_000_000
"""What was answered with "not now" is asked again after such a time, as a client would,"""
PATIENCE_NS = 2_000_000_000
"""and for so long."""


class ScenarioFailed(AssertionError):
    """A scenario does not keep what it promises."""


class StepFailed(ScenarioFailed):
    """A step could not be done, or what it waits for did not come."""


class Fault:
    """Something that was broken on purpose; `undo` mends it, and so does leaving its `with` block."""

    def __init__(self, undo: Callable[[], None], what: str = "") -> None:
        self._undo: Callable[[], None] | None = undo
        self._what = what

    def undo(self) -> None:
        """Mend it; a second call does nothing, but where the first one failed."""
        undo, self._undo = self._undo, None
        if undo is None:
            return
        try:
            undo()
        except BaseException:
            self._undo = undo
            raise

    @property
    def is_mended(self) -> bool:
        return self._undo is None

    def __str__(self) -> str:
        return self._what

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()


class Stage:
    """A started cluster, or with a `door` one that runs already, elsewhere: the door is called with the system and
    the name that the cluster has there. Times are texts with units ("5s") or seconds."""

    def __init__(
        self,
        nodes: int | None = None,
        *,
        seed: int = 1,
        capacity: int | None = None,
        clock: str = "virtual",
        always: tuple[str, ...] = ("raft", "at-most-one-leader-per-term", "no-replica-lost"),
        cluster: ClusterShape | None = None,
        shuffle_seed: int | None = None,
        door: Door | None = None,
    ) -> None:
        shape = cluster or ClusterShape()
        if clock not in ("virtual", "live"):
            raise ValueError(f"clock {clock!r}{nearest(clock, ('virtual', 'live'))}")
        if nodes is not None and not 1 <= nodes <= MAX_NODES:
            raise ValueError(f"a cluster has 1 to {MAX_NODES} nodes, not {nodes}")
        if door is not None and clock != "live":
            raise ValueError("a cluster that runs already has the live clock")
        self.door = door
        self.seed = seed
        self.is_live = clock == "live"
        self._histories: dict[str, History] = {}
        self.random = Random(f"scenario/{seed}")
        """Decides what is left open: which node is `one`, which halves."""
        self.watch: Watch
        ground: Ground
        if clock == "live":
            ground = LiveGround(seed, self._alarm)
        else:
            epoch_ns = epoch_ns_of(shape.wall_clock)
            ground = VirtualGround(seed, self._alarm, shuffle_seed=shuffle_seed, epoch_ns=epoch_ns)
        self.ground = ground
        self.system = ground.system
        self.cluster = CLUSTER
        """Where verbs act and conditions look now; see `acting_in`."""
        self._insides = {CLUSTER: Inside(self.system, CLUSTER)}
        self.watch = Watch(
            always,
            self.inside,
            ground.recorder,
            self.history_of,
            is_live=self.is_live,
            is_outside=door is not None,
            forget=lambda cluster: self._histories.pop(cluster, None),
        )
        self.orchestrator_settings = _settings(shape, nodes, capacity, self.watch)
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._faults: list[Fault] = []
        """In a cluster that runs already: all that have begun."""

    # -- life

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self.ground.close()
            raise
        return self

    def _begin(self) -> None:
        if self.door is not None:
            self.door(self.system, CLUSTER)
        else:
            start_orchestrator(self.system, self.orchestrator_settings)
            # Its clusters are started before it answers, and their nodes before they do.
            self.system.ask(ORCHESTRATOR, ListClusters(), ANSWER_S)
        self.system.ask(cluster_actor(CLUSTER), DescribeConnections(), ANSWER_S)
        self.ground.run(self.now_ns, None)
        if self.door is not None and self.view.leader is not None:
            # Before this began; but a story tells of its first leader, and counts the next one as the second.
            self.ground.recorder.kinds.setdefault("leader-elected", 1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.end()
        finally:
            if self.door is not None:
                self._leave()
            self.watch._has_ended = True
            self.ground.close()

    def _leave(self) -> None:
        """What was broken in somebody else's cluster is mended, however the scenario ended."""
        broken, self.watch.broken = self.watch.broken, None
        self.watch._has_ended = True
        self._agenda.clear()
        # Twice: what needs a leader may fail as long as links are cut.
        for _ in range(2):
            for fault in self._faults:
                try:
                    fault.undo()
                except StepFailed:
                    continue  # it does not answer any more; the next fault may be mended all the same
        self.pass_until(self.now_ns + ns_of(ANSWER_S), self.look_after)
        self.watch.broken = broken

    def not_mended(self) -> list[str]:
        """What is still broken in a cluster that runs already."""
        return [str(fault) for fault in self._faults if not fault.is_mended]

    def end(self) -> None:
        """Let every timed fault be undone, and look at every promise for the last time. Raises ScenarioFailed."""
        while self._agenda:
            self.pass_until(self._agenda[0][0])
        self.watch.end()
        self.check()

    def check(self) -> None:
        """Raise ScenarioFailed where a promise was broken."""
        broken = self.watch.broken
        if broken is not None:
            raise ScenarioFailed(
                f"{broken.promise}: {broken.reason} (at {broken.t_ns / 1e9:.3f} s, seed {self.seed})"
            )

    def _alarm(self) -> bool:
        return self.watch.broken is not None

    # -- time

    @property
    def now_ns(self) -> int:
        return self.system.now_ns

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.now_ns / 1e9

    def pass_until(self, until_ns: int, stop: Callable[[], bool] | None = None) -> bool:
        """Let time pass, undoing what is due, until a point of it or until `stop()`; whether that stopped it."""
        while True:
            self.watch.passed(self.now_ns)
            self.check()
            self.look_after()
            due_ns = self._agenda[0][0] if self._agenda else until_ns
            if due_ns <= self.now_ns and self._agenda:
                heappop(self._agenda)[2]()
                continue
            if stop is not None and stop():
                return True
            if self.now_ns >= until_ns:
                return False
            # In slices too where it waits for something: promises about time are looked at in between.
            target_ns = min(until_ns, due_ns, self.now_ns + 200_000_000)
            if self.ground.run(target_ns, stop):
                self.watch.passed(self.now_ns)
                self.check()
                return True

    def look_after(self) -> bool:
        """Called between slices of time: ask again for what was asked for in vain; whether all of it is so by now."""
        return True

    def wait(self, time: str | float) -> None:
        """Let time pass."""
        self.pass_until(self.now_ns + ns_of(time))

    def later(self, delay_ns: int, action: Callable[[], None]) -> None:
        """Do something when that time has passed, where verbs act now."""
        self._count += 1
        heappush(self._agenda, (self.now_ns + delay_ns, self._count, self._here(action)))

    def fault(
        self,
        verb: str,
        of: list[str],
        undo: Callable[[], None],
        for_: str | float | None,
        begin: Callable[[], None] = lambda: None,
    ) -> Fault:
        """A fault of these nodes or links: `begin` puts it in force, and with `for_` it is undone by itself."""
        has_begun = False

        def undone() -> None:
            undo()
            if has_begun:
                self.emit("fault-ended", verb=verb, of=of)

        made = Fault(self._here(undone), f"{verb} {', '.join(of)}")
        if self.door is not None:
            # Before it begins: whatever interrupts it, half of it may be in force by then.
            self._faults.append(made)
        begin()
        has_begun = True
        self.emit("fault-started", verb=verb, of=of)
        if for_ is not None:
            self.later(ns_of(for_), made.undo)
        return made

    def forget(self, node: str) -> None:
        """A node has left, and what faults had done to it and its links: a new one of its name has none of it."""

    def new_number(self) -> int:
        self._count += 1
        return self._count

    # -- nested clusters

    @contextmanager
    def acting_in(self, cluster: str) -> Iterator[Self]:
        """Within this block verbs act on that cluster, `0.inner`, and conditions look at it. It may come to be within
        the block: `eventually` waits for it, and every other verb raises StepFailed as long as it is not there."""
        before, self.cluster = self.cluster, cluster
        try:
            yield self
        finally:
            self.cluster = before

    def need_cluster(self) -> None:
        """Raise StepFailed where verbs act on a cluster that is not there."""
        there = self.watch.clusters
        if self.cluster not in there:
            raise StepFailed(f"no cluster {self.cluster!r} now{nearest(self.cluster, there)}")

    def _here(self, action: Callable[[], None]) -> Callable[[], None]:
        """The action, done where verbs act now, whenever that is."""
        cluster = self.cluster

        def done() -> None:
            with self.acting_in(cluster):
                action()

        return done

    def clusters(self) -> list[str]:
        """Cluster 0 and those nested in it, as far as they are there now."""
        if self.door is not None:
            return [CLUSTER]
        found: tuple[str, ...] = self.system.ask(ORCHESTRATOR, ListClusters(), ANSWER_S)
        return [cluster for cluster in found if cluster == CLUSTER or cluster.startswith(f"{CLUSTER}.")]

    @property
    def inside(self) -> Inside:
        """The cluster from inside."""
        if self.cluster not in self._insides:
            self._insides[self.cluster] = Inside(self.system, self.cluster)
        return self._insides[self.cluster]

    def history_of(self, cluster: str) -> History:
        """What clients asked of a cluster, and heard."""
        return self._histories.setdefault(cluster, History())

    @property
    def history(self) -> History:
        """What clients asked of the cluster where verbs act now, and heard."""
        return self.history_of(self.cluster)

    # -- seeing and asking

    @property
    def view(self) -> View:
        """The cluster now: what conditions see."""
        return self.ground.view(self.cluster)

    @property
    def events(self) -> list[Event]:
        """Everything that happened, in order."""
        return self.ground.recorder.events

    def digest(self) -> str:
        """SHA-256 of the event log so far."""
        return self.ground.recorder.digest()

    def emit(self, kind: str, **data: Any) -> None:
        """Write into the event log."""
        self.system.events.emit(kind, cluster=self.cluster, **data)

    def seen(self) -> Picture:
        """The cluster as its front door shows it now. Raises StepFailed where it does not answer."""
        return Picture(self.ask(DescribeCluster(limit=MOST_NODES), "the cluster"), self.now, {})

    def names(self) -> list[str]:
        """The nodes, in order of joining."""
        if not self.is_live:
            return list(self.inside.names())
        return [node.name for node in self.view.nodes]

    def ask(self, message: Any, what: str, within: str | float = ANSWER_S) -> Any:
        """Ask the cluster's front door, and again where it cannot answer yet: a leader that was just elected can
        act only a moment later. Raises StepFailed where it refuses or does not answer in time."""
        self.need_cluster()
        until_ns = self.now_ns + ns_of(within)
        patient_ns = min(until_ns, self.now_ns + PATIENCE_NS)
        while True:
            try:
                promise = self.system.ask_later(cluster_actor(self.cluster), message)
            except ActorError as error:
                raise StepFailed(f"{what}: {error}") from None
            try:
                return self.answer(promise, what, max(0, until_ns - self.now_ns) / 1e9)
            except StepFailed as error:
                if not isinstance(error.__cause__, Unavailable) or self.now_ns + AGAIN_NS > patient_ns:
                    raise
            self.pass_until(self.now_ns + AGAIN_NS)

    def answer(self, promise: Promise, what: str, within: str | float = ANSWER_S) -> Any:
        """The answer that was promised, waited for while everything else goes on."""
        within_ns = ns_of(within)
        if not self.pass_until(self.now_ns + within_ns, lambda: promise.kept):
            raise StepFailed(f"{what}: no answer within {within_ns / 1e9:g} s")
        try:
            return promise.result()
        except RaftyardError as error:
            raise StepFailed(f"{what}: {error}" + (f" ({error.hint})" if error.hint else "")) from error
        except ActorError as error:
            raise StepFailed(f"{what}: {error}") from None

    # -- who is meant

    def nodes_of(self, target: str | list[str]) -> list[str]:
        """The nodes that a target means now: a name, a list, or one of the words for groups."""
        self.need_cluster()
        if isinstance(target, list | tuple):
            if not target:
                raise StepFailed("the list of nodes is empty; name one at least")
            found = [node for one in target for node in self.nodes_of(one)]
            return list(dict.fromkeys(found))
        names = self.names()
        if target in names:
            return [target]
        if target not in GROUPS:
            raise StepFailed(f"no node {target!r}{nearest(target, (*GROUPS, *names))}")
        return self._group(target, names)

    def node_of(self, target: str | list[str], what: str) -> str:
        """The one node that a target means now. Raises StepFailed where it means several."""
        nodes = self.nodes_of(target)
        if len(nodes) != 1:
            raise StepFailed(f"{what} one node, not {', '.join(nodes)}")
        return nodes[0]

    def other_than(self, sources: list[str], word: str) -> list[str]:
        """The one node that `one` or `follower` means, and that is none of these; they are all nodes: none."""
        leader = self.view.leader if word == "follower" else None
        others = [name for name in self.names() if name != leader and name not in sources]
        return [self.random.choice(others)] if others else []

    def _group(self, word: str, names: list[str]) -> list[str]:
        chosen = self.random
        size = {"one": 1, "minority": (len(names) - 1) // 2, "majority": len(names) // 2 + 1}
        match word:
            case "all":
                return names
            case "leader":
                return [self.leader()]
            case "follower":
                leader = self.view.leader
                others = [name for name in names if name != leader]
                if not others:
                    raise StepFailed("there is no follower: the cluster has one node")
                return [chosen.choice(others)]
            case "random":
                return _in_order(names, chosen.sample(names, chosen.randint(1, len(names))))
            case _:
                return _in_order(names, chosen.sample(names, size[word]))

    def leader(self) -> str:
        """Who leads. Raises StepFailed."""
        leader = self.view.leader
        if leader is None:
            raise StepFailed("nobody leads now; wait for it with `eventually: leader is not None`")
        return leader


def _in_order(names: list[str], chosen: list[str]) -> list[str]:
    return [name for name in names if name in chosen]


def _settings(
    shape: ClusterShape, nodes: int | None, capacity: int | None, watch: Watch
) -> OrchestratorSettings:
    raft = shape.raft
    return OrchestratorSettings(
        nodes=shape.nodes if nodes is None else nodes,
        capacity=shape.capacity if capacity is None else capacity,
        observe=watch.observe,
        link=LinkPolicy(
            delay_s=ns_of(shape.links.delay) / 1e9,
            jitter_s=ns_of(shape.links.jitter) / 1e9,
            loss=share_of(shape.links.loss),
            duplicate=share_of(shape.links.duplicate),
            reorder=share_of(shape.links.reorder),
        ),
        raft=RaftConfig(
            heartbeat_ms=_ms(raft.heartbeat),
            election_min_ms=_ms(raft.election_min),
            election_max_ms=_ms(raft.election_max),
            pre_vote=raft.pre_vote,
            check_quorum=raft.check_quorum,
            lease_reads=raft.lease_reads,
            storage_patience_ms=_ms(raft.storage_patience),
            snapshot_entries=raft.snapshot_entries,
            snapshot_bytes=raft.snapshot_bytes,
            keep_entries=raft.keep_entries,
            keep_bytes=raft.keep_bytes,
        ),
        disks=None
        if shape.disks is None
        else DiskFaults(sync_ms=ns_of(shape.disks.sync) / 1e6, jitter_ms=ns_of(shape.disks.jitter) / 1e6),
    )


def _ms(time: str) -> int:
    return ns_of(time) // 1_000_000
