"""What a user says of a node, read into a command; a mistake is answered with its path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from .calls import InvalidCall
from .commands import MAX_CAPACITY, MAX_REPLICAS, Availability, UpdateNode
from .gpus import GPUS, MAX_DEVICES
from .spec_reading import LONGEST_MODEL, resource_faults
from .wrong_types import exact_path, type_at, what_is_right

EXAMPLE = '{"availability": "drain"}'
KNOWN_RESOURCES = ("cpu_milli", "memory_mib", "gpus")
_UNKNOWN = re.compile(r"unknown field `(.*)`")


class Drain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How gently: so many replicas of one service at a time (0 = all), and after so many seconds all the same."""

    max_parallel: int = 0
    deadline_s: float | None = None


class NodePlatform(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    os: str = ""
    arch: str = ""


class NodeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be changed. `labels` and `resources` replace all that there are; what is left out stays."""

    availability: Availability | None = None
    labels: dict[str, str] | None = None
    capacity: int | None = None
    resources: dict[str, int] | None = None
    platform: NodePlatform | None = None
    gpu_model: str | None = None
    """Of all its GPU devices."""
    drain: Drain | None = None


def read_node(name: str, body: object) -> UpdateNode:
    """The command of a decoded JSON body. Raises InvalidCall."""
    if not isinstance(body, Mapping):
        raise InvalidCall("$", "expected an object", f"send for example {EXAMPLE}")
    try:
        wanted = msgspec.convert(dict(body), NodeBody)
    except msgspec.ValidationError as error:
        raise _explained(str(error), body) from None
    if wanted.drain is not None and wanted.availability != "drain":
        raise InvalidCall("$.drain", "the node is not told to drain", 'add "availability": "drain"')
    drain = wanted.drain or Drain()
    if drain.max_parallel < 0 or (drain.deadline_s is not None and not 0 <= drain.deadline_s <= 1e9):
        raise InvalidCall("$.drain", "a number is out of range", "use 0 or more")
    if drain.max_parallel > MAX_REPLICAS:
        raise InvalidCall("$.drain.max_parallel", "the number is too large", f"use 0 to {MAX_REPLICAS}")
    _check_resources(wanted)
    platform = wanted.platform
    return UpdateNode(
        name=name,
        availability=wanted.availability,
        labels=None if wanted.labels is None else tuple(sorted(wanted.labels.items())),
        capacity=wanted.capacity,
        resources=None if wanted.resources is None else dict(sorted(wanted.resources.items())),
        platform=None if platform is None else (platform.os, platform.arch),
        drain_parallel=drain.max_parallel,
        drain_deadline_s=drain.deadline_s,
        gpu_model=None if wanted.gpu_model is None else wanted.gpu_model.strip(),
    )


def _check_resources(wanted: NodeBody) -> None:
    check_words(wanted.resources or {}, wanted.labels or {})
    if wanted.gpu_model is not None and len(wanted.gpu_model) > LONGEST_MODEL:
        raise InvalidCall("$.gpu_model", "the name is too long", f"use {LONGEST_MODEL} letters at most")
    if wanted.capacity is not None and not 0 <= wanted.capacity <= MAX_CAPACITY:
        raise InvalidCall("$.capacity", f"{wanted.capacity} is out of range", f"use 0 to {MAX_CAPACITY}")


def check_words(resources: Mapping[str, int], labels: Mapping[str, str]) -> None:
    """Raises InvalidCall where a node would have what nobody could ask for, or more GPUs than tasks can hold."""
    for resource, units in resources.items():
        path = f"$.resources.{resource[:100]}"
        if resource not in KNOWN_RESOURCES:
            for fault in resource_faults(resource, path):
                raise fault
        if not 0 <= units <= MAX_CAPACITY:
            raise InvalidCall(path, f"{units} is out of range", f"use 0 to {MAX_CAPACITY}")
    for label in labels:
        if not label or any(letter.isspace() for letter in label):
            hint = 'write at least one letter, and no blanks, for example {"zone": "a"}'
            raise InvalidCall("$.labels", f"{label[:100]!r} cannot name a label", hint)
    if resources.get(GPUS, 0) > MAX_DEVICES:
        raise InvalidCall(f"$.resources.{GPUS}", f"{resources[GPUS]} is too large", f"use 0 to {MAX_DEVICES}")


def _explained(error: str, body: Mapping[str, Any]) -> InvalidCall:
    message, _, path = error.partition(" - at `")
    path = path.removesuffix("`") or "$"
    wanted, path = type_at(NodeBody, path), exact_path(NodeBody, body, path)
    unknown = _UNKNOWN.search(message)
    if unknown is None:
        return InvalidCall(path, message, what_is_right(wanted) or f"send for example {EXAMPLE}")
    fields = (*NodeBody.__struct_fields__, *Drain.__struct_fields__, *NodePlatform.__struct_fields__)
    near = difflib.get_close_matches(unknown[1][:100], fields, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(NodeBody.__struct_fields__)}"
    return InvalidCall(f"{path}.{unknown[1][:100]}", f"unknown field {unknown[1][:100]}", hint)
