"""A large cluster on the virtual clock, driven as a client drives it: through its front door."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raftyard.actors import OrchestratorSettings, Virtual, start_orchestrator
from raftyard.actors.messages import ChangeService, LinkPolicy, UpdateNodeRequest, cluster_actor
from raftyard.actors.node import Node
from raftyard.actors.state.task_states import TaskState
from raftyard.actors.system.promise import Promise

__all__ = ["CLASSES", "Handlers", "LargeCluster", "peak_rss_mb"]

CLUSTER = cluster_actor("0")
CLASSES = 8
"""Kinds of nodes, told by a label; a service may go to all but one."""
AT_ONCE = 500
"""Requests that a client has open at a time; the front door takes 1,000."""


class LargeCluster:
    """Cluster 0 of one orchestrator: five voters, all other nodes workers, every agent simulated.

    Everything of it runs, in this thread: front door, nodes, links, agents, control loop, snapshots, at the defaults.
    """

    def __init__(self, nodes: int, slots: int, link: LinkPolicy | None = None, seed: int = 0) -> None:
        self.system = Virtual(seed=seed, raise_crashes=True, with_digest=False)
        settings = OrchestratorSettings(nodes=nodes, capacity=slots, link=link or LinkPolicy())
        start_orchestrator(self.system, settings)
        self.voters: list[Node] = []
        self.placed_told = 0
        """Replicas in the event log's `tasks-placed`."""
        self.system.events.subscribe(self._note)
        self.until(lambda: self._leader() is not None and len(self.leader.state.nodes()) == nodes, within_s=30)
        self.voters = [node for node in self._members() if node.state.nodes()]
        """Nobody takes their place here, so from now on only these are asked who leads."""
        self._label(nodes)

    def _note(self, event: Any) -> None:
        if event.kind == "tasks-placed":
            self.placed_told += event.data["replicas"]

    def _members(self) -> list[Node]:
        if self.voters:
            return self.voters
        cells = self.system._cells.values()  # what a test or a checker may look at, and nothing else
        return [cell.actor for cell in cells if isinstance(cell.actor, Node) and cell.actor.is_running]

    def _leader(self) -> Node | None:
        return next((node for node in self._members() if node.loop is not None), None)

    @property
    def leader(self) -> Node:
        found = self._leader()
        assert found is not None, "nobody leads"
        return found

    def until(self, is_so: Callable[[], bool], within_s: float, step_s: float = 0.1) -> None:
        """Let time pass until it is so; raises RuntimeError when it is not in time."""
        end = self.system.now_ns + round(within_s * 1e9)
        while not is_so():
            if self.system.now_ns >= end:
                raise RuntimeError(f"not within {within_s:g} simulated s")
            self.system.run(step_s)

    def ask(self, messages: Sequence[Any]) -> None:
        """Send the front door requests, some hundred at a time, and wait for the answers."""
        for start in range(0, len(messages), AT_ONCE):
            promises: list[Promise] = [
                self.system._post_ask(CLUSTER, message) for message in messages[start : start + AT_ONCE]
            ]
            self.until(lambda: all(promise.kept for promise in promises), within_s=30, step_s=0.02)  # noqa: B023
            for promise in promises:
                promise.result()

    def _label(self, nodes: int) -> None:
        """Eight classes of nodes in racks of forty, with processors and memory."""
        self.ask([UpdateNodeRequest(node=f"node_{number}", body=node_body(number)) for number in range(nodes)])
        self.until(self.is_agreed, within_s=10)

    def put(self, services: int, replicas: int) -> None:
        """Put so many services of so many replicas each, and wait until all of it is true on every voter."""
        wanted = services * replicas
        self.ask([put_service(number, replicas) for number in range(services)])
        self.until(lambda: self.runs(wanted), within_s=300, step_s=0.02)

    def runs(self, wanted: int) -> bool:
        """Whether so many tasks stand on every voter, all reported to run, and their events are in the event log."""
        return (
            self.placed_told >= wanted
            and self.is_agreed()
            and all(
                voter.state.statistics()["replicas_placed"] == wanted == running(voter) for voter in self.voters
            )
        )

    def is_agreed(self) -> bool:
        """Whether every voter has applied all that is committed."""
        index = self.leader.raft.commit_index
        return all(voter.applied >= index for voter in self.voters)


def node_body(number: int) -> dict[str, Any]:
    """What node `number` is and has, as its PUT says it."""
    return {
        "labels": {"class": f"class-{number % CLASSES}", "rack": f"rack-{number // 40}"},
        "resources": {"cpu_milli": 64_000, "memory_mib": 262_144},
    }


def put_service(number: int, replicas: int) -> ChangeService:
    """A service as its PUT says it: seven of eight classes of nodes will do, and three resources are taken."""
    body = {
        "image": "alpine:3.20",
        "replicas": replicas,
        "reservations": {"cpu_milli": 100, "memory_mib": 256},
        "placement": {"constraints": [f"node.labels.class != class-{number % CLASSES}"]},
    }
    return ChangeService(service=f"job-{number}", body=body)


def running(node: Node) -> int:
    """Tasks that are wanted and reported to run, as this node has it."""
    tasks = node.state._replicas.tasks
    is_wanted = (tasks.service >= 0) & (tasks.desired == TaskState.RUNNING)
    return int(np.count_nonzero(is_wanted & (tasks.state == TaskState.RUNNING)))


class Handlers:
    """CPU time of every handler, by who handled what: from the end of one to the end of the next within a run.

    Python's garbage collections are counted apart: they fall on whoever happens to make the next object.
    """

    def __init__(self, system: Virtual, then: Callable[[str], object] | None = None) -> None:
        """then: called with the name of who has handled a message, at nobody's expense."""
        self._then = then
        self.slowest_ns: dict[tuple[str, str], int] = {}
        """By (actor without its own name, message)."""
        self.longest_collection_ns = 0
        self._spent_ns: dict[str, int] = {}
        self._system = system
        self._before = 0
        self._collecting = 0
        self._run = system.run

    def cpu_ms(self, actors: Sequence[str]) -> float:
        """What these have spent so far."""
        return sum(self._spent_ns.get(actor, 0) for actor in actors) / 1e6

    def __enter__(self) -> Handlers:
        self._system.observers.append(self._handled)
        self._system.run = self._run_from_now  # type: ignore[method-assign]
        gc.callbacks.append(self._collected)
        self._before = time.process_time_ns()
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._collected)
        del self._system.run
        self._system.observers.remove(self._handled)

    def _run_from_now(self, *args: Any, **kwargs: Any) -> None:
        self._before = time.process_time_ns()
        self._run(*args, **kwargs)

    def _handled(self, name: str, message: Any) -> None:
        spent = time.process_time_ns() - self._before
        self._spent_ns[name] = self._spent_ns.get(name, 0) + spent
        key = (name.rpartition("/")[0] or name, type(message).__name__)
        if spent > self.slowest_ns.get(key, 0):
            self.slowest_ns[key] = spent
        if self._then is not None:
            self._then(name)
        self._before = time.process_time_ns()

    def _collected(self, phase: str, _: dict[str, int]) -> None:
        now = time.process_time_ns()
        if phase == "start":
            self._collecting = now
        else:
            self._before += now - self._collecting
            self.longest_collection_ns = max(self.longest_collection_ns, now - self._collecting)


def peak_rss_mb() -> int:
    """The most memory that this process has held, in MB of a million bytes."""
    try:
        # What ru_maxrss says of a child begins with what its parent held.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        kib = int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, ValueError, IndexError):
        import resource

        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kib * 1024 / 1e6)
