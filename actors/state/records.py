"""What the agreed state tells, as plain values: nodes, services, tasks, calls, and what a command led to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from .commands import Availability, ClusterNode, ServiceRequest
from .needs import Needs
from .runs import Ints
from .specs import ServiceSpec, Simulated
from .task_states import TaskState

CallStatus = Literal["spreading pending", "spreading", "executed", "failed"]


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A node as agreed on. `number` is its order of joining, never used again after it leaves.

    resources: units of what it has beside `capacity` slots. platform: (os, arch), empty where unknown.
    drain_parallel: replicas of one service that may move at a time, 0 = all. drain_ms: when the drain may stop being
    gentle, on the cluster's clock; None before the leader has set it, or where there is no deadline. gpu_model: of its
    GPU devices, which are `resources["gpus"]`.
    """

    number: int
    name: str
    host: str
    port: int | None
    capacity: int
    labels: tuple[tuple[str, str], ...] = ()
    status: Literal["ready", "down", "removed"] = "ready"
    incarnation: int = 0
    availability: Availability = "active"
    resources: dict[str, int] = {}
    platform: tuple[str, str] = ("", "")
    drain_parallel: int = 0
    drain_deadline_s: float | None = None
    drain_ms: int | None = None
    gpu_model: str = ""


UpdateState = Literal[
    "updating", "paused", "completed", "rollback_started", "rollback_paused", "rollback_completed"
]
"""Swarm's; a service that was never updated has none, which is the seventh."""


