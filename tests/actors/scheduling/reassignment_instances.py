"""Small problems of the machine reassignment challenge, made from a seed; their first assignment keeps every rule."""

from __future__ import annotations

import random
from itertools import product

from benchmarks._roadef import (
    Goal,
    Instance,
    Machine,
    Process,
    Resource,
    Service,
    judged_breaches,
    judged_cost,
)


def instance(seed: int, *, machines: int = 4, processes: int = 8, tight: bool = True) -> Instance:
    rng = random.Random(seed)
    kinds = rng.randrange(1, 4)
    services = rng.randrange(-(-processes // machines), processes + 1)
    place_of: list[int] = []
    service_of: list[int] = []
    for _ in range(processes):
        free = [
            (service, machine)
            for service in range(services)
            for machine in range(machines)
            if (service, machine) not in set(zip(service_of, place_of, strict=True))
        ]
        service, machine = rng.choice(free)
        service_of.append(service)
        place_of.append(machine)
    needs = [tuple(rng.randrange(10) for _ in range(kinds)) for _ in range(processes)]
    location = [rng.randrange(1 + machines // 2) for _ in range(machines)]
    neighborhood = [rng.randrange(rng.choice((1, 2, machines))) for _ in range(machines)]
    made = []
    for machine in range(machines):
        there = [need for need, place in zip(needs, place_of, strict=True) if place == machine]
        used = [sum(amounts) for amounts in zip(*there, strict=True)] or [0] * kinds
        capacity = tuple(use + rng.randrange(8 if tight else 40) for use in used)
        safety = tuple(rng.randrange(limit + 1) for limit in capacity)
        price = tuple(0 if other == machine else rng.randrange(3) for other in range(machines))
        made.append(Machine(neighborhood[machine], location[machine], capacity, safety, price))
    at = list(zip(service_of, place_of, strict=True))
    locations = [{location[machine] for service, machine in at if service == s} for s in range(services)]
    near = [{neighborhood[machine] for service, machine in at if service == s} for s in range(services)]
    return Instance(
        resources=tuple(Resource(rng.random() < 0.4, rng.randrange(1, 11)) for _ in range(kinds)),
        machines=tuple(made),
        services=tuple(
            Service(
                rng.randrange(len(locations[s]) + 1),
                tuple(
                    on
                    for on in range(services)
                    if on != s and near[s] <= near[on] and rng.random() < 1.5 / services
                ),
            )
            for s in range(services)
        ),
        processes=tuple(
            Process(s, need, rng.randrange(3)) for s, need in zip(service_of, needs, strict=True)
        ),
        goals=tuple(
            Goal(0, kinds - 1, rng.randrange(1, 4), rng.randrange(1, 11)) for _ in range(rng.randrange(2))
        ),
        process_weight=rng.choice((0, 1)),
        service_weight=rng.choice((0, 0, 10)),
        machine_weight=rng.choice((0, 5)),
        initial=tuple(place_of),
    )


def best(given: Instance, *, move_limit: int | None = None) -> int:
    """The least cost of all assignments that keep the rules, by trying each."""
    costs = []
    for assignment in product(range(len(given.machines)), repeat=len(given.processes)):
        moved = sum(was != now for was, now in zip(given.initial, assignment, strict=True))
        if move_limit is not None and moved > move_limit:
            continue
        cost = judged_cost(given, assignment)
        if not costs or cost < min(costs):
            costs += [] if judged_breaches(given, assignment) else [cost]
    return min(costs)
