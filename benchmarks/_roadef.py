"""Google's machine reassignment challenge (ROADEF/EURO 2012): its files, and a judge that knows nothing of our search.

The judge is written from the challenge's rules, in plain loops over the instance as it was read, in exact integers. It
shares no code with raftyard, so that what it accepts is right whatever our columns say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raftyard.actors.scheduling.reassignment import Balance, Reassignment

from . import UsageError

# data/README.md: what Gurobi found in an hour; a1_1, a1_3 and a1_5 are optimal.
BEST_KNOWN = {"a1_1": 44306501, "a1_2": 777531842, "a1_3": 583005719, "a1_4": 262086758, "a1_5": 727578311}


@dataclass(frozen=True)
class Resource:
    is_transient: bool
    load_weight: int


@dataclass(frozen=True)
class Machine:
    neighborhood: int
    location: int
    capacity: tuple[int, ...]
    safety: tuple[int, ...]
    move_cost_to: tuple[int, ...]


@dataclass(frozen=True)
class Service:
    spread_min: int
    depends_on: tuple[int, ...]


@dataclass(frozen=True)
class Process:
    service: int
    requirement: tuple[int, ...]
    move_cost: int


@dataclass(frozen=True)
class Goal:
    first: int
    second: int
    target: int
    weight: int


@dataclass(frozen=True)
class Instance:
    resources: tuple[Resource, ...]
    machines: tuple[Machine, ...]
    services: tuple[Service, ...]
    processes: tuple[Process, ...]
    goals: tuple[Goal, ...]
    process_weight: int
    service_weight: int
    machine_weight: int
    initial: tuple[int, ...]


def find(folder: str) -> dict[str, tuple[Path, Path]]:
    """The instances in a folder, or in its folder roadef2012, by name: (model, assignment). Raises UsageError."""
    for place in (Path(folder), Path(folder) / "roadef2012"):
        models = sorted(place.glob("model_*.txt"))
        if models:
            pairs = {model.stem.removeprefix("model_"): model for model in models}
            return {name: (model, place / f"assignment_{name}.txt") for name, model in pairs.items()}
    raise UsageError(
        f"--data {folder}: no model_NAME.txt there; name the folder that holds the ROADEF instances"
    )


def parse(model: str, assignment: str) -> Instance:
    """An instance from the text of its two files. Raises UsageError when numbers are missing or left over."""
    numbers = map(int, model.split())
    try:
        read = _parse(numbers, tuple(map(int, assignment.split())))
    except StopIteration:
        raise UsageError(
            "a model file ends early; it is not one of the challenge's, or was cut off"
        ) from None
    if next(numbers, None) is not None or len(read.initial) != len(read.processes):
        raise UsageError("a model file has numbers left over, or its assignment is another instance's")
    return read


def _parse(numbers: Iterator[int], initial: tuple[int, ...]) -> Instance:
    def take(count: int) -> tuple[int, ...]:
        return tuple([next(numbers) for _ in range(count)])

    (kinds,) = take(1)
    resources = tuple([Resource(bool(next(numbers)), next(numbers)) for _ in range(kinds)])
    (size,) = take(1)
    machines = tuple([Machine(*take(2), take(kinds), take(kinds), take(size)) for _ in range(size)])
    services = tuple([Service(next(numbers), take(next(numbers))) for _ in range(next(numbers))])
    processes = tuple([Process(next(numbers), take(kinds), next(numbers)) for _ in range(next(numbers))])
    goals = tuple([Goal(*take(4)) for _ in range(next(numbers))])
    return Instance(resources, machines, services, processes, goals, *take(3), initial)


def fleet_of(instance: Instance) -> Reassignment:
    """The same problem in our columns."""
    rows = instance.machines, instance.processes
    return Reassignment(
        capacity=_table([machine.capacity for machine in rows[0]]),
        safety=_table([machine.safety for machine in rows[0]]),
        requirement=_table([process.requirement for process in rows[1]]),
        home=_table(instance.initial),
        service=_table([process.service for process in rows[1]]),
        resource_weight=_table([resource.load_weight for resource in instance.resources]),
        transient=np.array([resource.is_transient for resource in instance.resources]),
        balances=tuple(
            Balance(first=goal.first, second=goal.second, target=goal.target, weight=goal.weight)
            for goal in instance.goals
        ),
        location=_table([machine.location for machine in rows[0]]),
        neighborhood=_table([machine.neighborhood for machine in rows[0]]),
        max_per_node=np.ones(len(instance.services), dtype=np.int64),
        spread=_table([service.spread_min for service in instance.services]),
        depends=tuple((s, on) for s, service in enumerate(instance.services) for on in service.depends_on),
        task_move_cost=_table([process.move_cost for process in rows[1]]),
        node_move_cost=_table([machine.move_cost_to for machine in rows[0]]),
        task_move_weight=instance.process_weight,
        service_move_weight=instance.service_weight,
        node_move_weight=instance.machine_weight,
    )


def _table(rows: Sequence[int] | Sequence[Sequence[int]]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.array(rows, dtype=np.int64)


def judged_cost(instance: Instance, assignment: Sequence[int]) -> int:
    """The challenge's objective: load, balance, process move, service move, machine move."""
    total = 0
    for number, machine in enumerate(instance.machines):
        held = _held(instance, assignment, number)
        for resource, use, safety in zip(instance.resources, held, machine.safety, strict=True):
            total += resource.load_weight * max(0, use - safety)
        free = [capacity - use for capacity, use in zip(machine.capacity, held, strict=True)]
        for goal in instance.goals:
            total += goal.weight * max(0, goal.target * free[goal.first] - free[goal.second])
    moved_of_service = [0] * len(instance.services)
    for process, was, now in zip(instance.processes, instance.initial, assignment, strict=True):
        if was != now:
            total += instance.process_weight * process.move_cost
            total += instance.machine_weight * instance.machines[was].move_cost_to[now]
            moved_of_service[process.service] += 1
    return total + instance.service_weight * max(moved_of_service, default=0)


def judged_breaches(instance: Instance, assignment: Sequence[int]) -> list[str]:
    """Each hard constraint that the assignment breaks: capacity with transient usage, conflict, spread, dependency."""
    found = []
    for number, machine in enumerate(instance.machines):
        held = _held(instance, assignment, number)
        for process, was, now in zip(instance.processes, instance.initial, assignment, strict=True):
            if was == number != now:
                for index, resource in enumerate(instance.resources):
                    held[index] += process.requirement[index] if resource.is_transient else 0
        if any(use > capacity for use, capacity in zip(held, machine.capacity, strict=True)):
            found.append(f"capacity: machine {number}")
    of_service: list[list[int]] = [[] for _ in instance.services]
    for process, now in zip(instance.processes, assignment, strict=True):
        of_service[process.service].append(now)
    for number, service in enumerate(instance.services):
        machines = of_service[number]
        if len(machines) != len(set(machines)):
            found.append(f"conflict: service {number}")
        if len({instance.machines[machine].location for machine in machines}) < service.spread_min:
            found.append(f"spread: service {number}")
        mine = {instance.machines[machine].neighborhood for machine in machines}
        missed = [
            on
            for on in service.depends_on
            if mine - {instance.machines[machine].neighborhood for machine in of_service[on]}
        ]
        found += [f"dependency: service {number} on {on}" for on in missed]
    return found


def _held(instance: Instance, assignment: Sequence[int], machine: int) -> list[int]:
    there = [p.requirement for p, now in zip(instance.processes, assignment, strict=True) if now == machine]
    return [sum(amounts) for amounts in zip(*there, strict=True)] or [0] * len(instance.resources)
