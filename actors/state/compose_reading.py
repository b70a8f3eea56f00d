"""A stack's Compose document, read into the specs of its services.

The subset that says what a service is and where it goes is understood, in Compose's own words and units. What is
Compose's and means nothing here is ignored, and told with its path; what is nobody's is refused, with the nearest right
word. `x-raftyard` beside a service's keys holds fields of a spec for which Compose has no word.
"""

from __future__ import annotations

import difflib
import graphlib
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from .calls import InvalidCall, service_name
from .depending import CIRCLE_HINT, in_words
from .spec_reading import read_spec
from .specs import ServiceSpec

__all__ = ["Ignored", "StackSpec", "read_stack"]

EXAMPLE = '{"services": {"web": {"image": "nginx:1.27", "deploy": {"replicas": 3}}}}'
MOST_SERVICES = 1_000
OURS = "x-raftyard"

_TOP = ("services",)
_TOP_IGNORED = ("version", "name", "networks", "volumes", "secrets", "configs", "include", "models")
_SERVICE = ("image", "command", "environment", "ports", "deploy", "labels", "depends_on")
_SERVICE_IGNORED = tuple(
    "annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent configs container_name cpu_count "
    "cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset credential_spec develop "
    "device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint env_file expose extends external_links "
    "extra_hosts gpus group_add healthcheck hostname init ipc isolation links logging mac_address mem_limit "
    "mem_reservation mem_swappiness memswap_limit models network_mode networks oom_kill_disable oom_score_adj pid "
    "pids_limit platform post_start pre_stop privileged profiles provider pull_policy read_only restart runtime scale "
    "secrets security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits "
    "use_api_socket user userns_mode uts volumes volumes_from working_dir".split()
)
_DEPLOY = (
    "mode",
    "replicas",
    "labels",
    "resources",
    "placement",
    "update_config",
    "rollback_config",
    "restart_policy",
)
_LIMITS = ("cpus", "memory")
_DEVICES = ("devices", "generic_resources")
_UPDATE = ("parallelism", "delay", "failure_action", "monitor", "max_failure_ratio", "order")
_RESTART = ("condition", "delay", "max_attempts", "window")
_CONDITIONS = {
    "service_started": "started",
    "service_healthy": "healthy",
    "service_completed_successfully": "completed",
}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(us|ms|s|m|h))", re.ASCII)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*(b|k|kb|m|mb|g|gb|t|tb)?", re.ASCII | re.IGNORECASE)
_POWERS = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_PORT = re.compile(
    r"(?:(?P<host>.*):)?(?P<published>\d+(?:-\d+)?):(?P<target>\d+(?:-\d+)?)(?:/(?P<protocol>\w+))?"
)
_INSIDE = re.compile(r"\d+(?:-\d+)?(?:/\w+)?")
_MIB = 1 << 20
_LONGEST = 50
"""No number, size or duration has more characters."""
_MOST_PORTS = 1_000


class Ignored(msgspec.Struct, frozen=True, kw_only=True):
    """What stands at `path` has no effect, and why."""

    path: str
    message: str


class StackSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Services by the names that they have in the cluster, `stack_service`, in the document's order."""

    services: tuple[tuple[str, ServiceSpec], ...]
    ignored: tuple[Ignored, ...] = ()


def read_stack(stack: str, document: object) -> StackSpec:
    """The services of a decoded document. Raises InvalidCall."""
    service_name(stack, "$.name")
    reader = _Reader(stack)
    services = tuple(reader.read(document))
    reader.refuse_circles(dict(services))
    return StackSpec(services=services, ignored=tuple(reader.ignored))


