"""What can be wrong with a spec's `autoscale`, and with the load of its simulated replicas."""

from __future__ import annotations

from collections.abc import Iterator

from .calls import InvalidCall
from .commands import MAX_REPLICAS
from .specs import ServiceSpec

MOST_METRICS = 10
MOST_STEPS = 100
MOST_USED = 1_000_000_000_000
LEAST_TARGET = 1e-6
LARGEST_SHOWN = 1e300
MOST_CALM_S = 86_400
"""A day of recommendations is remembered at most."""
_OF_RESERVED = {"cpu": "cpu_milli", "memory": "memory_mib"}


def autoscale_faults(spec: ServiceSpec) -> Iterator[InvalidCall]:
    """Everything that is wrong with `autoscale`, the first mistake first."""
    policy = spec.autoscale
    if policy is None:
        return
    if spec.mode != "replicated":
        hint = "leave it out; only a replicated service has a number of replicas to follow its usage"
        yield InvalidCall("$.autoscale", f"a {spec.mode} service cannot be autoscaled", hint)
    yield from _bounds(
        ("$.autoscale.min", policy.min, 1, MAX_REPLICAS),
        ("$.autoscale.max", policy.max, 1, MAX_REPLICAS),
        ("$.autoscale.tolerance", policy.tolerance, 0, 1),
        ("$.autoscale.stabilisation_s.up", policy.stabilisation_s.up, 0, MOST_CALM_S),
        ("$.autoscale.stabilisation_s.down", policy.stabilisation_s.down, 0, MOST_CALM_S),
        ("$.autoscale.every_s", policy.every_s, 0.1, 3_600),
    )
    if policy.min > policy.max:
        hint = "raise max, or lower min"
        yield InvalidCall("$.autoscale.min", f"min {policy.min} is above max {policy.max}", hint)
    if not LEAST_TARGET <= policy.target <= MOST_USED:
        hint = "say what the mean replica should use, for example 60 (percent of the cpu reserved)"
        yield InvalidCall("$.autoscale.target", f"{policy.target:g} cannot be aimed at", hint)
    reserved = _OF_RESERVED.get(policy.metric)
    if reserved is not None and not getattr(spec.reservations, reserved):
        hint = f"set reservations.{reserved}, or take the metric {reserved}, which is no percentage"
        message = f"{policy.metric} is in percent of what a replica reserves, and it reserves none"
        yield InvalidCall("$.autoscale.metric", message, hint)
    yield from _metric_faults(policy.metric, "$.autoscale.metric")


def load_faults(spec: ServiceSpec) -> Iterator[InvalidCall]:
    """Everything that is wrong with what simulated replicas use."""
    how = spec.simulate
    for field, metrics in (("usage", how.usage), ("demand", how.demand)):
        if len(metrics) > MOST_METRICS:
            yield InvalidCall(
                f"$.simulate.{field}", f"{len(metrics)} metrics", f"use at most {MOST_METRICS}"
            )
        for name in metrics:
            yield from _metric_faults(name, f"$.simulate.{field}.{name[:50]}")
            if name in _OF_RESERVED:
                hint = f"use {_OF_RESERVED[name]}"
                yield InvalidCall(f"$.simulate.{field}.{name}", f"{name} has no unit", hint)
    yield from _bounds(*((f"$.simulate.usage.{name}", used, 0, MOST_USED) for name, used in how.usage.items()))
    for name, demand in how.demand.items():
        path = f"$.simulate.demand.{name}"
        if isinstance(demand, int | float):
            yield from _bounds((path, demand, 0, MOST_USED))
            continue
        if not 0 < len(demand) <= MOST_STEPS:
            yield InvalidCall(path, f"{len(demand)} steps", f"use 1 to {MOST_STEPS}")
        before = -1.0
        for i, step in enumerate(demand):
            yield from _bounds(
                (f"{path}[{i}].total", step.total, 0, MOST_USED),
                (f"{path}[{i}].after_s", step.after_s, 0, MOST_USED),
            )
            if step.after_s <= before:
                message = f"{step.after_s:g} does not come after {before:g}"
                yield InvalidCall(f"{path}[{i}].after_s", message, "put the steps in the order of their times")
            before = step.after_s


def _metric_faults(name: str, path: str) -> Iterator[InvalidCall]:
    if not 0 < len(name) <= 50 or not all(letter.isalnum() or letter in "_-." for letter in name):
        yield InvalidCall(path, f"{name[:50]!r} cannot name a metric", "use up to 50 letters, digits, _ - or .")


def shown(value: float) -> str:
    """A number as a mistake names it; a whole number of hundreds of digits is no float."""
    return "the number" if abs(value) > LARGEST_SHOWN else f"{value:g}"


def _bounds(*checks: tuple[str, float, float, float]) -> Iterator[InvalidCall]:
    for path, value, least, most in checks:
        if not least <= value <= most:
            problem = "is too small" if value < least else "is too large"
            yield InvalidCall(path, f"{shown(value)} {problem}", f"use {least:g} to {most:g}")
