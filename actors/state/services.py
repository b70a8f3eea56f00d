"""The services of a cluster: what is desired of each, and how many of its replicas are placed, lost and misplaced."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from . import restarts
from .needs import Needs, needs_of
from .records import CronStatus, ScaleStatus, ServiceRecord, UpdateStatus as UpdateStatus
from .specs import ServiceSpec, is_same_template

EARLIER_KEPT = 10
"""Specs of a service that are remembered beside the present one."""


class Service(msgspec.Struct, kw_only=True, array_like=True):
    """A service; `placed` and `lost` count its tasks that should run, on ready nodes and on those down.

    replicas: how many should run: what the spec says, or for a global service the nodes that it belongs on, for one
    that is autoscaled what was decided last, for a cron service what its present run has.
    misplaced: of those placed, how many are where they may not stay. is_removed: only its last tasks are waited for.
    restarts, history: rows (`restarts.py`, `history.py`). held: slots that do not run because their task ended; of
    these, `done` will not start again, `completed` because they did what they were for. previous: the template and the
    spec to roll back to. demand_ms: since when the simulated demand is set, on the cluster's clock.
    """

    number: int
    name: str
    replicas: int = 0
    version: int = 0
    template: int = 0
    placed: int = 0
    lost: int = 0
    misplaced: int = 0
    updated_index: int = 0
    is_removed: bool = False
    spec: ServiceSpec = ServiceSpec(replicas=0)
    earlier: tuple[tuple[int, ServiceSpec], ...] = ()
    has_begun: bool = False
    restarts: bytes = b""
    history: bytes = b""
    held: int = 0
    done: int = 0
    completed: int = 0
    update: UpdateStatus | None = None
    previous: tuple[int, ServiceSpec] | None = None
    scaled: ScaleStatus | None = None
    cron: CronStatus | None = None
    demand_ms: int | None = None
    stack: str = ""
    """The stack that it came with; empty for one that was made by itself."""
    stack_index: int = 0
    """The log index at which another service left that stack."""
    keeps_on_nodes: bool = False
    """As in the command PutService that made it, or changed it last."""

    @property
    def size(self) -> int:
        """Slots a replica."""
        return self.spec.reservations.slots

    @property
    def needs(self) -> Needs:
        """What a new task of it takes."""
        return needs_of(self.spec)

    @property
    def is_settled(self) -> bool:
        """Exactly what is desired is placed, where it may be, and nothing is left on nodes that are down."""
        return self.is_placed and not (self.update is not None and self.update.is_active)

    @property
    def is_placed(self) -> bool:
        """The same, whether of the right template or not."""
        # A task of a global service waits on its node until that comes back: nobody else has its place.
        lost = 0 if self.spec.is_global else self.lost
        # A slot that waits for its restart is missed only where too few run: others may have taken its place meanwhile.
        fewest = at_a_time(self.spec, max(0, self.replicas - self.done))
        most = self.replicas
        if self.spec.is_job:
            # Those beyond what may run at a time wait for their turn, also what it lost and what failed. Told to take
            # fewer at a time, it lets those end that run.
            most = max(0, self.replicas - self.held) - lost
            lost = 0
        return fewest <= self.placed <= most and not lost and not self.misplaced

    @property
    def pending(self) -> int:
        """Replicas that should run and do not, also those that wait for their restart."""
        return max(0, at_a_time(self.spec, self.replicas - self.done) - self.placed)

    def set_restarts(self, rows: bytes) -> None:
        """What became of slots whose tasks ended."""
        kinds = restarts.rows_of(rows)[:, restarts.KIND]
        self.restarts = rows
        self.held = int(np.count_nonzero(kinds != restarts.RUNS))
        self.done = int(np.count_nonzero(kinds >= restarts.GIVEN_UP))
        self.completed = int(np.count_nonzero(kinds == restarts.COMPLETED))

    def become(
        self, spec: ServiceSpec, index: int, *, keeps_template: bool = False, scales: bool = False
    ) -> None:
        """Take on another spec, as the next version. The one before is remembered, unless a service call replaced it:
        that changes a number, and says which. `scales`: the user means the number, although the spec had it before."""
        if self.version and not keeps_template:
            self.earlier = (*self.earlier, (self.version, self.spec))[-EARLIER_KEPT:]
        # What a run of a cron service was made from stays; the next one is made from what the spec says then.
        keeps_template |= spec.is_cron
        same = bool(self.version) and (keeps_template or is_same_template(self.spec, spec))
        replicas = desired(spec, self.spec if self.version else None, self.replicas, scales=scales)
        self._begin_anew(spec)
        self.version += 1
        if not same:
            self.template = self.version
            self.set_restarts(b"")
        self.spec = spec
        self.updated_index = index
        if not spec.is_global:
            self.set_replicas(replicas)

    def set_replicas(self, replicas: int) -> None:
        """Another number of them. Of fewer those go first that do not run."""
        self.replicas = replicas
        if self.restarts:
            running = min(self.placed + self.lost, replicas)
            self.set_restarts(restarts.trimmed(self.restarts, replicas - running))

    def _begin_anew(self, spec: ServiceSpec) -> None:
        """What is counted from when the spec was set is not counted from before."""
        if spec.simulate.demand != self.spec.simulate.demand:
            self.demand_ms = None
        if spec.autoscale is None:
            self.scaled = None
        if spec.is_cron:
            before, cron = self.spec, self.cron or CronStatus()
            is_resumed = not before.replicas and spec.replicas
            if is_resumed or (before.schedule, before.time_zone) != (spec.schedule, spec.time_zone):
                cron = msgspec.structs.replace(cron, decided_ms=None)
            self.cron = cron

    def record(self) -> ServiceRecord:
        return ServiceRecord(
            number=self.number,
            name=self.name,
            replicas=self.replicas,
            slots_per_replica=self.size,
            description=self.spec.description,
            version=self.version,
            placed=self.placed,
            lost=self.lost,
            updated_index=self.updated_index,
            spec=self.spec,
            template=self.template,
            misplaced=self.misplaced,
            earlier=self.earlier,
            done=self.done,
            completed=self.completed,
            waiting=self.pending,
            update=self.update,
            scaled=self.scaled,
            cron=self.cron,
            demand_ms=self.demand_ms,
            stack=self.stack,
            stack_index=max(self.updated_index, self.stack_index),
            keeps_on_nodes=self.keeps_on_nodes,
        )


def desired(spec: ServiceSpec, before: ServiceSpec | None, present: int, *, scales: bool) -> int:
    """How many replicas there should be once `spec` takes the place of `before`, where there are `present`."""
    if spec.is_cron:
        return present
    if spec.autoscale is None:
        return spec.replicas
    keeps = before is not None and before.autoscale is not None and before.replicas == spec.replicas and not scales
    return spec.autoscale.within(present if keeps else spec.replicas)


def at_a_time(spec: ServiceSpec, replicas: int) -> int:
    """How many of so many may run at once: a job may be told to take fewer."""
    return min(replicas, spec.max_concurrent) if spec.is_job and spec.max_concurrent else replicas


class ServiceTable:
    """Services by name and by number, in order of creation, with a list of those that are not settled."""

    def __init__(self, services: tuple[Service, ...] = (), next_number: int = 0) -> None:
        self.all = {service.number: service for service in services}
        self.next_number = next_number
        self._by_name = {service.name: service for service in services if not service.is_removed}
        self._leaving = {service.number: None for service in services if service.is_removed}
        self._unsettled: dict[int, None] = {}
        self._everywhere: dict[int, None] = {}
        self._nested: dict[int, None] = {}
        self._watched: dict[int, None] = {}
        for service in services:
            self.settle(service)

    def __iter__(self) -> Iterator[Service]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def newest_first(self) -> Iterator[Service]:
        return reversed(self._by_name.values())

    def find(self, name: str) -> Service | None:
        return self._by_name.get(name)

    def add(self, name: str) -> Service:
        service = Service(number=self.next_number, name=name)
        self.next_number += 1
        self.all[service.number] = service
        self._by_name[name] = service
        return service

    def remove(self, service: Service) -> None:
        """Its name is free at once; its number when `forget` is told."""
        service.is_removed, service.replicas = True, 0
        del self._by_name[service.name]
        self._leaving[service.number] = None
        self._unsettled.pop(service.number, None)
        self._everywhere.pop(service.number, None)
        self._watched.pop(service.number, None)

    @property
    def has_leaving(self) -> bool:
        return bool(self._leaving)

    def leaving(self) -> tuple[int, ...]:
        """Removed services whose last tasks are waited for."""
        return tuple(self._leaving)

    def forget(self, number: int) -> None:
        del self.all[number], self._leaving[number]
        self._nested.pop(number, None)

    def nested(self) -> tuple[int, ...]:
        """The numbers of those that are clusters, removed ones too while they have tasks."""
        return tuple(sorted(self._nested))

    def of_stack(self, stack: str) -> tuple[Service, ...]:
        """The services of a stack, in order of creation."""
        return tuple([service for service in self if service.stack == stack])

    def everywhere(self) -> tuple[int, ...]:
        """The numbers of global services: every change of a node concerns them."""
        return tuple(self._everywhere)

    @property
    def is_watched(self) -> bool:
        """Whether there is any of the three kinds below."""
        return bool(self._watched)

    def loaded(self) -> list[Service]:
        """Those whose simulated replicas use something, in order of creation."""
        return [service for service in self._watching() if service.spec.simulate.has_load]

    def autoscaled(self) -> list[Service]:
        """Those whose number of replicas follows what they use, in order of creation."""
        return [service for service in self._watching() if service.spec.autoscale is not None]

    def crons(self) -> list[Service]:
        """Those that run by a schedule, in order of creation."""
        return [service for service in self._watching() if service.spec.is_cron]

    def _watching(self) -> list[Service]:
        return [self.all[number] for number in sorted(self._watched)] if self._watched else []

    def settle(self, service: Service) -> None:
        """To be called after each change of a service's numbers."""
        spec = service.spec
        if spec.cluster is not None:
            self._nested[service.number] = None
        if not service.is_removed and (spec.autoscale is not None or spec.is_cron or spec.simulate.has_load):
            self._watched[service.number] = None
        elif self._watched:
            self._watched.pop(service.number, None)
        if service.spec.is_global and not service.is_removed:
            self._everywhere[service.number] = None
        if service.is_settled or service.is_removed:
            self._unsettled.pop(service.number, None)
        else:
            self._unsettled[service.number] = None

    def unsettled(self) -> tuple[Service, ...]:
        return tuple([self.all[number] for number in sorted(self._unsettled)])

    def unsettled_numbers(self) -> list[int]:
        return sorted(self._unsettled)
