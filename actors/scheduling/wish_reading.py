"""The JSON body of a plan, read into a wish; a mistake is answered with its path and the nearest right word."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from ..state.calls import InvalidCall, service_name, service_requests
from ..state.compose_reading import read_stack
from ..state.spec_reading import read_spec
from .wishes import CallWish, DrainWish, LossWish, ServiceWish, StackWish, SurvivalWish, Wish

__all__ = ["PatchedService", "read_wish"]

KINDS = ("service", "call", "stack", "drain", "loss")
EXAMPLE = '{"service": {"name": "web", "spec": {"image": "nginx:1.27", "replicas": 3}}}'
EACH = "each"
MOST_SECONDS = 1_000_000_000

T = TypeVar("T")
Resolve = Callable[[str], str]
"""From what a user calls a node to its name."""


class PatchedService(msgspec.Struct, frozen=True, kw_only=True):
    """A service is to be changed in part: the spec that this makes depends on the present one."""

    name: str
    patch: Mapping[str, Any]
    version: int | None = None


def read_wish(body: object, resolve: Resolve) -> Wish | PatchedService:
    """The wish of a decoded JSON body. Raises InvalidCall, and whatever `resolve` raises."""
    given = _object(body, "$", KINDS, EXAMPLE)
    if len(given) != 1:
        message = "no plan is asked for" if not given else f"{', '.join(given)} are asked for at once"
        raise InvalidCall("$", message, f"name one of {', '.join(KINDS)}, for example {EXAMPLE}")
    kind, asked = next(iter(given.items()))
    match kind:
        case "service":
            return _service(asked)
        case "call":
            return CallWish(services=_within("$.call", lambda: service_requests(asked)))
        case "stack":
            return _stack(asked)
        case "drain":
            return _drain(asked, resolve)
        case _:
            return _loss(asked, resolve)


def _service(asked: object) -> ServiceWish | PatchedService:
    path = "$.service"
    given = _object(asked, path, ("name", "spec", "patch", "version"), EXAMPLE)
    name = service_name(_text(given.get("name"), f"{path}.name"), f"{path}.name")
    version = _version(given, path)
    if ("spec" in given) == ("patch" in given):
        hint = f"send the whole spec, for example {EXAMPLE}, or what is to change as patch"
        raise InvalidCall(path, "one of spec and patch is needed", hint)
    if "patch" in given:
        patch = given["patch"]
        if not isinstance(patch, Mapping):
            raise InvalidCall(f"{path}.patch", "expected an object", 'for example {"replicas": 5}')
        return PatchedService(name=name, patch=patch, version=version)
    spec = _within(f"{path}.spec", lambda: read_spec(given["spec"], name=name))
    return ServiceWish(name=name, spec=spec, version=version)


def _stack(asked: object) -> StackWish:
    path = "$.stack"
    given = _object(
        asked, path, ("name", "document", "version"), '{"stack": {"name": "shop", "document": {…}}}'
    )
    name = service_name(_text(given.get("name"), f"{path}.name"), f"{path}.name")
    read = _within(f"{path}.document", lambda: read_stack(name, given.get("document")))
    return StackWish(name=name, services=read.services, version=_version(given, path), ignored=read.ignored)


def _drain(asked: object, resolve: Resolve) -> DrainWish:
    path, hint = "$.drain", '{"drain": ["localhost:8002"]}'
    if not isinstance(asked, Mapping):
        return DrainWish(nodes=_nodes(asked, path, resolve, hint))
    given = _object(asked, path, ("nodes", "max_parallel", "deadline_s"), hint)
    parallel, deadline_s = given.get("max_parallel", 0), given.get("deadline_s")
    if not isinstance(parallel, int) or isinstance(parallel, bool) or parallel < 0:
        raise InvalidCall(f"{path}.max_parallel", "expected a whole number", "use 0 (all at once) or more")
    if deadline_s is not None and (
        not isinstance(deadline_s, int | float)
        or isinstance(deadline_s, bool)
        or not 0 <= deadline_s <= MOST_SECONDS
    ):
        raise InvalidCall(f"{path}.deadline_s", "expected seconds", "use 0 or more, or leave it out")
    nodes = _nodes(given.get("nodes"), f"{path}.nodes", resolve, hint)
    return DrainWish(nodes=nodes, parallel=parallel, deadline_s=deadline_s)


def _loss(asked: object, resolve: Resolve) -> LossWish | SurvivalWish:
    if asked == EACH:
        return SurvivalWish()
    hint = f'{{"loss": ["localhost:8002"]}}, or {{"loss": "{EACH}"}} for every node in turn'
    return LossWish(nodes=_nodes(asked, "$.loss", resolve, hint))


def _nodes(asked: object, path: str, resolve: Resolve, hint: str) -> tuple[str, ...]:
    if isinstance(asked, str):
        asked = [asked]
    if not isinstance(asked, list | tuple) or not asked:
        raise InvalidCall(path, "expected a list of nodes", f"for example {hint}")
    names = [resolve(_text(node, f"{path}[{i}]")) for i, node in enumerate(asked)]
    return tuple(dict.fromkeys(names))


def _version(given: Mapping[str, Any], path: str) -> int | None:
    version = given.get("version")
    if version is not None and (not isinstance(version, int) or isinstance(version, bool) or version < 0):
        raise InvalidCall(f"{path}.version", "expected a whole number", "send the version that you have seen")
    return version


def _text(value: object, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidCall(path, "expected a text", "write a name in double quotes")
    return value


def _object(value: object, path: str, fields: tuple[str, ...], example: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidCall(path, "expected an object", f"send for example {example}")
    for field in value:
        if field not in fields:
            near = difflib.get_close_matches(str(field)[:100], fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(fields)}"
            raise InvalidCall(f"{path}.{str(field)[:100]}", f"unknown field {str(field)[:100]}", hint)
    return value


def _within(path: str, read: Callable[[], T]) -> T:
    """What a reader of a body of its own finds wrong, told with the path in this one."""
    try:
        return read()
    except InvalidCall as error:
        raise InvalidCall(path + error.path.removeprefix("$"), error.message, error.hint) from None
