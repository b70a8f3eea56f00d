"""What is true of the agreed state after every command; tests and virtual runs check it each time."""

from __future__ import annotations

import numpy as np

from . import gpus
from .plans import MAX_SLOT
from .replicas import Replicas
from .runs import distinct
from .task_states import TaskState
from .tasks import Rows


def check(replicas: Replicas) -> None:
    """Raises AssertionError where the state breaks a promise of its own; for tests and invariant checkers."""
    t, nodes = replicas.tasks, replicas.nodes
    live = np.flatnonzero(t.service >= 0)
    assert np.all(np.diff(t.id) > 0), "task ids are not in ascending order"
    assert len(t) == live.size, f"{len(t)} tasks counted, {live.size} found"
    assert np.all(t.state[live] < TaskState.COMPLETE), "a task that has ended is still kept"
    wanted = replicas.wanted(live)
    _check_capacity(replicas, wanted)
    _check_devices(replicas, wanted)
    removed = np.array([record.status == "removed" for record in nodes.records], dtype=bool)
    assert not np.any(removed[t.node[live]]), "a task is on a node that was removed"
    places = t.service[wanted].astype(np.int64) * (MAX_SLOT + 1) + t.slot[wanted]
    assert np.unique(places).size == wanted.size, "two tasks are wanted running in one slot"
    ready = nodes.ready[t.node[wanted]]
    _check_counts(replicas, wanted[ready], wanted[~ready])
    _check_indexes(replicas)


def _check_capacity(replicas: Replicas, wanted: Rows) -> None:
    t, nodes = replicas.tasks, replicas.nodes
    units = {name: np.zeros(len(replicas.needs.all), dtype=np.int64) for name in nodes.resources}
    for kind in distinct(t.needs[wanted]):
        for name, many in (("slots", replicas.needs.all[kind].slots), *replicas.needs.all[kind].more):
            units[name][kind] += many
    found = {}
    for name, of_kind in units.items():
        sums = np.zeros(nodes.ready.size, dtype=np.int64)
        np.add.at(sums, t.node[wanted], of_kind[t.needs[wanted]])
        found[name] = sums.tolist()
    assert found == nodes.used_columns(), f"taken: counted {nodes.used_columns()}, found {found}"
    assert not nodes.overdrawn(), f"over capacity: {nodes.overdrawn()}"
    assert np.array_equal(
        nodes.open, [r.status == "ready" and r.availability == "active" for r in nodes.records]
    )


def _check_devices(replicas: Replicas, wanted: Rows) -> None:
    """Of no device more is held than there is, and nobody holds one that its node has not."""
    t, nodes = replicas.tasks, replicas.nodes
    milli: dict[tuple[int, int], int] = {}
    unnumbered: dict[int, int] = {}
    kinds = [bool(kind.gpus or gpus.held(kind) or gpus.GPUS in dict(kind.more)) for kind in replicas.needs.all]
    with_devices = wanted[np.array(kinds, dtype=bool)[t.needs[wanted]]]
    for node, kind in zip(t.node[with_devices].tolist(), t.needs[with_devices].tolist(), strict=True):
        needs = replicas.needs.all[kind]
        assert not needs.gpus, f"a task on {nodes.records[node].name} has devices that were never chosen"
        unnumbered[node] = unnumbered.get(node, 0) + dict(needs.more).get(gpus.GPUS, 0)
        for device, units in gpus.held(needs):
            milli[node, device] = milli.get((node, device), 0) + units
    over = {place: units for place, units in milli.items() if units > gpus.WHOLE}
    assert not over, f"over 1000 milli of a device, by (node, device): {over}"
    touched_by: dict[int, int] = {}
    for node, _ in milli:
        touched_by[node] = touched_by.get(node, 0) + 1
    for node, record in enumerate(nodes.records):
        touched = touched_by.get(node, 0)
        total = 0 if record.status == "removed" else record.resources.get(gpus.GPUS, 0)
        assert touched + unnumbered.get(node, 0) <= total, f"{record.name}: {touched} devices held of {total}"


def _check_counts(replicas: Replicas, placed: Rows, lost: Rows) -> None:
    t, many = replicas.tasks, replicas.services.next_number
    on_ready, on_down = (
        np.bincount(t.service[placed], minlength=many),
        np.bincount(t.service[lost], minlength=many),
    )
    for service in replicas.services.all.values():
        found = (int(on_ready[service.number]), int(on_down[service.number]))
        assert found == (service.placed, service.lost), f"{service.name}: {found} found, {service} counted"
        if not service.is_removed:
            belonging = replicas.belonging(service)
            assert belonging == (service.replicas, service.misplaced), f"{service}: {belonging} found"
    unsettled = [service.number for service in replicas.services.unsettled()]
    assert unsettled == [s.number for s in replicas.services if not s.is_settled], f"unsettled: {unsettled}"


def _check_indexes(replicas: Replicas) -> None:
    t = replicas.tasks
    for service in replicas.services.all.values():
        found = t.of_service(service.number)
        assert np.array_equal(found, np.flatnonzero(t.service == service.number)), (
            f"{service.name}: tasks not found"
        )
    for node in replicas.nodes.records:
        found = t.of_node(node.number)
        assert np.array_equal(found, np.flatnonzero(t.node == node.number)), f"{node.name}: tasks not found"
