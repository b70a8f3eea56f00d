"""GPU devices: which of a node's a task holds, and how many thousandths of each.

A device is a resource of its own, `gpu/3`, of which a node has 1,000 milli. What a service asks for names no device
yet: so many, so much of each (`Needs.gpus`); the plan chooses, and the needs of the task that starts name them. So
devices cost tasks without GPUs nothing, and are counted like everything else.

Tasks of plans that chose no device, as this program made them before, hold whole devices by number alone (`gpus`): so
many of those that nobody else has touched, whichever.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from .needs import Needs
from .runs import Ints, Mask

WHOLE = 1_000
"""Milli of one whole device."""
MAX_DEVICES = 32
"""Devices of one node that tasks can hold one by one."""
GPUS = "gpus"
DEVICE = "gpu/"


def device_resource(device: int) -> str:
    """`gpu/3`"""
    return f"{DEVICE}{device}"


def devices_of(gpus: int) -> int:
    """How many devices a node with so many GPUs has."""
    return min(max(gpus, 0), MAX_DEVICES)


def held(needs: Needs) -> tuple[tuple[int, int], ...]:
    """(device, milli) of what a task holds, by device."""
    found = [(int(name[len(DEVICE) :]), units) for name, units in needs.more if name.startswith(DEVICE)]
    return tuple(sorted(found))


def on_devices(needs: Needs, mask: int) -> Needs:
    """What a task of these needs takes that holds the devices of a mask, bit by bit."""
    devices = {device_resource(device): needs.gpu_milli for device in range(MAX_DEVICES) if mask >> device & 1}
    return Needs(needs.slots, tuple(sorted((*needs.more, *devices.items()))))


def by_number_alone(needs: Needs) -> Needs:
    """The same where the plan chose no devices."""
    return Needs(needs.slots, tuple(sorted((*needs.more, (GPUS, needs.gpus))))) if needs.gpus else needs


class Devices(msgspec.Struct, frozen=True):
    """What the nodes have: int64[nodes] devices, int64[nodes] GPUs, and the model of each as a number of `models`."""

    count: Ints
    total: Ints
    model: npt.NDArray[np.int32]
    models: list[str]

    @property
    def width(self) -> int:
        return int(self.count.max(initial=0))

    def will_do(self, needs: Needs) -> Mask:
        """bool[nodes]: where the model is one of those asked for."""
        if not needs.gpu_models:
            return np.ones(self.count.size, dtype=bool)
        wanted = [model.casefold() for model in needs.gpu_models]
        return np.array([model.casefold() in wanted for model in self.models], dtype=bool)[self.model]


def no_devices(nodes: int) -> Devices:
    """What nodes have that have no GPUs."""
    none = np.zeros(nodes, dtype=np.int64)
    return Devices(none, none, np.zeros(nodes, dtype=np.int32), [""])


def without_unnumbered(free: Ints, devices: Devices, unnumbered: Ints) -> Ints:
    """int64[devices, nodes]: what may be chosen of what is free, where so many whole ones are held by number alone."""
    hidden = np.maximum(unnumbered - (devices.total - devices.count), 0)
    for node in np.flatnonzero(hidden).tolist():
        untouched = np.flatnonzero(free[:, node] == WHOLE)
        free[untouched[max(0, untouched.size - int(hidden[node])) :], node] = 0
    return free


def fits(free: Ints, needs: Needs) -> Ints:
    """int64[nodes]: how many replicas the devices have room for; `free` is int64[devices, nodes], in milli.

    One replica's devices are all different, so k of them fit where the devices can serve k each, together k times.
    """
    many = free // needs.gpu_milli
    if needs.gpus == 1:
        return _sum(many)
    most = _sum(many) // needs.gpus
    while True:
        fewer = np.minimum(_sum(np.minimum(many, most)) // needs.gpus, most)
        if np.array_equal(fewer, most):
            return most
        most = fewer


def _sum(many: Ints) -> Ints:
    total: Ints = many.sum(axis=0, dtype=np.int64)
    return total


def tightest(free: list[int], needs: Needs) -> int:
    """The devices that one replica fills up most, the first of equals, as a mask; 0 where it does not fit."""
    fitting = sorted([(milli, device) for device, milli in enumerate(free) if milli >= needs.gpu_milli])
    if len(fitting) < needs.gpus:
        return 0
    return sum(1 << device for _, device in fitting[: needs.gpus])


def choose(free: Ints, needs: Needs, nodes: Ints) -> Ints:
    """int64[replicas]: a mask of devices for each replica that goes to these nodes, in turn; 0 where none is left.

    free: int64[devices, nodes], in milli; not changed.
    """
    masks = np.zeros(nodes.size, dtype=np.int64)
    left: dict[int, list[int]] = {}
    for replica, node in enumerate(nodes.tolist()):
        here = left.setdefault(node, free[:, node].tolist()) if node not in left else left[node]
        masks[replica] = mask = tightest(here, needs)
        for device in range(len(here)):
            if mask >> device & 1:
                here[device] -= needs.gpu_milli
    return masks


def taken_by(nodes: Ints, masks: Ints, milli: int, shape: tuple[int, ...]) -> Ints:
    """int64[devices, nodes]: what replicas on these nodes take that hold these devices, so much of each."""
    taken = np.zeros(shape, dtype=np.int64)
    for device in range(shape[0]):
        taken[device] = np.bincount(nodes[(masks >> device & 1).astype(bool)], minlength=shape[1])
    taken *= milli
    return taken


def are_sound(devices: Devices, needs: Needs, nodes: Ints, masks: Ints) -> Mask:
    """Which of these choices name as many devices as are asked for, that the node has, of a model that will do."""
    number = np.zeros(masks.size, dtype=np.int64)
    for device in range(MAX_DEVICES):
        number += masks >> device & 1
    has = (masks >= 0) & (masks >> devices.count[nodes] == 0)
    sound: Mask = has & (number == needs.gpus) & devices.will_do(needs)[nodes]
    return sound


def accepted(free: Ints, needs: Needs, nodes: Ints, masks: Ints) -> Mask:
    """Which of these choices fit, the earlier ones first; `free` is int64[devices, nodes], in milli."""
    if not free.size:
        return np.zeros(nodes.size, dtype=bool)
    if (taken_by(nodes, masks, needs.gpu_milli, free.shape) <= free).all():
        return np.ones(nodes.size, dtype=bool)
    kept, free = np.zeros(nodes.size, dtype=bool), free.copy()
    for replica, (node, mask) in enumerate(zip(nodes.tolist(), masks.tolist(), strict=True)):
        chosen = [device for device in range(len(free)) if mask >> device & 1]
        if all(free[device, node] >= needs.gpu_milli for device in chosen):
            kept[replica] = True
            free[chosen, node] -= needs.gpu_milli
    return kept
