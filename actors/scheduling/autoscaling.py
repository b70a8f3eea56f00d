"""How many replicas a service should have, given what they use: Kubernetes' rule, with its way to keep calm.

Pure: what was measured and how late it is are handed in. A leader keeps a `Calm` for each service for as long as it
leads; the next one begins anew, and does nothing hasty because it begins with the number that it finds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import msgspec

from ..state.specs import Autoscale, ServiceSpec

RESERVED = {"cpu": "cpu_milli", "memory": "memory_mib"}
"""Metrics in percent of what a replica reserves, and what is measured for them."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How many replicas there should be now, and why."""

    replicas: int
    why: str


def level_of(spec: ServiceSpec, means: dict[str, float]) -> float | None:
    """What the mean replica uses, in the unit of the target; None where that was not measured."""
    assert spec.autoscale is not None
    metric = spec.autoscale.metric
    if metric not in RESERVED:
        return means.get(metric)
    used, reserved = means.get(RESERVED[metric]), getattr(spec.reservations, RESERVED[metric])
    return None if used is None or not reserved else 100 * used / reserved


def recommended(policy: Autoscale, current: int, measured: int, level: float) -> int:
    """How many replicas would bring the mean to the target, when `measured` of `current` have this mean.

    Of those that were not measured it is taken that they would use nothing, where more seem needed, and just the
    target, where fewer do: what is not known never makes a change larger.
    """
    ratio = level / policy.target
    if _is_near(ratio, policy.tolerance) or not 0 < measured <= current:
        return policy.within(current)
    missing = current - measured
    if missing:
        assumed = 0 if ratio > 1 else 1
        of_all = (ratio * measured + assumed * missing) / current
        if _is_near(of_all, policy.tolerance) or (of_all > 1) != (ratio > 1):
            return policy.within(current)
        ratio = of_all
    if ratio * current >= policy.max:
        return policy.max  # It may be infinite: so small a target can be in the log.
    # Rounded first: 3 x 1.1 / 1.1 is not to become 4.
    return policy.within(math.ceil(round(ratio * current, 6)))


def _is_near(ratio: float, tolerance: float) -> bool:
    return round(abs(ratio - 1), 9) <= tolerance


class Calm:
    """What was recommended of late: an increase waits until nothing lower was for `up` seconds, a decrease until
    nothing higher was for `down`. A number that somebody else has set counts as recommended."""

    def __init__(self, now_ms: int, replicas: int) -> None:
        self._lowest, self._highest = _Window(int.__le__), _Window(int.__ge__)
        self._current = replicas
        self._note(now_ms, replicas)

    def _note(self, now_ms: int, replicas: int) -> None:
        self._lowest.add(now_ms, replicas)
        self._highest.add(now_ms, replicas)

    def settle(self, policy: Autoscale, now_ms: int, current: int, wanted: int) -> int:
        """How many replicas there should be, where `wanted` would do just now."""
        if current != self._current:
            self._note(now_ms, current)
        self._note(now_ms, wanted)
        least = self._lowest.best(now_ms - round(policy.stabilisation_s.up * 1_000))
        most = self._highest.best(now_ms - round(policy.stabilisation_s.down * 1_000))
        self._current = policy.within(min(max(current, least), most))
        return self._current


class _Window:
    """The best number of the last seconds: only those are kept that no later one is as good as, so never more than
    there are different numbers."""

    def __init__(self, is_as_good: Callable[[int, int], bool]) -> None:
        self._is_as_good = is_as_good
        self._kept: deque[tuple[int, int]] = deque()

    def add(self, now_ms: int, number: int) -> None:
        while self._kept and self._is_as_good(number, self._kept[-1][1]):
            self._kept.pop()
        self._kept.append((now_ms, number))

    def best(self, after_ms: int) -> int:
        """Of those after that time; the newest counts in any case."""
        while len(self._kept) > 1 and self._kept[0][0] <= after_ms:
            self._kept.popleft()
        return self._kept[0][1]


def verdict(spec: ServiceSpec, calm: Calm, now_ms: int, current: int, measured: int, level: float) -> Verdict:
    """How many replicas a service with `current` should have now, and why, in a sentence."""
    policy = spec.autoscale
    assert policy is not None
    told = f"{_shown(policy, level)} on average, target {policy.target:g}"
    if measured > current:
        return Verdict(replicas=current, why=f"{told}; {measured} replicas were measured before there were {current}")
    wanted = recommended(policy, current, measured, level)
    replicas = calm.settle(policy, now_ms, current, wanted)
    if replicas != current:
        return Verdict(replicas=replicas, why=f"{told}; {current} -> {replicas}{_bound(policy, replicas)}")
    if wanted == current:
        return Verdict(replicas=current, why=f"{told}; {current} are right{_bound(policy, current)}")
    until = policy.stabilisation_s.up if wanted > current else policy.stabilisation_s.down
    other = "lower" if wanted > current else "higher"
    why = f"{told}; {wanted} would do, {current} stay until nothing {other} was right for {until:g} s"
    return Verdict(replicas=current, why=why)


def _shown(policy: Autoscale, level: float) -> str:
    unit = f" % of the {policy.metric} reserved" if policy.metric in RESERVED else f" {policy.metric}"
    return f"{level:.6g}{unit}"


def _bound(policy: Autoscale, replicas: int) -> str:
    return ", the most" if replicas == policy.max else ", the least" if replicas == policy.min else ""
