"""The nodes of a cluster as agreed on, with what each has taken: one row a node, by order of joining."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from . import constraints, gpus
from .needs import SLOTS, Needs, where_unset
from .records import NodeRecord
from .runs import Ints, Mask
from .specs import Placement


class Room:
    """What is free on each node, resource by resource, for a plan to count with. `open` nodes take new replicas."""

    def __init__(
        self, names: list[str], free: Ints, is_open: Mask, devices: gpus.Devices | None = None
    ) -> None:
        self._names = names
        self._free = free
        self.open = is_open
        self.devices = devices or gpus.no_devices(is_open.size)

    @property
    def slots(self) -> Ints:
        """int64[nodes]: free slots; 0 where no new replica may go."""
        return np.where(self.open, self._free[0], 0)

    def fits(self, needs: Needs) -> Ints:
        """int64[nodes]: how many replicas of these needs there is room for."""
        most = self._free[0] // needs.slots
        for name, units in needs.more:
            free = self._free[self._names.index(name)] if name in self._names else where_unset(name)
            most = np.minimum(most, free // units)
        if needs.gpus:
            fitting = gpus.fits(self.gpu_free(), needs)
            most = np.minimum(most, np.where(self.devices.will_do(needs), fitting, 0))
        fits: Ints = np.where(self.open, np.maximum(most, 0), 0)
        return fits

    def free(self, resource: str) -> Ints:
        """int64[nodes]: units free of a resource, on whatever node."""
        if resource in self._names:
            units: Ints = self._free[self._names.index(resource)]
            return units
        return np.full(self.open.size, where_unset(resource), dtype=np.int64)

    def gpu_free(self) -> Ints:
        """int64[devices, nodes]: milli of each device that may be given away; 0 where a node has no such device."""
        devices = self.devices
        free = np.array([self.free(gpus.device_resource(n)) for n in range(devices.width)], dtype=np.int64)
        free = free.reshape(devices.width, self.open.size)
        return gpus.without_unnumbered(free, devices, devices.total - self.free(gpus.GPUS))

    def fits_by_number_alone(self, needs: Needs) -> Ints:
        """The same as `fits` for a plan that chose no devices: whole ones that nobody has touched."""
        devices = self.devices
        beyond = np.maximum(self.free(gpus.GPUS) - devices.count, 0)
        whole = np.count_nonzero(self.gpu_free() == gpus.WHOLE, axis=0) + beyond
        if needs.gpu_milli != gpus.WHOLE or needs.gpu_models:
            return np.zeros(self.open.size, dtype=np.int64)
        fits: Ints = np.minimum(self.fits(gpus.by_number_alone(needs)), whole // needs.gpus)
        return fits

    def take(self, needs: Needs, replicas: Ints) -> None:
        """So many replicas more on each node, or fewer where negative. Devices have to be chosen: `take_devices`."""
        self._free[0] -= replicas * needs.slots
        for name, units in needs.more:
            if name not in self._names:
                self._names.append(name)
                new = np.full((1, self.open.size), where_unset(name), dtype=np.int64)
                self._free = np.concatenate((self._free, new))
            self._free[self._names.index(name)] -= replicas * units

    def take_devices(self, needs: Needs, nodes: Ints, masks: Ints) -> None:
        """What replicas on these nodes hold, each the devices of its mask."""
        shape = (self.devices.width, self.open.size)
        for device, taken in enumerate(gpus.taken_by(nodes, masks, needs.gpu_milli, shape)):
            self._free[self._names.index(gpus.device_resource(device))] -= taken

    def at(self, nodes: Ints) -> Room:
        """A copy of these nodes alone, numbered from 0; it knows no devices."""
        return Room(list(self._names), self._free[:, nodes], self.open[nodes])

    def copy(self) -> Room:
        return Room(list(self._names), self._free.copy(), self.open, self.devices)


class NodeTable:
    """Records by number and, beside them, columns that plans compute with. Numbers are never used again.

    is_present: it has not been removed. ready: it answers. open: it answers, and its availability lets new replicas in.
    """

    def __init__(
        self,
        records: tuple[NodeRecord, ...] = (),
        versions: Ints | None = None,
        resources: tuple[str, ...] = (),
    ) -> None:
        self.records = list(records)
        self._numbers: dict[str, int] = {}
        self._addresses: dict[tuple[str, int | None], int] = {}
        for record in records:
            if record.status != "removed":
                self._name(record)
        self._present: tuple[NodeRecord, ...] | None = None
        self.roster = 0
        """Another number whenever a node joins, leaves, moves or has another capacity."""
        count = len(records)
        self.resources: list[str] = [SLOTS]
        self._capacity = np.array([[record.capacity for record in records]], dtype=np.int64).reshape(1, count)
        self._used = np.zeros((1, count), dtype=np.int64)
        self.ready = np.array([record.status == "ready" for record in records], dtype=bool)
        self.open = np.array([_is_open(record) for record in records], dtype=bool)
        self.draining = np.array([record.availability == "drain" for record in records], dtype=bool)
        self.is_present = np.array([record.status != "removed" for record in records], dtype=bool)
        self.versions = np.zeros(count, dtype=np.int64) if versions is None else versions
        self._attributes: dict[str, tuple[npt.NDArray[np.int32], list[str]]] = {}
        self._allowed: dict[Placement, Mask] = {}
        self._devices: gpus.Devices | None = None
        for name in resources:
            self._resource(name)
        for record in records:
            self._device_resources(record)

    @property
    def capacity(self) -> Ints:
        """int64[nodes]: slots."""
        slots: Ints = self._capacity[0]
        return slots

    @property
    def used(self) -> Ints:
        """int64[nodes]: slots taken."""
        slots: Ints = self._used[0]
        return slots

    def _name(self, record: NodeRecord) -> None:
        self._numbers[record.name] = record.number
        if record.port is not None:
            self._addresses[record.host, record.port] = record.number

    def number(self, name: str) -> int | None:
        return self._numbers.get(name)

    def find(self, name: str) -> NodeRecord | None:
        number = self._numbers.get(name)
        return None if number is None else self.records[number]

    def present(self) -> tuple[NodeRecord, ...]:
        """Nodes that have not been removed, in order of joining: the same tuple until a record changes."""
        if self._present is None:
            self._present = tuple([self.records[number] for number in self._numbers.values()])
        return self._present

    def at(self, host: str, port: int | None) -> NodeRecord | None:
        """The node at this address; a node without a port has none."""
        number = self._addresses.get((host, port))
        return None if number is None else self.records[number]

    def names(self, numbers: list[int]) -> tuple[str, ...]:
        return tuple(self.records[number].name for number in numbers)

    # changes

    def add(self, record: NodeRecord, index: int) -> None:
        self.records.append(record)
        self._present = None
        self.roster += 1
        self._name(record)
        for name in record.resources:
            self._resource(name)
        self._device_resources(record)
        self._devices = None
        column = np.array([[_capacity(record, name)] for name in self.resources], dtype=np.int64)
        self._capacity = np.concatenate((self._capacity, column), axis=1)
        self._used = np.concatenate((self._used, np.zeros_like(column)), axis=1)
        self.ready = np.append(self.ready, record.status == "ready")
        self.open = np.append(self.open, _is_open(record))
        self.draining = np.append(self.draining, record.availability == "drain")
        self.is_present = np.append(self.is_present, True)
        self.versions = np.append(self.versions, index)
        self._forget_attributes()

    def remove(self, number: int) -> None:
        """Keep the name, for what calls remember, and nothing else."""
        record = self.records[number]
        del self._numbers[record.name]
        self._addresses.pop((record.host, record.port), None)
        self.set(msgspec.structs.replace(record, status="removed", availability="active"))
        self._capacity[:, number] = self._used[:, number] = 0
        self._devices = None

    def set(self, record: NodeRecord) -> None:
        """Another record for the same node: how it is, what it has, what it is for."""
        number, before = record.number, self.records[record.number]
        self.records[number], self._present = record, None
        self.ready[number] = record.status == "ready"
        self.open[number] = _is_open(record)
        self.draining[number] = record.availability == "drain"
        self.is_present[number] = record.status != "removed"
        if record.status == "removed" or record.capacity != before.capacity:
            self.roster += 1
        if (record.capacity, record.resources) != (before.capacity, before.resources):
            for name in record.resources:
                self._resource(name)
            self._device_resources(record)
            self._capacity[:, number] = [_capacity(record, name) for name in self.resources]
            self._devices = None
        if (record.labels, record.platform, record.gpu_model) != (before.labels, before.platform, before.gpu_model):
            self._forget_attributes()
            self._devices = None

    def move(self, addresses: dict[str, tuple[str, int | None]]) -> None:
        """Give nodes other addresses, all at once: they may trade theirs."""
        for name, (host, port) in addresses.items():
            number = self._numbers[name]
            self.records[number] = msgspec.structs.replace(self.records[number], host=host, port=port)
        self._present = None
        self.roster += 1
        present = self.present()
        self._addresses = {
            (record.host, record.port): record.number for record in present if record.port is not None
        }

    def set_incarnation(self, number: int, incarnation: int) -> None:
        self.records[number] = msgspec.structs.replace(self.records[number], incarnation=incarnation)
        self._present = None

    # what is taken

    def take(self, needs: Needs, replicas: Ints) -> None:
        """So many replicas more on each node, or fewer where negative."""
        self._used[0] += replicas * needs.slots
        for name, units in needs.more:
            # The row first: a new resource makes the table anew.
            row = self._resource(name)
            self._used[row] += replicas * units

    def forget_taken(self) -> None:
        self._used[:] = 0

    def room(self) -> Room:
        """What is free now; the caller's own copy."""
        return Room(list(self.resources), self._capacity - self._used, self.open.copy(), self.devices())

    def devices(self) -> gpus.Devices:
        """Which GPU devices the nodes have."""
        if self._devices is None:
            total = np.array([_capacity(record, gpus.GPUS) for record in self.records], dtype=np.int64)
            model, models = self.attribute("node.gpu_model")
            self._devices = gpus.Devices(np.minimum(total, gpus.MAX_DEVICES), total, model, models)
        return self._devices

    def has_model(self, needs: Needs) -> Mask:
        """bool[nodes]: where the GPU model is one of those asked for; everywhere where none is named."""
        return self.devices().will_do(needs)

    def capacity_of(self, resource: str) -> Ints:
        """int64[nodes]: units of a resource that somebody has heard of; UNLIMITED where a node does not say."""
        units: Ints = self._capacity[self.resources.index(resource)]
        return units

    def declared_resources(self) -> tuple[str, ...]:
        """The resources without the devices, which follow from the number of GPUs."""
        return tuple([name for name in self.resources if not name.startswith(gpus.DEVICE)])

    def free(self) -> Ints:
        """Free slots by node number; nothing is free on a node that takes no new replicas."""
        return np.where(self.open, self.capacity - self.used, 0)

    def overdrawn(self) -> list[tuple[str, str]]:
        """(node, resource) wherever more is taken than there is: never, unless by our own mistake."""
        rows, nodes = np.nonzero(self._used > self._capacity)
        return [
            (self.records[node].name, self.resources[row])
            for row, node in zip(rows.tolist(), nodes.tolist(), strict=True)
        ]

    def taken(self, number: int) -> dict[str, int]:
        """Units taken of each resource on one node, without those of which nothing is."""
        used = self._used[:, number].tolist()
        return {name: units for name, units in zip(self.resources, used, strict=True) if units}

    def capacities(self, record: NodeRecord) -> dict[str, int]:
        """What a node would have of each resource, if this were its record."""
        return {name: _capacity(record, name) for name in self.resources}

    def amounts(self) -> tuple[Ints, Ints]:
        """int64[resources, nodes] each: what there is, and what is taken; not to be changed."""
        return self._capacity, self._used

    def used_columns(self) -> dict[str, list[int]]:
        """For a check: units taken by resource and node."""
        return {name: self._used[row].tolist() for row, name in enumerate(self.resources)}

    def _device_resources(self, record: NodeRecord) -> None:
        for device in range(gpus.devices_of(_capacity(record, gpus.GPUS))):
            self._resource(gpus.device_resource(device))

    def _resource(self, name: str) -> int:
        """The row of a resource; a new one where nobody had heard of it."""
        if name not in self.resources:
            self.resources.append(name)
            new = np.array([[_capacity(record, name) for record in self.records]], dtype=np.int64)
            # A node that is being added has no column yet.
            new = new[:, : self._capacity.shape[1]]
            self._capacity = np.concatenate((self._capacity, new))
            self._used = np.concatenate((self._used, np.zeros_like(new)))
        return self.resources.index(name)

    # what nodes are

    def attribute(self, name: str) -> tuple[npt.NDArray[np.int32], list[str]]:
        """(int32[nodes], values): which of the values each node has, so that a rule looks at each value once."""
        if name not in self._attributes:
            values: dict[str, int] = {}
            codes = [values.setdefault(_attribute(name, record), len(values)) for record in self.records]
            self._attributes[name] = (np.array(codes, dtype=np.int32), list(values))
        return self._attributes[name]

    @property
    def paused(self) -> Mask:
        """Those that keep what they have, and get nothing new."""
        paused: Mask = self.ready & ~self.open & ~self.draining
        return paused

    def allowed(self, placement: Placement) -> Mask:
        """bool[nodes]: where the constraints and platforms let replicas be; not to be changed."""
        if placement not in self._allowed:
            if len(self._allowed) > 10_000:
                self._allowed.clear()
            self._allowed[placement] = self.meeting(placement) & self.on_platform(placement)
        return self._allowed[placement]

    def meeting(self, placement: Placement) -> Mask:
        """bool[nodes]: where every constraint is met."""
        fits = np.ones(len(self.records), dtype=bool)
        for rule in placement.constraints:
            parsed = constraints.parse(rule)
            codes, values = self.attribute(parsed.attribute)
            fits &= np.array([parsed.is_met(value) for value in values], dtype=bool)[codes]
        return fits

    def on_platform(self, placement: Placement) -> Mask:
        """bool[nodes]: where one of the platforms is."""
        if not placement.platforms:
            return np.ones(len(self.records), dtype=bool)
        fits = [
            any(platform.os in ("", os) and platform.arch in ("", arch) for platform in placement.platforms)
            for os, arch in (record.platform for record in self.records)
        ]
        return np.array(fits, dtype=bool)

    def _forget_attributes(self) -> None:
        self._attributes.clear()
        self._allowed.clear()


def _is_open(record: NodeRecord) -> bool:
    return record.status == "ready" and record.availability == "active"


def _capacity(record: NodeRecord, resource: str) -> int:
    if record.status == "removed":
        return 0
    if resource.startswith(gpus.DEVICE):
        number = gpus.devices_of(record.resources.get(gpus.GPUS, 0))
        return gpus.WHOLE if int(resource[len(gpus.DEVICE) :]) < number else 0
    return record.capacity if resource == SLOTS else record.resources.get(resource, where_unset(resource))


def _attribute(name: str, record: NodeRecord) -> str:
    os, arch = record.platform
    return constraints.value_of(name, record.name, dict(record.labels), os, arch, record.gpu_model)