class UpdateStatus(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """How far an update has come; times are in ms on the cluster's clock. `total` replicas are to be replaced."""

    state: UpdateState
    started_ms: int
    total: int
    failures: int = 0
    message: str = ""
    completed_ms: int | None = None

    @property
    def is_active(self) -> bool:
        return self.state in ("updating", "rollback_started")


class ScaleStatus(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What the autoscaler did last; `at_ms` on the cluster's clock, `usage` as in the unit of its target."""

    at_ms: int
    was: int
    replicas: int
    why: str
    usage: float


class CronStatus(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """How far a schedule has been carried out. Times are the wall clock's in ms since 1970, decided by leaders.

    decided_ms: whatever was due until then has run, was left out or was missed; None: a leader says from when on.
    run_ms: for when the last run was due, started_ms: when it began on the cluster's clock.
    """

    decided_ms: int | None = None
    run_ms: int | None = None
    started_ms: int = 0
    runs: int = 0
    left_out: int = 0
    missed: int = 0


class CronService(msgspec.Struct, frozen=True):
    """A service that runs by a schedule, and up to when that is decided (ms since 1970)."""

    name: str
    version: int
    spec: ServiceSpec
    decided_ms: int | None


class ServiceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A service: what is desired, and how much of it there is. Pending replicas are on no ready node.

    version: counts every change of the spec. template: the version from which new tasks are made. misplaced: replicas
    on nodes where they may not stay.
    """

    number: int
    name: str
    replicas: int
    slots_per_replica: int
    description: str
    version: int
    placed: int
    lost: int
    updated_index: int
    spec: ServiceSpec = ServiceSpec()
    template: int = 0
    misplaced: int = 0
    earlier: tuple[tuple[int, ServiceSpec], ...] = ()
    done: int = 0
    completed: int = 0
    waiting: int = 0
    update: UpdateStatus | None = None
    scaled: ScaleStatus | None = None
    cron: CronStatus | None = None
    demand_ms: int | None = None
    stack: str = ""
    stack_index: int = 0
    """When something of its stack last changed on its account."""
    keeps_on_nodes: bool = False

    @property
    def pending(self) -> int:
        """Replicas that should run and do not."""
        return self.waiting


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A service call and what became of it. `log_index` is its own entry, `executed_index` the one that
    carried it out.

    absorbed: older calls that are carried out with it. load_distribution: (node name, replicas) of the
    call's services right after it was executed.
    """

    id: str
    status: CallStatus
    services: tuple[ServiceRequest, ...]
    body: bytes
    received_ms: int
    idempotency_key: str | None
    log_index: int
    executed_index: int | None = None
    merged_into: str | None = None
    absorbed: tuple[str, ...] = ()
    placed: int = 0
    pending: int = 0
    reason: str = ""
    load_distribution: tuple[tuple[str, int], ...] = ()


class ClusterRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A further cluster, as cluster 0 knows it."""

    id: str
    nodes: tuple[ClusterNode, ...]
    index: int


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to run a replica in a slot, as of `updated_ms` on the cluster's clock. It holds `gpu_milli` of each
    of these GPU devices."""

    id: int
    service: str
    slot: int
    node: str
    state: TaskState
    desired: TaskState
    slots: int
    version: int
    updated_ms: int
    devices: tuple[int, ...] = ()
    gpu_milli: int = 0


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks of a service that should run, in columns of equal length, by slot. `needs` are numbers (`needs.py`)."""

    ids: Ints
    slots: Ints
    nodes: Ints
    states: Ints
    versions: Ints
    needs: Ints
    updated_ms: Ints


class WantedThere(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks of some nodes that should run, in columns of equal length, by id. `services` and `needs` are numbers."""

    ids: Ints
    services: Ints
    slots: Ints
    nodes: Ints
    versions: Ints
    needs: Ints


class AssignedTasks(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """`count` tasks of one service with neighbouring slots and ids. Each holds `gpu_milli` of these GPU devices.

    generation: of a cluster, the service's number, by which it differs from an earlier one of the same name.
    is_leaving: these are wanted no more, and stay until their cluster has let them go.
    """

    service: str
    first_slot: int
    first_task: int
    count: int
    slots_per_replica: int
    simulate: Simulated = Simulated()
    devices: tuple[int, ...] = ()
    gpu_milli: int = 0
    generation: int | None = None
    is_leaving: bool = False


class NestedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A service that is a cluster: the tasks that should be its nodes, by id, as (task id, node name, what it has)."""

    service: str
    generation: int
    tasks: tuple[tuple[int, str, Needs], ...]


class Assignments(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a node should run. `version`, a log index, changes only when this does."""

    node: str
    version: int
    runs: tuple[AssignedTasks, ...] = ()

    @property
    def replicas(self) -> int:
        return sum(run.count for run in self.runs if not run.is_leaving)

    def tasks(self) -> Iterator[tuple[int, str, int]]:
        """(task id, service, slot), one by one."""
        for run in self.runs:
            for offset in range(run.count):
                yield run.first_task + offset, run.service, run.first_slot + offset


class StackRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Services that were deployed together. version: the log index of the last change of any of them."""

    name: str
    version: int
    services: tuple[ServiceRecord, ...]


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """Replicas of a service that wait for room, and why."""

    service: str
    waiting: int
    replicas: int
    reason: str


class StateEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A line for the event log; `data` is ready for JSON. One event may cover ranges of slots.

    runs: (node number, first slot, last slot) as bytes (`runs.py`): every member keeps them until somebody has been
    told, so they become lists in `data` only where they are told (`untold.py`).
    """

    kind: str
    data: dict[str, Any]
    runs: bytes = b""


class Happening(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The events of one entry. `after` is the entry before it that led to any: so a gap is noticed."""

    index: int
    after: int
    events: tuple[StateEvent, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a command led to. Refusals are values: `code` for programs, `reason` for people.

    version: that a service has now. call: the call concerned. assignments: names of nodes whose assignments
    changed, in order of joining.
    queue, nodes, services, clusters: whether that part of the state changed.
    """

    ok: bool = True
    code: str = ""
    reason: str = ""
    version: int = 0
    call: CallRecord | None = None
    duplicate: bool = False
    assignments: tuple[str, ...] = ()
    queue: bool = False
    nodes: bool = False
    services: bool = False
    clusters: bool = False
    events: tuple[StateEvent, ...] = ()

    @property
    def changed_nothing(self) -> bool:
        """Whether the command was refused, or had been carried out before: the state is as it was."""
        return (self.duplicate or not self.ok) and not self.events and not self.assignments
