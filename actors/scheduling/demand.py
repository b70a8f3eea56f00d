"""What kinds of replicas ask for GPUs, learned from those seen so far; nothing is assumed before the first.

A mix is a snapshot of it: the kinds that make up most of the demand, with whole-number weights. A new one is taken when
the demand has drifted away from the last, so that scores made with it can be kept in between.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from ..state.runs import Ints, Mask
from .fleet import WHOLE, Fleet, Reservation

Floats = npt.NDArray[np.float64]

DRIFT = 0.15
"""A new mix is due when this part of what arrives is of other kinds than in the last one."""
COVERED = 0.95
"""The part of the demand that a mix stands for: rare kinds cost time and change little."""
KINDS = 64
"""At most so many kinds in a mix."""
MEMORY = 16_384
"""Arrivals after which older ones count half, and again after each such number."""
LOOK = 64
"""Arrivals between two looks at the drift, once there were as many."""


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """Kinds of replicas with GPUs. Asks are the different (gpus, gpu_milli) among them, those of one device first."""

    amounts: Ints  # int64[columns, kinds]
    model_will_do: Mask | None  # bool[models, kinds]; None where no kind minds the model
    weights: Floats  # float64[kinds, asks]: a kind's weight at its ask, whole numbers
    total: float  # of the weights; 0 in an empty mix
    singles: int  # how many asks are of one device
    gpus: Ints  # int64[asks - singles]: how many devices the others are of
    usable: (
        Floats  # float64[1001, asks]: milli that an ask can use of a device with so many free: all or nothing
    )
    will_do: Ints  # int64[1001, asks - singles]: 1 where a device with so many free is one of several that it takes


class Demand:
    """Counts arrivals by kind. `mix` is the snapshot in use, `version` rises with each new one."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._counts: dict[Reservation, int] = {}
        self._last: dict[Reservation, int] = {}
        self._seen = 0
        self._look_at = 1
        self.version = 0
        self.mix = _mix(fleet, {})

    def arrived(self, wanted: Reservation) -> None:
        """One more of this kind was asked for, whether it found room or not."""
        if not wanted.gpus:
            return
        self._counts[wanted] = self._counts.get(wanted, 0) + 1
        self._seen += 1
        if self._seen < self._look_at:
            return
        self._look_at = min(2 * self._seen, self._seen + LOOK)
        if _drift(self._counts, self._last) > DRIFT:
            self._last = dict(self._counts)
            self.version += 1
            self.mix = _mix(self._fleet, self._last)
        if self._seen >= MEMORY:
            self._counts = {kind: count // 2 for kind, count in self._counts.items() if count > 1}
            self._seen = sum(self._counts.values())
            self._look_at = self._seen + LOOK


    def know(self, counts: Mapping[Reservation, int]) -> None:
        """So many of each kind were asked for, in place of what arrived before."""
        self._counts = {kind: count for kind, count in counts.items() if kind.gpus and count > 0}
        self._seen = sum(self._counts.values())
        self._look_at = self._seen + LOOK
        if self._counts and _drift(self._counts, self._last) > DRIFT:
            self._last = dict(self._counts)
            self.version += 1
            self.mix = _mix(self._fleet, self._last)


def _drift(now: dict[Reservation, int], then: dict[Reservation, int]) -> float:
    """The part of the arrivals that is of another kind than before: 0 the same, 1 nothing in common."""
    if not then:
        return 1.0
    all_now, all_then = sum(now.values()), sum(then.values())
    kinds = dict.fromkeys((*now, *then))
    return sum(abs(now.get(kind, 0) * all_then - then.get(kind, 0) * all_now) for kind in kinds) / (
        2 * all_now * all_then
    )


def _mix(fleet: Fleet, counts: dict[Reservation, int]) -> Mix:
    # A kind weighs by how often it comes and by its devices^0.75: by number alone, the few that need many at once
    # find none left; by the size of shares too, shares are packed worse. Whole numbers, so that sums are exact.
    weighed = {kind: count * round(10 * kind.gpus**0.75) for kind, count in counts.items()}
    ordered = sorted(weighed.items(), key=lambda item: -item[1])  # equals: first seen first
    enough = COVERED * sum(weighed.values())
    kinds: list[tuple[Reservation, int]] = []
    so_far = 0
    for kind, weight in ordered[:KINDS]:
        if so_far >= enough:
            break
        kinds.append((kind, weight))
        so_far += weight
    asks = sorted({(kind.gpus, kind.gpu_milli) for kind, _ in kinds})
    weights = np.zeros((len(kinds), len(asks)), dtype=np.float64)
    for row, (kind, weight) in enumerate(kinds):
        weights[row, asks.index((kind.gpus, kind.gpu_milli))] = weight
    free = np.arange(WHOLE + 1)[:, None]
    will_do = free >= np.array([milli for _, milli in asks], dtype=np.int64)
    singles = sum(gpus == 1 for gpus, _ in asks)
    minds = any(kind.models for kind, _ in kinds)
    return Mix(
        amounts=np.array([kind.amounts for kind, _ in kinds], dtype=np.int64)
        .reshape(-1, len(fleet.columns))
        .T.copy(),
        model_will_do=np.array([fleet.model_mask(kind) for kind, _ in kinds]).T if minds else None,
        weights=weights,
        total=float(so_far),
        gpus=np.array([gpus for gpus, _ in asks[singles:]], dtype=np.int64),
        singles=singles,
        usable=np.where(will_do, free, 0).astype(np.float64),
        will_do=will_do[:, singles:].astype(np.int64),
    )
