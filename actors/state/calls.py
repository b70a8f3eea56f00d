"""What a user posts as a service call, read into what is asked of each service.

Three bodies are understood: `{"container": {...}}`, `{"containers": [{...}, ...]}`, and either with
`replicas` beside it. A mistake is answered with its path, what is wrong there, and the nearest right word.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from .commands import MAX_REPLICAS, ServiceRequest
from .specs import NestedCluster

TOP_FIELDS = ("container", "containers", "replicas")
CONTAINER_FIELDS = ("name", "id", "uniq_id", "description", "label", "replicas", "slots", "cluster")
CLUSTER_FIELDS = ("capacity",)
MAX_NAME = 200
MAX_SERVICES = 10_000
EXAMPLE = '{"container": {"id": 5, "replicas": 25}}'
_WORD = re.compile(r"[a-z0-9]+")
_NAME = re.compile(r"[^\s/?#%\x00-\x1f\x7f]+")
_CLUSTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class InvalidCall(ValueError):
    """A service call that cannot be read: `path` says where (`$.container.replicas`), `hint` what to do."""

    def __init__(self, path: str, message: str, hint: str) -> None:
        super().__init__(f"{path}: {message}; {hint}")
        self.path = path
        self.message = message
        self.hint = hint


def service_requests(body: object) -> tuple[ServiceRequest, ...]:
    """The services of a call's decoded JSON body, in the order given. Raises InvalidCall."""
    if not isinstance(body, Mapping):
        raise InvalidCall("$", f"expected an object, got {_kind(body)}", f"send for example {EXAMPLE}")
    _refuse_unknown(body, TOP_FIELDS, "$")
    shared = _replicas(body, "$") if "replicas" in body else None
    requests: list[ServiceRequest] = []
    paths: dict[str, str] = {}
    for path, container in _containers(body):
        request = _request(container, path, shared)
        if request.name in paths:
            raise InvalidCall(
                path,
                f"the name {request.name} is used already at {paths[request.name]}",
                "give each container a name of its own, or add the replicas up",
            )
        paths[request.name] = path
        requests.append(request)
    return tuple(requests)


