"""A service's JSON body, read into its spec; a mistake is answered with its path and the nearest right word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, get_args, get_origin

import msgspec

from . import constraints
from .autoscale_reading import autoscale_faults, load_faults, shown
from .calls import InvalidCall, check_cluster, service_name
from .commands import MAX_CAPACITY, MAX_REPLICAS
from .cron_reading import cron_faults
from .gpus import MAX_DEVICES, WHOLE
from .specs import Placement, Reservations, ServiceSpec, one_a_node, tidied
from .wrong_types import exact_path, structs, type_at, what_is_right

EXAMPLE = '{"image": "nginx:1.27", "replicas": 3}'
MOST_RULES = 50
LONGEST_MODEL = 100
MOST_SECONDS = 1_000_000_000
MOST_EXACT = 2**53
"""Up to here every JSON reader knows a whole number exactly."""
_WRONG_WORD = re.compile(r"Invalid enum value '(.*)'")
_UNKNOWN = re.compile(r"unknown field `(.*)`")
_MISSING = re.compile(r"missing required field `(.*)`")


def read_spec(body: object, *, name: str = "") -> ServiceSpec:
    """The spec of a decoded JSON body. Raises InvalidCall."""
    if name:
        service_name(name, "$.name")
    if not isinstance(body, Mapping):
        raise InvalidCall("$", "expected an object", f"send for example {EXAMPLE}")
    try:
        spec = msgspec.convert(dict(body), ServiceSpec)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        raise _explained(message, path.removesuffix("`") or "$", body) from None
    if name and name in spec.depends_on:
        raise InvalidCall(f"$.depends_on.{name}", f"{name} would wait for itself", "name another service")
    fault = next(chain(_faults(spec, body), _affinity_faults(spec.placement, name)), None)
    if fault is not None:
        raise fault
    if spec.cluster is not None:
        _check_cluster(spec, name)
        spec = one_a_node(spec)
    return _in_order(spec)


def merge(spec: ServiceSpec, patch: object) -> dict[str, Any]:
    """The JSON body that a patch (RFC 7386: null takes away, objects merge) makes of a spec."""
    body = msgspec.to_builtins(spec)
    if not isinstance(patch, Mapping):
        raise InvalidCall("$", "expected an object", 'send what is to change, for example {"replicas": 5}')
    merged = _merged(body, patch, ServiceSpec)
    assert isinstance(merged, dict)
    return merged


def _merged(value: Any, patch: Any, wanted: Any) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    result = dict(value) if isinstance(value, Mapping) else {}
    struct = next(structs(wanted), None) if get_origin(wanted) is not dict else None
    for key, item in patch.items():
        if item is not None:
            result[key] = _merged(result.get(key), item, type_at(wanted, f"$.{key}"))
        elif struct is None or key in struct.__struct_fields__:
            result.pop(key, None)
        else:
            result[key] = None  # and is told to be no field
    return result


def _explained(message: str, path: str, body: Mapping[str, Any]) -> InvalidCall:
    wanted, path = type_at(ServiceSpec, path), exact_path(ServiceSpec, body, path)
    unknown, wrong, missing = _UNKNOWN.search(message), _WRONG_WORD.search(message), _MISSING.search(message)
    if unknown is not None:
        field = unknown[1][:100]
        fields = next(structs(wanted), ServiceSpec).__struct_fields__
        near = difflib.get_close_matches(field, fields, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the fields here are {', '.join(fields)}"
        return InvalidCall(f"{path}.{field}", f"unknown field {field}", hint)
    if missing is not None:
        return InvalidCall(path, message, f'add "{missing[1]}"; {what_is_right(type_at(wanted, f"$.{missing[1]}"))}')
    hint = what_is_right(wanted) or f"send for example {EXAMPLE}"
    if wrong is not None:
        words = [word for word in get_args(wanted) if isinstance(word, str)]
        near = difflib.get_close_matches(wrong[1][:100], words, n=1)
        hint = f"did you mean {near[0]}?" if near else hint
    return InvalidCall(path, message, hint)


def _faults(spec: ServiceSpec, body: Mapping[str, Any]) -> Iterator[InvalidCall]:
    if spec.is_global and "replicas" in body:
        yield InvalidCall(
            "$.replicas",
            f"a {spec.mode} service has as many replicas as there are nodes",
            'leave it out; to take it from a service that has it, send "replicas": null',
        )
    kept, place = spec.reservations, spec.placement
    yield from _ranges(
        ("$.replicas", spec.replicas, 0, MAX_REPLICAS),
        ("$.priority", spec.priority, 0, 100),
        ("$.force_update", spec.force_update, -MOST_EXACT, MOST_EXACT),
        ("$.reservations.slots", kept.slots, 1, MAX_REPLICAS),
        ("$.reservations.cpu_milli", kept.cpu_milli, 0, MAX_CAPACITY),
        ("$.reservations.memory_mib", kept.memory_mib, 0, MAX_CAPACITY),
        ("$.reservations.gpus", kept.gpus, 0, MAX_DEVICES),
        ("$.reservations.gpu_milli", kept.gpu_milli, 1, WHOLE),
        *((f"$.reservations.custom.{name}", units, 1, MAX_CAPACITY) for name, units in kept.custom.items()),
        ("$.limits.cpu_milli", spec.limits.cpu_milli, 0, MAX_CAPACITY),
        ("$.limits.memory_mib", spec.limits.memory_mib, 0, MAX_CAPACITY),
        ("$.placement.max_replicas_per_node", place.max_replicas_per_node, 0, MAX_REPLICAS),
        *((f"$.ports[{i}].published", port.published, 1, 65_535) for i, port in enumerate(spec.ports)),
        *((f"$.ports[{i}].target", port.target, 0, 65_535) for i, port in enumerate(spec.ports)),
    )
    for name in kept.custom:
        yield from resource_faults(name, f"$.reservations.custom.{name}")
    yield from _gpu_faults(kept)
    for limit, reserved, field in (
        (spec.limits.cpu_milli, kept.cpu_milli, "cpu_milli"),
        (spec.limits.memory_mib, kept.memory_mib, "memory_mib"),
    ):
        if 0 < limit < reserved:
            message = f"the limit {limit} is below the reservation {reserved}"
            yield InvalidCall(f"$.limits.{field}", message, "raise the limit, or lower the reservation")
    again, simulated = spec.restart, spec.simulate
    yield from _ranges(
        ("$.max_concurrent", spec.max_concurrent, 0, MAX_REPLICAS),
        ("$.restart.delay_s", again.delay_s, 0, MOST_SECONDS),
        ("$.restart.max_delay_s", again.max_delay_s, 0, MOST_SECONDS),
        ("$.restart.max_attempts", again.max_attempts, 0, MAX_REPLICAS),
        ("$.restart.window_s", again.window_s, 0, MOST_SECONDS),
        ("$.restart.reset_s", again.reset_s, 0, MOST_SECONDS),
        ("$.simulate.start_s", simulated.start_s, 0, MOST_SECONDS),
        ("$.simulate.run_s", simulated.run_s or 0, 0, MOST_SECONDS),
        ("$.simulate.exit_code", simulated.exit_code, 0, 255),
        ("$.cluster.capacity", 0 if spec.cluster is None else spec.cluster.capacity, 0, MAX_CAPACITY),
    )
    for field, policy in (("update", spec.update), ("rollback", spec.rollback)):
        yield from _ranges(
            (f"$.{field}.parallelism", policy.parallelism, 0, MAX_REPLICAS),
            (f"$.{field}.delay_s", policy.delay_s, 0, MOST_SECONDS),
            (f"$.{field}.monitor_s", policy.monitor_s, 0, MOST_SECONDS),
            (f"$.{field}.max_failure_ratio", policy.max_failure_ratio, 0, 1),
        )
    if spec.rollback.failure_action == "rollback":
        yield InvalidCall("$.rollback.failure_action", "a rollback is not rolled back", "use pause or continue")
    if spec.max_concurrent and not spec.is_job:
        yield InvalidCall("$.max_concurrent", f"a {spec.mode} service is no job", "leave it out")
    published = [(port.protocol, port.published) for port in spec.ports]
    if len(dict.fromkeys(published)) < len(published):
        yield InvalidCall("$.ports", "a port is published twice", "name each published port once")
    yield from _rule_faults(spec)
    yield from load_faults(spec)
    yield from autoscale_faults(spec)
    yield from cron_faults(spec)


def _gpu_faults(kept: Reservations) -> Iterator[InvalidCall]:
    if not kept.gpus:
        for field, is_said in (("gpu_milli", kept.gpu_milli != WHOLE), ("gpu_models", bool(kept.gpu_models))):
            if is_said:
                yield InvalidCall(f"$.reservations.{field}", "no GPUs are reserved", 'add "gpus": 1')
    if len(kept.gpu_models) > MOST_RULES:
        message = f"{len(kept.gpu_models)} models"
        yield InvalidCall("$.reservations.gpu_models", message, f"send at most {MOST_RULES}")
    for i, model in enumerate(kept.gpu_models):
        if not model.strip() or len(model) > LONGEST_MODEL:
            hint = "name it as the nodes do, for example A100"
            yield InvalidCall(f"$.reservations.gpu_models[{i}]", f"{model[:100]!r} names no model", hint)


_NO_CLUSTER_HAS = ("image", "command", "env", "limits", "ports", "simulate", "max_concurrent", "autoscale", "schedule")


def _check_cluster(spec: ServiceSpec, name: str) -> None:
    """What a service may say whose container is a cluster. Raises InvalidCall."""
    assert spec.cluster is not None
    if spec.is_job:
        raise InvalidCall("$.mode", f"a cluster is no {spec.mode}", "use replicated or global")
    for field in _NO_CLUSTER_HAS:
        if getattr(spec, field) != getattr(ServiceSpec(), field):
            raise InvalidCall(f"$.{field}", f"a cluster has no {field}", "leave it out, or give it to a service inside")
    if spec.reservations.gpus and spec.reservations.gpu_milli < WHOLE:
        message = f"a node of a cluster has whole GPUs, not {spec.reservations.gpu_milli} thousandths of one"
        raise InvalidCall("$.reservations.gpu_milli", message, "leave it out")
    most = spec.placement.max_replicas_per_node
    if most > 1:
        path, hint = "$.placement.max_replicas_per_node", "leave it out"
        raise InvalidCall(path, f"{most} nodes of a cluster on one node would be lost together", hint)
    # A global one counts its nodes itself.
    replicas = max(1, spec.replicas) if spec.is_global else spec.replicas
    check_cluster(name, replicas, spec.cluster, spec.reservations.slots, "$", "$.reservations.slots")


def _rule_faults(spec: ServiceSpec) -> Iterator[InvalidCall]:
    place = spec.placement
    for field, rules in (("constraints", place.constraints), ("preferences", place.preferences)):
        if len(rules) > MOST_RULES:
            message = f"{len(rules)} {field}"
            yield InvalidCall(f"$.placement.{field}", message, f"send at most {MOST_RULES}")
    for i, rule in enumerate(place.constraints):
        try:
            constraints.read(rule)
        except ValueError as error:
            yield InvalidCall(f"$.placement.constraints[{i}]", str(error), constraints.HINT)
    for i, attribute in enumerate(place.preferences):
        fault = constraints.fault_of_attribute(attribute)
        if fault:
            hint = "name what to spread over, for example node.labels.zone"
            yield InvalidCall(f"$.placement.preferences[{i}]", fault, hint)


def _affinity_faults(place: Placement, name: str) -> Iterator[InvalidCall]:
    if len(place.affinities) > MOST_RULES:
        message = f"{len(place.affinities)} affinities"
        yield InvalidCall("$.placement.affinities", message, f"send at most {MOST_RULES}")
    for i, affinity in enumerate(place.affinities):
        path = f"$.placement.affinities[{i}]"
        if bool(affinity.constraint) == bool(affinity.service):
            hint = 'for example {"constraint": "node.labels.zone == a", "weight": 50}'
            yield InvalidCall(path, "an affinity is to a constraint or to a service", hint)
        if not affinity.weight or not -100 <= affinity.weight <= 100:
            hint = "use 1 to 100 for what is rather there, -100 to -1 for what is rather not"
            yield InvalidCall(f"{path}.weight", f"a weight of {affinity.weight}", hint)
        if affinity.constraint:
            try:
                constraints.read(affinity.constraint)
            except ValueError as error:
                yield InvalidCall(f"{path}.constraint", str(error), constraints.HINT)
        elif affinity.service:
            service_name(affinity.service, f"{path}.service")
            if affinity.service == name:
                hint = 'to keep its replicas apart, spread over {"preferences": ["node.name"]}'
                yield InvalidCall(f"{path}.service", f"{name} would look at itself", hint)


_OTHER_WORDS = {
    "cpu_milli": ("cpu", "cpus", "cpu_m", "millicpu", "millicpus", "cores"),
    "memory_mib": ("memory", "mem", "ram", "memory_mb", "memory_gb", "memory_gib", "mem_mib"),
    "gpus": ("gpu", "gpu_count"),
}
_MEANS = {
    "cpu_milli": "cpu_milli, in thousandths of a processor",
    "memory_mib": "memory_mib, in MiB",
    "gpus": "gpus, in whole devices",
}


def _meant(name: str) -> str:
    """The resource that a word nearly names; empty where it is one of its own."""
    plain = name.strip().casefold().replace("-", "_")
    for known, others in _OTHER_WORDS.items():
        if plain == known or plain in others:
            return known
    return next(iter(difflib.get_close_matches(plain[:100], _OTHER_WORDS, n=1, cutoff=0.9)), "")


def resource_faults(name: str, path: str) -> Iterator[InvalidCall]:
    """What is wrong with the name of a custom resource."""
    known = _meant(name)
    if known and name != known:
        yield InvalidCall(path, f"unknown resource {name[:100]}", f"did you mean {_MEANS[known]}?")
    reserved = ("slots", "cpu_milli", "memory_mib", "gpus")
    if name in reserved or "/" in name or not name.strip() or len(name) > 100:
        hint = "choose another name, without / and other than slots, cpu_milli, memory_mib, gpus"
        yield InvalidCall(path, f"{name[:100]!r} cannot name a custom resource", hint)


def _ranges(*checks: tuple[str, float, int, int]) -> Iterator[InvalidCall]:
    for path, value, least, most in checks:
        if not least <= value <= most:
            problem = "is too small" if value < least else "is too large"
            yield InvalidCall(path, f"{shown(value)} {problem}", f"use {least} to {most}")


def _in_order(spec: ServiceSpec) -> ServiceSpec:
    """With its maps in the order of their keys, so that equal specs have equal bytes."""
    kept = msgspec.structs.replace(spec.reservations, custom=dict(sorted(spec.reservations.custom.items())))
    in_order = msgspec.structs.replace(
        spec,
        env=dict(sorted(spec.env.items())),
        labels=dict(sorted(spec.labels.items())),
        depends_on=dict(sorted(spec.depends_on.items())),
        reservations=kept,
        simulate=msgspec.structs.replace(
            spec.simulate,
            usage=dict(sorted(spec.simulate.usage.items())),
            demand=dict(sorted(spec.simulate.demand.items())),
        ),
    )
    return tidied(in_order)
