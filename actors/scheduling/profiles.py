"""Scores of nodes, by the profile that an operator chose: whole numbers, higher is better, the first of equals wins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ..state.runs import Ints
from .demand import Floats
from .fleet import WHOLE, Fleet, Reservation


class Profile(Protocol):
    """What a placer needs of a profile."""

    @property
    def version(self) -> int:
        """Rises when every score is out of date."""
        ...

    def arrived(self, wanted: Reservation) -> None:
        """One more was asked for. Not called for what is tried again."""
        ...

    def know(self, counts: Mapping[Reservation, int]) -> None:
        """So many were asked for, in place of what arrived before."""
        ...

    def scores(self, wanted: Reservation, nodes: Ints) -> tuple[Ints, Ints | None]:
        """(int64[nodes], devices) of nodes that have room for it. They depend on the node alone, and on `version`.

        devices: int64[nodes], the device for a share of one GPU; None where the tightest will do.
        """
        ...


class _Plain:
    """A profile that learns nothing."""

    version = 0

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def arrived(self, wanted: Reservation) -> None:
        pass

    def know(self, counts: Mapping[Reservation, int]) -> None:
        pass


class Spread(_Plain):
    """Fewest tasks first, as Swarm does; a placer counts those of the same service before it."""

    def scores(self, wanted: Reservation, nodes: Ints) -> tuple[Ints, None]:
        return -self._fleet.tasks[nodes], None


class Binpack(_Plain):
    """Fullest first, as Nomad does: the sum of 10 - 10^(free part) over the columns, with GPUs as one more."""

    # 10^x for each thousandth, so that the same part always gives the same score, on any processor.
    POWERS = np.array([10 ** (part / 1_000) for part in range(1_001)])

    def scores(self, wanted: Reservation, nodes: Ints) -> tuple[Ints, None]:
        fleet = self._fleet
        total = np.zeros(len(nodes))
        columns = len(fleet.columns)
        for column, amount in enumerate(wanted.amounts):
            left = fleet.free[nodes, column] - amount
            total += self._points(left, fleet.capacity[nodes, column])
        if wanted.gpus:
            columns += 1
            left = fleet.gpu_total[nodes] - wanted.milli
            total += self._points(left, WHOLE * fleet.devices[nodes])
        return np.floor(total * (1_000 / (9 * max(columns, 1)))).astype(np.int64), None

    def _points(self, left: Ints, capacity: Ints) -> Floats:
        points: Floats = 10 - self.POWERS[1_000 * left // np.maximum(capacity, 1)]
        return points


class Cosine(_Plain):
    """Where what is free lies in the direction of what is wanted, so that columns run out together."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self._direction = Direction(fleet)

    def scores(self, wanted: Reservation, nodes: Ints) -> tuple[Ints, None]:
        return np.floor(1_000 * self._direction.cosine(wanted, nodes)).astype(np.int64), None


class Direction:
    """The cosine between a node's free resources and a reservation; a column is scaled by the largest node's."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._scale = tuple(float(max(1, largest)) for largest in fleet.capacity.max(axis=0, initial=1))
        self._gpu_scale = float(WHOLE * max(1, int(fleet.devices.max(initial=0))))

    def cosine(self, wanted: Reservation, nodes: Ints) -> Floats:
        """float64[nodes], 0 to 1; 0 where nothing is wanted or free."""
        fleet = self._fleet
        # Column by column, not as a matrix product, whose last bit may depend on how many nodes there are.
        gpu = fleet.gpu_total[nodes] / self._gpu_scale
        share = wanted.milli / self._gpu_scale
        along, length, size = gpu * share, gpu * gpu, share * share
        for column, scale in enumerate(self._scale):
            free, amount = fleet.free[nodes, column] / scale, wanted.amounts[column] / scale
            along += free * amount
            length += free * free
            size += amount * amount
        cosine: Floats = along / np.maximum(np.sqrt(length * size), 1e-300)
        return cosine