def _containers(body: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(path, container) of each container in the body; at least one."""
    if "container" in body and "containers" in body:
        raise InvalidCall("$", "both container and containers are given", "use one of the two")
    if "container" in body:
        return [("$.container", _container(body["container"], "$.container"))]
    if "containers" not in body:
        raise InvalidCall("$", "no container is given", f"send for example {EXAMPLE}")
    listed = body["containers"]
    if not isinstance(listed, list | tuple):
        raise InvalidCall(
            "$.containers", f"expected a list, got {_kind(listed)}", "put the containers in [ ]"
        )
    if not listed:
        raise InvalidCall("$.containers", "the list is empty", "name at least one container")
    if len(listed) > MAX_SERVICES:
        raise InvalidCall(
            "$.containers", f"{len(listed)} containers", f"send at most {MAX_SERVICES} in one call"
        )
    return [(f"$.containers[{i}]", _container(value, f"$.containers[{i}]")) for i, value in enumerate(listed)]


def _container(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidCall(path, f"expected an object, got {_kind(value)}", f"send for example {EXAMPLE}")
    _refuse_unknown(value, CONTAINER_FIELDS, path)
    return value


def _request(container: Mapping[str, Any], path: str, shared: int | None) -> ServiceRequest:
    if "replicas" in container and shared is not None:
        raise InvalidCall(f"{path}.replicas", "replicas is given here and at the top", "keep one of the two")
    replicas = _replicas(container, path) if "replicas" in container else shared
    if replicas is None:
        raise InvalidCall(
            f"{path}.replicas", "the number of replicas is missing", 'add for example "replicas": 3'
        )
    slots = _whole(container["slots"], f"{path}.slots", least=1) if "slots" in container else 1
    name = _name(container, path)
    cluster = None
    if "cluster" in container:
        cluster = _cluster(container["cluster"], f"{path}.cluster")
        check_cluster(name, replicas, cluster, slots, path, f"{path}.slots")
    return ServiceRequest(
        name=name,
        replicas=replicas,
        slots_per_replica=slots,
        description=_description(container),
        cluster=cluster,
        says_slots="slots" in container,
        keeps_unsaid=True,
    )


def _cluster(value: object, path: str) -> NestedCluster:
    if not isinstance(value, Mapping):
        raise InvalidCall(path, f"expected an object, got {_kind(value)}", "send {} for a cluster as it comes")
    _refuse_unknown(value, CLUSTER_FIELDS, path)
    if "capacity" not in value:
        return NestedCluster()
    return NestedCluster(capacity=_whole(value["capacity"], f"{path}.capacity", least=1))


def check_cluster(
    name: str, replicas: int, cluster: NestedCluster, slots: int, path: str, reserved_at: str
) -> None:
    """Whether a service of that name may be such a cluster. Raises InvalidCall."""
    if name and not _CLUSTER_NAME.fullmatch(name):
        raise InvalidCall(
            path, f"{name[:100]!r} cannot be the last part of a cluster's id", "use up to 63 letters, digits, - and _"
        )
    if replicas < 1:
        raise InvalidCall(
            f"{path}.replicas", "a cluster needs one node at least", "DELETE the service to end its cluster"
        )
    if cluster.capacity > slots:
        message = f"a node of {cluster.capacity} slots does not fit the {slots} that its replica reserves"
        raise InvalidCall(f"{path}.cluster.capacity", message, f"reserve {cluster.capacity} at {reserved_at}")


def _name(container: Mapping[str, Any], path: str) -> str:
    """`name`, else `id-N` from `id` or `uniq_id`, else a slug of `description` or `label`."""
    for field in ("name", "id", "uniq_id", "description", "label"):
        if field in container:
            _check_naming_field(
                container[field], f"{path}.{field}", number_allowed=field in ("id", "uniq_id")
            )
    if "name" in container:
        return service_name(container["name"], f"{path}.name")
    for field in ("id", "uniq_id"):
        if field in container:
            return service_name(f"id-{container[field]}", f"{path}.{field}")
    for field in ("description", "label"):
        if field in container:
            return _slug(container[field], f"{path}.{field}")
    raise InvalidCall(path, "the container has no name", "add one of name, id, uniq_id, description or label")


def _check_naming_field(value: object, path: str, *, number_allowed: bool) -> None:
    if isinstance(value, str):
        if not value.strip():
            raise InvalidCall(
                path, "the text is empty", "write at least one letter or digit, or leave the field out"
            )
        return
    if number_allowed and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**20:
        return
    wanted = "a whole number or a text" if number_allowed else "a text"
    raise InvalidCall(path, f"expected {wanted}, got {_kind(value)}", "write it in double quotes")


def service_name(name: str, path: str) -> str:
    """The name, if a service may have it. Raises InvalidCall."""
    if len(name) > MAX_NAME:
        raise InvalidCall(path, f"the name has {len(name)} characters", f"use at most {MAX_NAME}")
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise InvalidCall(
            path, f"{name!r} cannot stand in a URL", "use letters, digits, - _ . : @ without spaces"
        )
    return name


def _slug(text: str, path: str) -> str:
    """`Container 0` becomes `container-0`."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = _WORD.findall(plain)
    if not words:
        raise InvalidCall(
            path, f"no name can be made from {text[:40]!r}", 'add "name" with letters or digits'
        )
    return "-".join(words)[:MAX_NAME]


def _description(container: Mapping[str, Any]) -> str:
    return str(container.get("description", container.get("label", "")))


def _replicas(container: Mapping[str, Any], path: str) -> int:
    return _whole(container["replicas"], f"{path}.replicas", least=0)


def _whole(value: object, path: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidCall(
            path, f"expected a whole number, got {_kind(value)}", f"use {least} to {MAX_REPLICAS}"
        )
    if not least <= value <= MAX_REPLICAS:
        shown = str(value) if abs(value) < 10**20 else "the number"
        problem = "is too small" if value < least else "is too large"
        raise InvalidCall(path, f"{shown} {problem}", f"use {least} to {MAX_REPLICAS}")
    return value


def _refuse_unknown(given: Mapping[str, Any], known: tuple[str, ...], path: str) -> None:
    for field in given:
        if field not in known:
            near = difflib.get_close_matches(str(field)[:100], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(known)}"
            raise InvalidCall(f"{path}.{str(field)[:100]}", f"unknown field {str(field)[:100]}", hint)


def _kind(value: object) -> str:
    """A JSON value's type in a user's words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}" if abs(value) < 10**20 else "a number"
        case str():
            return f"the text {value[:40]!r}"
        case list() | tuple():
            return "a list"
        case _:
            return "an object"
