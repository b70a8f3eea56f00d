"""Random upheavals of a cluster, told from a seed, and what must have become of it when it is left alone.

All that a user can do and all that can happen, in any order: losses, drains, updates, rollbacks, scaling, labels,
removals, isolated leaders, rebalances, priorities with and without preemption. Then nobody does anything any more,
whether every node is back or not: what is desired runs, or waits for a reason that is checked here by hand.

`python tests/actors/upheaval.py SEED` tells one upheaval step by step.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from story import NAMED, Story
from yard import Yard

from raftyard.actors.messages import ChangeService, ChangeSettings, RebalanceRequest, StopRebalance
from raftyard.actors.scenarios.checkers.calls import Retold
from raftyard.actors.scheduling.reasons import why_update_waits
from raftyard.actors.state import restarts
from raftyard.actors.state.machine import ClusterState
from raftyard.actors.state.needs import needs_of
from raftyard.actors.state.records import NodeRecord, ServiceRecord
from raftyard.actors.state.task_states import TaskState

LEFT_ALONE_S = 90.0
QUIET_S = 3.0
"""For so long nothing is proposed any more."""


class Upheaval(Story):
    """One upheaval. What happens is drawn from the seed alone."""

    def __init__(self, seed: int, steps: int = 40, **virtual: Any) -> None:
        super().__init__(seed, steps, **virtual)
        self.lost: list[str] = []

    def play(self) -> Yard:
        """Tell it all, and check what became of the cluster; raises AssertionError where a promise is broken."""
        with self.yard as yard:
            yard.run(self.random.uniform(0.0, 2.0))
            actions = self._actions()
            for _ in range(self.steps):
                self.random.choices([a for a, _ in actions], [weight for _, weight in actions])[0]()
                yard.run(self.random.choice((0.0, 0.01, 0.1, 0.3, 1.0)) * self.random.random())
            yard.heal()
            if self.random.random() < 0.4:
                self._lose_for_good()
            self._leave_alone()
            self._account()
            return yard

    def _actions(self) -> list[tuple[Any, int]]:
        return [*super()._actions(), (self._rebalance, 4), (self._stop_rebalance, 1), (self._set_preemption, 2)]

    # -- what may happen besides

    def _put_service(self) -> None:
        draw = self.random
        if draw.random() < 0.4:
            super()._put_service()
            return
        name = draw.choice((*NAMED[1:], "job"))
        spec: dict[str, Any] = {"image": draw.choice("abc"), "priority": draw.choice((0, 20, 45, 50, 60, 95))}
        spec["replicas"] = draw.choice((1, 4, 9, 30))
        spec["reservations"] = {"slots": draw.choice((1, 1, 2, 5))}
        spec["restart"] = {"delay_s": draw.choice((0.2, 1)), "max_attempts": draw.choice((0, 2))}
        if name == "job":
            spec |= {"mode": "replicated-job", "max_concurrent": draw.choice((0, 2)), "simulate": {"run_s": 0.5}}
        elif draw.random() < 0.3:
            spec["simulate"] = {"start_s": 0.3}
        if draw.random() < 0.3:
            spec["placement"] = {"max_replicas_per_node": draw.choice((1, 3)), "preferences": ["node.labels.zone"]}
        if draw.random() < 0.2:
            spec["placement"] = spec.get("placement", {}) | {"profile": "usage"}
            spec["simulate"] = spec.get("simulate", {}) | {"usage": {"cpu_milli": draw.choice((5, 100))}}
        if draw.random() < 0.2:
            spec["depends_on"] = {draw.choice(("everywhere", "queue")): draw.choice(("started", "healthy"))}
        self._tell(f"put {name} {spec}")
        self.yard.later(ChangeService(service=name, body=spec))

    def _rebalance(self) -> None:
        order = RebalanceRequest(
            max_moves=self.random.choice((1, 5, 100)), max_parallel=self.random.choice((1, 3)), dry_run=False
        )
        self._tell(f"rebalance {order.max_moves} {order.max_parallel}")
        self.yard.later(order)

    def _stop_rebalance(self) -> None:
        self._tell("stop rebalance")
        self.yard.later(StopRebalance())

    def _set_preemption(self) -> None:
        on = self.random.random() < 0.7
        self._tell(f"preemption {on}")
        self.yard.later(ChangeSettings(body={"preemption": on}))

    def _lose_for_good(self) -> None:
        """A node is never heard again; the others are a majority, so what is asked of the membership ends first."""
        self.yard.settle(within_s=LEFT_ALONE_S)
        name, voters = self._one(), self.yard.node(self.yard.leader()).raft.membership.voters
        if 2 * len([voter for voter in voters if voter != name]) > len(voters):
            self.lost = [name]
            self._tell(f"{name} is lost for good")
            self.yard.cut(*self.yard.around(name))

    # -- what must become of it

    def _account(self) -> None:
        super()._account()
        raft = self.yard.promises.raft()
        Lives(zip(raft.committed_terms, raft.committed_payloads, strict=True))

    def _leave_alone(self) -> None:
        yard, quiet_since, last = self.yard, self.yard.now, -1
        end = yard.now + LEFT_ALONE_S
        while yard.now - quiet_since < QUIET_S:
            why = self._why_unsettled()
            now = -1 if why is not None else yard.node(yard.leader()).raft.last_index
            if why is not None or now != last:
                quiet_since, last = yard.now, now
            assert yard.now < end, f"left alone for {LEFT_ALONE_S} s: {why or 'something is proposed again and again'}"
            yard.run(0.1)

    def _why_unsettled(self) -> str | None:
        yard = self.yard
        if not self.lost:
            why = yard.why_unsettled()
            if why is not None:
                return why
        leading = [name for name in yard.leading() if name not in self.lost]
        front = yard.front()
        if front is None or len(leading) != 1 or front.leader != leading[0]:
            return f"{leading} lead, the front door follows {front and front.leader}"
        if front._courier.waiting:
            return f"{len(front._courier.waiting)} commands wait"
        leader = yard.node(leading[0])
        if leader.applied != leader.raft.last_index:
            return "entries are not applied yet"
        return why_not_converged(leader.state, yard.running())


class Lives(Retold):
    """The log applied anew: after every entry no task has gone back to an earlier state, or to an earlier wish, no id
    was given twice, and of no slot more than five ends are remembered."""

    def __init__(self, entries: Iterable[tuple[int, bytes]]) -> None:
        self._seen: dict[int, tuple[int, int]] = {}
        self._newest = 0
        super().__init__(entries)

    def apply(self, index: int, command: bytes) -> dict[str, Any]:
        result = super().apply(index, command)
        tasks, seen = self.state._replicas.tasks, {}
        live = tasks.service >= 0
        columns = zip(tasks.id[live].tolist(), tasks.state[live].tolist(), tasks.desired[live].tolist(), strict=True)
        for task, state, desired in columns:
            before = self._seen.get(task, (0, 0))
            is_forward = state >= before[0] and desired >= before[1]
            assert is_forward, f"entry {index}: task {task} went from {before} to {(state, desired)}"
            assert task in self._seen or task > self._newest, f"entry {index}: task {task} is back"
            seen[task] = (state, desired)
        self._newest = max(self._newest, *seen, 0)
        self._seen = seen
        for service in self.state.services():
            slots = [past.slot for past in self.state.history(service.name, limit=10_000)]
            assert all(slots.count(slot) <= 5 for slot in set(slots)), f"entry {index}: {service.name} {slots}"
        return result


def why_not_converged(state: ClusterState, running: dict[str, list[int]]) -> str | None:
    """Why what is desired is not what is, and does not wait for a true reason either; None where all is well.

    running: the ids of the tasks that each node's agent runs.
    """
    if state.pending_calls():
        return f"calls wait: {[call.id for call in state.pending_calls()]}"
    rebalance = state.rebalance()
    if rebalance is not None and rebalance.is_under_way:
        return f"a rebalance goes on: {rebalance.moves}"
    for node in state.nodes():
        tasks = state.tasks_of(node.name)
        wanted = sorted(task.id for task in tasks if task.desired == TaskState.RUNNING)
        if node.status == "ready" and sorted(running.get(node.name, [])) != wanted:
            return f"{node.name} runs {running.get(node.name)}, should run {wanted}"
        if node.status == "ready" and any(task.state != TaskState.RUNNING for task in tasks):
            return f"tasks of {node.name}: {tasks}"
    for service in state.services():
        why = _why_service(state, service)
        if why is not None:
            return why
    return None


def _why_service(state: ClusterState, service: ServiceRecord) -> str | None:
    lost = 0 if service.spec.is_global else service.lost
    update = service.update
    is_updating = update is not None and update.is_active
    if service.placed + lost > max(0, service.replicas - service.done) and not is_updating:
        return f"too many of {service}"
    waits = restarts.waiting(state.restarts(service.name).tobytes(), state.clock_ms())
    takes_one = node_for_one_more(state, service)
    if service.pending > len(waits) and not state.unmet(service.name) and takes_one:
        return f"{service.name} waits, and {takes_one} would take a replica: {state.why_waiting(service.name)}"
    if bool(service.pending) != bool(state.why_waiting(service.name)):
        return f"{service.name}: {service.pending} wait because of {state.why_waiting(service.name)!r}"
    if len(waits):
        return f"{service.name} is about to start again"
    if is_updating and not service.pending and (takes_one or not why_update_waits(state, service.name)):
        return f"the update of {service.name} goes on"
    gentle = [node for node in state.nodes() if node.availability == "drain" and node.drain_parallel]
    if service.misplaced and not (gentle and service.pending):
        return f"{service.misplaced} of {service.name} are where they may not stay"
    return None


def node_for_one_more(state: ClusterState, service: ServiceRecord) -> str | None:
    """By hand, node by node and task by task: where one more replica could be, if those went that had to go for it."""
    takes = needs_of(service.spec)
    for node in state.nodes():
        if node.status != "ready" or node.availability != "active" or not _meets(node, service):
            continue
        free = {"slots": node.capacity, **node.resources}
        here = 0
        for other in state.services():
            goes = state.settings().preemption and other.spec.priority + 10 <= service.spec.priority
            tasks = state.wanted(other.name)
            for kind in tasks.needs[tasks.nodes == node.number].tolist() if not goes else ():
                for name, units in (("slots", state.needs(kind).slots), *state.needs(kind).more):
                    free[name] = free.get(name, 1 if name.startswith("port/") else 1 << 60) - units
            if other.name == service.name:
                here = int((tasks.nodes == node.number).sum())
        most = service.spec.placement.max_replicas_per_node
        if service.spec.is_global and (here or _has_ended(state, service, node)):
            continue
        if most and here >= most:
            continue
        if all(free.get(name, 1) >= units for name, units in (("slots", takes.slots), *takes.more)):
            return node.name
    return None


def _has_ended(state: ClusterState, service: ServiceRecord, node: NodeRecord) -> bool:
    rows = state.restarts(service.name)
    return bool(((rows[:, restarts.SLOT] == node.number + 1) & (rows[:, restarts.KIND] != restarts.RUNS)).any())


def _meets(node: NodeRecord, service: ServiceRecord) -> bool:
    for rule in service.spec.placement.constraints:
        attribute, operator, value = rule.split()
        is_equal = dict(node.labels).get(attribute.removeprefix("node.labels."), "") == value
        if is_equal != (operator == "=="):
            return False
    return True


def play(seed: int, **virtual: Any) -> Yard:
    """Play the upheaval of a seed; a broken promise tells how to see it again."""
    upheaval = Upheaval(seed, **virtual)
    try:
        return upheaval.play()
    except BaseException as error:
        error.add_note("\n".join(upheaval.told))
        error.add_note(f"replay with: python tests/actors/upheaval.py {seed}")
        raise


if __name__ == "__main__":
    yard = play(int(sys.argv[1]))
    print(f"upheaval {sys.argv[1]} ended well: {yard.system.statistics()}")
