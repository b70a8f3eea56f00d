"""The profile `mixed`: replicas with and without GPUs side by side, so that few GPUs are left which nobody can use.

Two things are added, both in milli of a GPU. The loss is what a placement takes away, on that node, from the GPUs that
the next replica could use, on average over the kinds seen so far (the fragmentation gradient of Weng et al., USENIX ATC
2023, whose kinds are known beforehand). The direction is the cosine between what the node has free and what the replica
wants: it keeps a node's columns in proportion. The loss is exact and counts as it is; the direction is a rough guess at
what comes later, so it counts in coarse steps, within which the loss decides.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..state.runs import Ints
from .demand import Demand, Floats
from .fleet import WHOLE, Fleet, Reservation
from .profiles import Direction

STEPS = 25
"""Steps of the cosine between 0 and 1."""
STEP_MILLI = 200
"""The loss that outweighs one step."""


class Mixed:
    """Scores nodes by loss and direction; higher is better. It learns from `arrived`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._demand = Demand(fleet)
        self._direction = Direction(fleet)
        self._now = -1
        self._version = -1
        self._all = np.arange(len(fleet))
        self._steps_by_milli: dict[int, tuple[Floats, Ints]] = {}

    @property
    def version(self) -> int:
        """Rises when every score is out of date."""
        return self._demand.version

    def arrived(self, wanted: Reservation) -> None:
        self._demand.arrived(wanted)

    def know(self, counts: Mapping[Reservation, int]) -> None:
        self._demand.know(counts)

    def scores(self, wanted: Reservation, nodes: Ints) -> tuple[Ints, Ints | None]:
        """(int64[nodes], the device of each for a share of one) of nodes that have room for it."""
        self._sync()
        scores = STEP_MILLI * np.floor(STEPS * self._direction.cosine(wanted, nodes))
        gains, devices = self._gains(wanted, nodes)
        if self._demand.mix.total:
            scores += np.floor(gains / self._demand.mix.total)
        return scores.astype(np.int64), devices

    def _gains(self, wanted: Reservation, nodes: Ints) -> tuple[Floats, Ints | None]:
        """(float64[nodes], devices): usable GPU milli after less before, times the mix's total weight; at most 0."""
        usable, will_do = self._usable[nodes], self._will_do[nodes]
        before, weights = self._value[nodes], self._weights(nodes, wanted)
        if not wanted.gpus:
            return self._sum(weights, usable, will_do) - before, None
        more_usable, more_will_do = self._steps(wanted.gpu_milli)
        if wanted.gpus == 1 and wanted.gpu_milli < WHOLE:
            # Each device that has room is tried, as a row of its own.
            free = self._fleet.gpu_free[nodes]
            rows, devices = (free >= wanted.gpu_milli).nonzero()
            free = free[rows, devices]
            values = self._sum(
                weights[rows], usable[rows] + more_usable[free], will_do[rows] + more_will_do[free]
            )
            gains = np.full((len(nodes), self._fleet.gpu_free.shape[1]), -np.inf)
            gains[rows, devices] = values
            best = gains.argmax(axis=1)
            return gains[self._all[: len(nodes)], best] - before, best
        if wanted.gpu_milli == WHOLE:
            usable += wanted.gpus * more_usable[WHOLE]
            will_do += wanted.gpus * more_will_do[WHOLE]
        else:
            free = self._fleet.gpu_free[nodes]
            tightest = np.sort(np.where(free >= wanted.gpu_milli, free, WHOLE + 1), axis=1)[:, : wanted.gpus]
            usable += more_usable[tightest].sum(axis=1)
            will_do += more_will_do[tightest].sum(axis=1)
        return self._sum(weights, usable, will_do) - before, None

    def _steps(self, milli: int) -> tuple[Floats, Ints]:
        """[1001, asks] each: what taking `milli` from a device with so many free adds; at most 0."""
        if (found := self._steps_by_milli.get(milli)) is None:
            mix, left = self._demand.mix, np.maximum(np.arange(WHOLE + 1) - milli, 0)
            found = (mix.usable[left] - mix.usable, mix.will_do[left] - mix.will_do)
            self._steps_by_milli[milli] = found
        return found

    def _sum(self, weights: Floats, usable: Floats, will_do: Ints) -> Floats:
        """float64[rows]: what is usable, by weight; nothing for an ask of more devices than will do."""
        mix = self._demand.mix
        if len(mix.gpus):
            usable[:, mix.singles :] *= will_do >= mix.gpus
        value: Floats = np.einsum("na,na->n", weights, usable)
        return value

    def _weights(self, nodes: Ints, taken: Reservation | None = None) -> Floats:
        """float64[nodes, asks]: the weight of the kinds whose amounts fit on the node, once `taken` is on it."""
        mix, free = self._demand.mix, self._fleet.free[nodes]
        if taken is not None:
            free -= taken.amounts
        fits = np.ones((len(nodes), len(mix.weights)), dtype=np.bool_)
        for column, amounts in enumerate(mix.amounts):
            fits &= free[:, column, None] >= amounts
        if mix.model_will_do is not None:
            fits &= mix.model_will_do[self._fleet.model[nodes]]
        weights: Floats = fits @ mix.weights
        return weights

    def _sync(self) -> None:
        """Bring up to date what is kept of each node as it is now: what each ask could use, and the value of that."""
        mix, fleet = self._demand.mix, self._fleet
        if self._version != self.version:
            self._version, changed = self.version, self._all
            self._usable = np.zeros((len(fleet), mix.usable.shape[1]))
            self._will_do = np.zeros((len(fleet), len(mix.gpus)), dtype=np.int64)
            self._value = np.zeros(len(fleet))
            self._steps_by_milli = {}
        elif self._now != fleet.now:
            changed = fleet.changed_since(self._now)
        else:
            return
        self._now = fleet.now
        free = fleet.gpu_free[changed]
        usable, will_do = mix.usable[free].sum(axis=1), mix.will_do[free].sum(axis=1)
        self._usable[changed], self._will_do[changed] = usable, will_do
        self._value[changed] = self._sum(self._weights(changed), usable, will_do)
