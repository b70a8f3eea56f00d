"""What nodes have free, as columns: amounts such as cpu_milli and memory_mib, and GPU devices with their shares.

Reservations are taken from it and given back, one node at a time. Each change is stamped, so that whoever keeps scores
knows which nodes to look at again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from ..errors import InvalidRequest
from ..state.gpus import WHOLE
from ..state.runs import Ints, Mask

__all__ = ["WHOLE", "Fleet", "Reservation"]


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica keeps for itself on its node.

    `amounts` are in the order and units of the fleet's columns. `gpus` devices are taken, of each `gpu_milli`
    thousandths; a share of one device never spans two. Where `models` are named, only devices of these will do.
    """

    amounts: tuple[int, ...]
    gpus: int = 0
    gpu_milli: int = WHOLE
    models: tuple[str, ...] = ()

    @property
    def milli(self) -> int:
        """Thousandths of a GPU that it takes in all."""
        return self.gpus * self.gpu_milli


class Fleet:
    """The nodes' capacity and what is free of it. Nodes are numbers from 0 in a fixed order, devices as well.

    `free` is int64[nodes, columns], `gpu_free` int64[nodes, devices] in milli of each device, 0 where a node has no
    such device; read them, change them through `take`, `give_back` and `set_open`.
    """

    def __init__(
        self, columns: Sequence[str], capacity: Ints, devices: Ints | None = None, models: Sequence[str] = ()
    ) -> None:
        """capacity: int64[nodes, columns]; devices: int64[nodes], GPUs of each node; models: one a node.

        Raises ValueError where they do not fit together.
        """
        self.columns = tuple(columns)
        self.capacity = np.array(capacity, dtype=np.int64).reshape(-1, len(self.columns))
        nodes = len(self.capacity)
        self.devices = (
            np.zeros(nodes, dtype=np.int64) if devices is None else np.array(devices, dtype=np.int64)
        )
        self.models = tuple(models) or ("",) * nodes
        if len(self.devices) != nodes or len(self.models) != nodes:
            raise ValueError(
                f"{nodes} nodes have {len(self.devices)} numbers of devices and {len(self.models)} models; "
                "give one of each a node"
            )
        if nodes and min(int(self.capacity.min(initial=0)), int(self.devices.min())) < 0:
            raise ValueError("a capacity is negative; write 0 for what a node has none of")
        width = int(self.devices.max(initial=0))
        self.gpu_capacity = np.where(np.arange(width) < self.devices[:, None], WHOLE, 0)
        self.model_names = tuple(dict.fromkeys(self.models))
        self.model = np.array([self.model_names.index(model) for model in self.models], dtype=np.int64)
        self.free = self.capacity.copy()
        self.gpu_free = self.gpu_capacity.copy()
        self.is_open: Mask = np.ones(nodes, dtype=np.bool_)
        # Of each node, so that a filter need not look at every device: milli free in all, on the freest, whole devices.
        self.gpu_total = self.gpu_free.sum(axis=1)
        self.gpu_largest = self.gpu_free.max(axis=1, initial=0)
        self.gpu_whole = self.devices.copy()
        self.tasks = np.zeros(nodes, dtype=np.int64)
        self.now = 0
        self.changed_last = 0
        self.changed_at = np.zeros(nodes, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.capacity)

    def check(self, wanted: Reservation) -> None:
        """Raises InvalidRequest where no fleet of these columns could hold it."""
        if len(wanted.amounts) != len(self.columns):
            raise InvalidRequest(
                f"the reservation has {len(wanted.amounts)} amounts, the nodes have {len(self.columns)} columns",
                path="$.amounts",
                hint=f"give one amount for each of {', '.join(self.columns)}",
            )
        if min(wanted.amounts, default=0) < 0:
            raise InvalidRequest(
                "an amount is negative", path="$.amounts", hint="write 0 for what is not needed"
            )
        if wanted.gpus < 0 or not 1 <= wanted.gpu_milli <= WHOLE:
            raise InvalidRequest(
                f"{wanted.gpus} GPUs of {wanted.gpu_milli} milli each cannot be reserved",
                path="$.gpus",
                hint="gpus: 0 or more; gpu_milli: 1 to 1000, where 1000 is a whole device",
            )

    def model_mask(self, wanted: Reservation) -> Mask:
        """bool[model_names]: which models will do. A replica without GPU runs beside any."""
        any_will_do = not wanted.gpus or not wanted.models
        return np.array([any_will_do or name in wanted.models for name in self.model_names], dtype=np.bool_)

    def room(self, wanted: Reservation, nodes: Ints) -> Mask:
        """bool[nodes]: which of the nodes could take it now."""
        fits = self.is_open[nodes]
        for column, amount in enumerate(wanted.amounts):
            if amount:
                fits &= self.free[nodes, column] >= amount
        if wanted.gpus:
            if wanted.gpus == 1:
                fits &= self.gpu_largest[nodes] >= wanted.gpu_milli
            elif wanted.gpu_milli == WHOLE:
                fits &= self.gpu_whole[nodes] >= wanted.gpus
            else:
                fits &= (self.gpu_free[nodes] >= wanted.gpu_milli).sum(axis=1) >= wanted.gpus
            if wanted.models:
                fits &= self.model_mask(wanted)[self.model[nodes]]
        return fits

    def tightest(self, wanted: Reservation, node: int) -> tuple[int, ...]:
        """The node's devices that it fills up most, the first of equals; there must be enough of them."""
        free = self.gpu_free[node].tolist()
        fitting = [device for device in range(len(free)) if free[device] >= wanted.gpu_milli]
        chosen = sorted(fitting, key=lambda device: (free[device], device))[: wanted.gpus]
        return tuple(sorted(chosen))

    def take(self, wanted: Reservation, node: int, devices: tuple[int, ...] = ()) -> None:
        """Keep it on the node. `devices`: one number for each GPU, all different."""
        assert len(set(devices)) == len(devices) == wanted.gpus, "one device for each GPU"
        self.free[node] -= wanted.amounts
        self._move(node, devices, -wanted.gpu_milli)
        self.tasks[node] += 1
        assert min(*self.free[node].tolist(), *self.gpu_free[node].tolist(), 0) == 0, "over capacity"
        self._changed(node)

    def give_back(self, wanted: Reservation, node: int, devices: tuple[int, ...] = ()) -> None:
        """The reverse of `take`."""
        self.free[node] += wanted.amounts
        self._move(node, devices, wanted.gpu_milli)
        self.tasks[node] -= 1
        assert (self.free[node] <= self.capacity[node]).all(), "more given back than was taken"
        assert (self.gpu_free[node] <= self.gpu_capacity[node]).all(), "more given back than was taken"
        self._changed(node)

    def set_open(self, node: int, is_open: bool) -> None:
        """Whether the node takes anything new; what it holds stays."""
        self.is_open[node] = is_open
        self._changed(node)

    def become(self, free: Ints, gpu_free: Ints) -> None:
        """What is free as somebody else has counted it; only nodes where it differs are changed."""
        differs = (self.free != free).any(axis=1) | (self.gpu_free != gpu_free).any(axis=1)
        if not differs.any():
            return
        self.free[differs], self.gpu_free[differs] = free[differs], gpu_free[differs]
        self.gpu_total[differs] = gpu_free[differs].sum(axis=1)
        self.gpu_largest[differs] = gpu_free[differs].max(axis=1, initial=0)
        self.gpu_whole[differs] = np.count_nonzero(gpu_free[differs] == WHOLE, axis=1)
        # Two steps, since `changed_since` takes a single one for a single node.
        self.now += 2
        self.changed_at[differs] = self.now

    def changed_since(self, then: int) -> Ints:
        """The nodes that changed after `now` was `then`, in order."""
        if self.now - then == 1:
            return np.array([self.changed_last])
        return (self.changed_at > then).nonzero()[0]

    def _move(self, node: int, devices: tuple[int, ...], milli: int) -> None:
        if devices:
            row = self.gpu_free[node]
            for device in devices:
                row[device] += milli
            free = row.tolist()
            self.gpu_total[node] = sum(free)
            self.gpu_largest[node] = max(free)
            self.gpu_whole[node] = free.count(WHOLE)

    def _changed(self, node: int) -> None:
        self.now += 1
        self.changed_last = node
        self.changed_at[node] = self.now