class _Reader:
    """One document; gathers what is ignored on the way."""

    def __init__(self, stack: str) -> None:
        self.stack = stack
        self.ignored: list[Ignored] = []
        self._names: tuple[str, ...] = ()

    def read(self, document: object) -> Iterator[tuple[str, ServiceSpec]]:
        top = self._keys(document, "$", _TOP, _TOP_IGNORED)
        services = top.get("services")
        if not isinstance(services, Mapping) or not services:
            raise InvalidCall("$.services", "a stack has at least one service", f"send for example {EXAMPLE}")
        if len(services) > MOST_SERVICES:
            raise InvalidCall(
                "$.services", f"{len(services)} services", f"use at most {MOST_SERVICES} a stack"
            )
        self._names = tuple([str(name) for name in services])
        for name, given in services.items():
            path = f"$.services.{name}"
            yield self._full(str(name), path), self._service(str(name), given, path)

    def refuse_circles(self, services: Mapping[str, ServiceSpec]) -> None:
        """Services that wait for each other would wait for ever."""
        try:
            graphlib.TopologicalSorter({name: spec.depends_on for name, spec in services.items()}).prepare()
        except graphlib.CycleError as error:
            circle = [name.removeprefix(f"{self.stack}_") for name in reversed(error.args[1])]
            raise InvalidCall(f"$.services.{circle[0]}.depends_on", in_words(circle), CIRCLE_HINT) from None

    def _full(self, name: str, path: str) -> str:
        return service_name(f"{self.stack}_{name}", path)

    def _keys(
        self, given: object, path: str, known: tuple[str, ...], ignored: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """The known keys of an object; the ignored ones are noted, others are a mistake."""
        if given is None:
            given = {}
        if not isinstance(given, Mapping):
            raise InvalidCall(path, f"expected an object, got {_kind(given)}", "write key: value pairs")
        found: dict[str, Any] = {}
        for key, value in given.items():
            name = str(key)[:100]
            if name in known:
                found[name] = value
            elif name in ignored:
                self._ignore(f"{path}.{name}", _WHY.get(name, f"{name} has no meaning here"))
            elif name.startswith("x-"):
                self._ignore(f"{path}.{name}", "an extension that is not ours")
            else:
                near = difflib.get_close_matches(name, (*known, *ignored), n=1)
                hint = f"did you mean {near[0]}?" if near else f"the keys here are {', '.join(known)}"
                raise InvalidCall(f"{path}.{name}", f"unknown key {name}", hint)
        return found

    def _ignore(self, path: str, why: str) -> None:
        self.ignored.append(Ignored(path=path, message=f"ignored: {why}"))

    # one service

    def _service(self, name: str, given: object, path: str) -> ServiceSpec:
        service = self._keys(given, path, (*_SERVICE, OURS), _SERVICE_IGNORED)
        body: dict[str, Any] = {}
        places: dict[str, str] = {}

        def put(field: str, key: str, value: Any) -> None:
            """A field of the spec, and the key that it comes from."""
            places[f"$.{field}"] = f"{path}.{key}"
            *above, last = field.split(".")
            part = body
            for one in above:
                part = part.setdefault(one, {})
            part[last] = value

        for key, value in service.items():
            at = f"{path}.{key}"
            match key:
                case "image":
                    put("image", key, _text(value, at))
                case "command":
                    put("command", key, _command(value, at))
                case "environment":
                    put("env", key, _pairs(value, at, "VARIABLE=value"))
                case "labels":
                    put("labels", key, _pairs(value, at, "label=value"))
                case "ports":
                    put("ports", key, list(self._ports(value, at)))
                case "depends_on":
                    put("depends_on", key, self._depends_on(value, at))
                case "deploy":
                    self._deploy(value, at, put)
        deployed = (service.get("deploy") or {}).get("labels")
        if deployed is not None:
            more = _pairs(deployed, f"{path}.deploy.labels", "label=value")
            put("labels", "deploy.labels", body.get("labels", {}) | more)
        ours = service.get(OURS)
        if ours is not None:
            if not isinstance(ours, Mapping):
                raise InvalidCall(f"{path}.{OURS}", "expected an object", "write fields of a service's spec")
            _merge(body, ours)
            places["$"] = f"{path}.{OURS}"
        return _spec(self._full(name, path), body, places, path)

    def _deploy(self, given: object, path: str, put: Callable[[str, str, Any], None]) -> None:
        deploy = self._keys(given, path, _DEPLOY, ("endpoint_mode",))
        for key, value in deploy.items():
            at = f"{path}.{key}"
            match key:
                case "mode":
                    put("mode", "deploy.mode", _text(value, at))
                case "replicas":
                    put("replicas", "deploy.replicas", _whole(value, at))
                case "resources":
                    self._resources(value, at, put)
                case "placement":
                    self._placement(value, at, put)
                case "update_config" | "rollback_config":
                    self._update(key, value, at, put)
                case "restart_policy":
                    self._restart(value, at, put)

    def _resources(self, given: object, path: str, put: Callable[[str, str, Any], None]) -> None:
        for part, keys in self._keys(given, path, ("limits", "reservations")).items():
            at = f"{path}.{part}"
            known = _LIMITS if part == "limits" else (*_LIMITS, *_DEVICES)
            where = f"deploy.resources.{part}"
            for key, value in self._keys(keys, at, known, ("pids",)).items():
                match key:
                    case "cpus":
                        put(f"{part}.cpu_milli", f"{where}.cpus", _milli(value, f"{at}.cpus"))
                    case "memory":
                        put(f"{part}.memory_mib", f"{where}.memory", _mib(value, f"{at}.memory"))
                    case "devices":
                        put("reservations.gpus", f"{where}.devices", self._gpus(value, f"{at}.devices"))
                    case _:
                        custom = self._generic(value, f"{at}.generic_resources")
                        put("reservations.custom", f"{where}.generic_resources", custom)

    def _gpus(self, given: object, path: str) -> int:
        """`[{"capabilities": ["gpu"], "count": 2}]`"""
        count = 0
        for i, device in enumerate(_list(given, path)):
            at = f"{path}[{i}]"
            ignored = ("driver", "options", "device_ids")
            wanted = self._keys(device, at, ("capabilities", "count"), ignored)
            if "gpu" not in _list(wanted.get("capabilities", []), f"{at}.capabilities"):
                self._ignore(at, "only devices with the capability gpu are reserved here")
                continue
            if wanted.get("count", 1) == "all":
                hint = "say how many, or make it a global service on nodes of their own"
                raise InvalidCall(f"{at}.count", "all devices of a node cannot be reserved", hint)
            count += _whole(wanted.get("count", 1), f"{at}.count")
        return count

    def _generic(self, given: object, path: str) -> dict[str, int]:
        """`[{"discrete_resource_spec": {"kind": "ssd", "value": 2}}]`"""
        found: dict[str, int] = {}
        for i, one in enumerate(_list(given, path)):
            at = f"{path}[{i}]"
            spec = self._keys(one, at, ("discrete_resource_spec",)).get("discrete_resource_spec")
            at += ".discrete_resource_spec"
            wanted = self._keys(spec, at, ("kind", "value"))
            found[_text(wanted.get("kind"), f"{at}.kind")] = _whole(wanted.get("value"), f"{at}.value")
        return found

    def _placement(self, given: object, path: str, put: Callable[[str, str, Any], None]) -> None:
        known = ("constraints", "preferences", "max_replicas_per_node")
        for key, value in self._keys(given, path, known).items():
            at, where = f"{path}.{key}", f"deploy.placement.{key}"
            match key:
                case "constraints":
                    rules = [_text(rule, f"{at}[{i}]") for i, rule in enumerate(_list(value, at))]
                    put("placement.constraints", where, rules)
                case "preferences":
                    spreads = [
                        _text(self._keys(one, f"{at}[{i}]", ("spread",)).get("spread"), f"{at}[{i}].spread")
                        for i, one in enumerate(_list(value, at))
                    ]
                    put("placement.preferences", where, spreads)
                case _:
                    put("placement.max_replicas_per_node", where, _whole(value, at))

    def _update(self, which: str, given: object, path: str, put: Callable[[str, str, Any], None]) -> None:
        field = which.removesuffix("_config")
        for key, value in self._keys(given, path, _UPDATE).items():
            at, where = f"{path}.{key}", f"deploy.{which}.{key}"
            match key:
                case "delay" | "monitor":
                    put(f"{field}.{key}_s", where, _seconds(value, at))
                case "parallelism":
                    put(f"{field}.{key}", where, _whole(value, at))
                case "max_failure_ratio":
                    put(f"{field}.{key}", where, _number(value, at))
                case _:
                    put(f"{field}.{key}", where, _text(value, at))

    def _restart(self, given: object, path: str, put: Callable[[str, str, Any], None]) -> None:
        for key, value in self._keys(given, path, _RESTART).items():
            at, where = f"{path}.{key}", f"deploy.restart_policy.{key}"
            match key:
                case "delay" | "window":
                    put(f"restart.{key}_s", where, _seconds(value, at))
                case "max_attempts":
                    put("restart.max_attempts", where, _whole(value, at))
                case _:
                    put("restart.condition", where, _text(value, at))

    def _ports(self, given: object, path: str) -> Iterator[dict[str, Any]]:
        for i, port in enumerate(_list(given, path)):
            at = f"{path}[{i}]"
            if isinstance(port, Mapping):
                yield from self._long_port(port, at)
            elif isinstance(port, int | str) and not isinstance(port, bool):
                yield from self._short_port(str(port), at)
            else:
                raise InvalidCall(at, f"expected a port, got {_kind(port)}", 'write "8080:80"')

    def _short_port(self, text: str, path: str) -> Iterator[dict[str, Any]]:
        found = _PORT.fullmatch(text)
        if found is None:
            if _INSIDE.fullmatch(text):
                self._ignore(path, "a port that is not published needs no word")
                return
            raise InvalidCall(path, f"{text!r} is no port", 'write "8080:80" or "8080:80/udp", in quotes')
        if found["host"] is not None:
            self._ignore(f"{path}.host_ip", f"{text}: a port is published on all of a node's addresses")
        published, target = _range(found["published"], path), _range(found["target"], path)
        if len(published) != len(target):
            raise InvalidCall(path, f"{text!r}: the ranges are not of equal length", "publish one for one")
        for outside, inside in zip(published, target, strict=True):
            yield {"published": outside, "target": inside, "protocol": found["protocol"] or "tcp"}

    def _long_port(self, port: Mapping[Any, Any], path: str) -> Iterator[dict[str, Any]]:
        wanted = self._keys(
            port, path, ("target", "published", "protocol"), ("mode", "host_ip", "name", "app_protocol")
        )
        if "published" not in wanted:
            self._ignore(path, "a port that is not published needs no word")
            return
        made = {
            "published": _whole(wanted["published"], f"{path}.published"),
            "target": _whole(wanted.get("target", 0), f"{path}.target"),
        }
        yield made | ({"protocol": wanted["protocol"]} if "protocol" in wanted else {})

    def _depends_on(self, given: object, path: str) -> dict[str, str]:
        if not isinstance(given, Mapping):
            names = [_text(name, f"{path}[{i}]") for i, name in enumerate(_list(given, path))]
            return {self._other(name, path): "started" for name in names}
        found = {}
        for name, how in given.items():
            at = f"{path}.{name}"
            wanted = self._keys(how, at, ("condition",), ("restart", "required"))
            condition = wanted.get("condition", "service_started")
            if condition not in _CONDITIONS:
                near = difflib.get_close_matches(str(condition)[:100], _CONDITIONS, n=1)
                hint = f"did you mean {near[0]}?" if near else f"use {', '.join(_CONDITIONS)}"
                raise InvalidCall(f"{at}.condition", f"unknown condition {str(condition)[:100]}", hint)
            found[self._other(str(name), at)] = _CONDITIONS[condition]
        return found

    def _other(self, name: str, path: str) -> str:
        if name not in self._names:
            near = difflib.get_close_matches(name[:100], self._names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the services are {', '.join(self._names)}"
            raise InvalidCall(path, f"there is no service {name[:100]} in this stack", hint)
        return f"{self.stack}_{name}"


_WHY = {
    "version": "Compose needs no version any more",
    "name": "a stack is called as it is deployed",
    "build": "images are not built here; name one with image",
    "restart": "deploy.restart_policy says when replicas start again",
    "scale": "deploy.replicas says how many",
    "cpus": "deploy.resources.limits.cpus says how much",
    "mem_limit": "deploy.resources.limits.memory says how much",
    "gpus": "deploy.resources.reservations.devices reserves them",
    "platform": "x-raftyard has placement.platforms",
    "entrypoint": "command is all that is run",
    "env_file": "write the variables under environment",
    "mode": "a port is always one of the replica's own node",
    "pids": "processes are not counted",
}


def _spec(name: str, body: dict[str, Any], places: dict[str, str], path: str) -> ServiceSpec:
    try:
        return read_spec(body, name=name)
    except InvalidCall as error:
        raise InvalidCall(_place(error.path, places, path), error.message, error.hint) from None


def _place(found: str, places: dict[str, str], path: str) -> str:
    """The key of the document that a field of the spec came from; the longest that fits."""
    for field in sorted(places, key=len, reverse=True):
        if found == field or found.startswith((f"{field}.", f"{field}[")):
            return places[field] + found.removeprefix(field)
    return path + found.removeprefix("$")


def _merge(body: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        known = body.get(key)
        if isinstance(value, Mapping) and isinstance(known, dict):
            _merge(known, value)
        else:
            body[key] = value


# values as Compose writes them


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value[:40]!r}"
        case list() | tuple():
            return "a list"
        case _:
            return "an object"


def _text(value: object, path: str) -> str:
    if isinstance(value, str):
        return value
    raise InvalidCall(path, f"expected a text, got {_kind(value)}", "write it in quotes")


def _list(value: object, path: str) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    raise InvalidCall(
        path, f"expected a list, got {_kind(value)}", "write one item a line, each after a dash"
    )


def _whole(value: object, path: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    # Variables that were put in are texts.
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    raise InvalidCall(path, f"expected a whole number, got {_kind(value)}", "for example 3")


def _number(value: object, path: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) <= _LONGEST and re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
        return float(value)
    raise InvalidCall(path, f"expected a number, got {_kind(value)}", "for example 0.5")


def _milli(value: object, path: str) -> int:
    """`"0.5"`: cores."""
    return round(_number(value, path) * 1_000)


def _mib(value: object, path: str) -> int:
    """`512M`, `1.5g`, or bytes; whole MiB, rounded up."""
    text = str(value).strip() if isinstance(value, int | str) and value is not True else ""
    found = _BYTES.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        raise InvalidCall(path, f"{_kind(value)} is no size", "write for example 512M or 2g")
    bytes = float(found[1]) * 1024 ** _POWERS[(found[2] or "b")[0].lower()]
    return int(-(-bytes // _MIB))


def _seconds(value: object, path: str) -> float:
    """`1m30s`, `500ms`."""
    if isinstance(value, str) and len(value) <= _LONGEST:
        parts = _DURATION.findall(value)
        if parts and "".join(number + unit for number, unit in parts) == value:
            return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if value == 0 and not isinstance(value, bool):
        return 0.0
    hint = f"say the unit: {value}s" if isinstance(value, int | float) else "write for example 10s or 1m30s"
    raise InvalidCall(path, f"{_kind(value)} is no duration", hint)


def _command(value: object, path: str) -> list[str]:
    """A list, or one text that is taken apart as a shell would."""
    if value is None:
        return []
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise InvalidCall(path, f"the command cannot be read: {error}", "write it as a list") from None
    return [_text(word, f"{path}[{i}]") for i, word in enumerate(_list(value, path))]


def _pairs(value: object, path: str, example: str) -> dict[str, str]:
    """`KEY: value` pairs, or a list of `KEY=value`."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{path}.{key}") for key, item in value.items()}
    found = {}
    for i, item in enumerate(_list(value, path)):
        key, equals, text = _text(item, f"{path}[{i}]").partition("=")
        if not key:
            raise InvalidCall(f"{path}[{i}]", "the name is missing", f"write {example}")
        found[key] = text if equals else ""
    return found


def _plain(value: object, path: str) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float() | str():
            return str(value)
    raise InvalidCall(path, f"expected a text, got {_kind(value)}", "write one value in quotes")


def _range(text: str, path: str) -> range:
    first, _, last = text.partition("-")
    if max(len(first), len(last)) > 5:
        raise InvalidCall(path, f"{text[:40]!r} is no port", "use 1 to 65535")
    low, high = int(first), int(last or first)
    if high < low:
        raise InvalidCall(path, f"the range {text} ends before it begins", f"write {high}-{low}")
    if high - low >= _MOST_PORTS:
        raise InvalidCall(path, f"{text} are {high - low + 1} ports", f"publish at most {_MOST_PORTS} in a range")
    return range(low, high + 1)
