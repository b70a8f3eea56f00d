"""What commands do to services: they are made, changed, scaled and removed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from . import commands as c, nested, updates
from .changes import Change
from .depending import find_circle, in_words
from .outcomes import refused
from .records import Outcome
from .replicas import Replicas
from .services import Service
from .specs import ServiceSpec, is_same_template


def put_service(replicas: Replicas, change: Change, command: c.PutService) -> Outcome:
    """Make a service, or give it another spec."""
    refusal = refusal_of(replicas, command)
    if refusal is not None:
        return refusal
    service = replicas.services.find(command.name)
    is_scaled = command.scales and service is not None and _is_scaled(service, command.spec)
    if service is not None and service.version and service.spec == command.spec and not is_scaled:
        updates.go_on(service, change, replicas.clock_ms)
        replicas.services.settle(service)
        return Outcome(duplicate=True, version=service.version)
    service = service or replicas.services.add(command.name)
    service.keeps_on_nodes = command.keeps_on_nodes
    set_spec(replicas, change, service, command.spec, scales=command.scales)
    return Outcome(services=True, version=service.version)


def refusal_of(replicas: Replicas, command: c.PutService) -> Outcome | None:
    """Why a service cannot be put so; None where it can."""
    service = replicas.services.find(command.name)
    stale = _stale_version(command.name, service, command.version)
    if stale is not None:
        return stale
    if service is not None and service.spec.mode != command.spec.mode:
        return refused("mode", cannot_become(command.name, service.spec.mode, command.spec.mode))
    if service is not None and service.version and (service.spec.cluster is None) != (command.spec.cluster is None):
        what, other = ("no cluster", "one") if service.spec.cluster is None else ("a cluster", "another service")
        reason = f"{command.name} is {what} and cannot become {other}"
        return refused("kind", f"{reason}; remove it first, or choose another name")
    return refusal_of_circle(replicas, {command.name: command.spec}) if command.no_circles else None


def refusal_of_circle(
    replicas: Replicas, specs: Mapping[str, ServiceSpec], leaving: Collection[str] = ()
) -> Outcome | None:
    """Why services cannot wait for what they newly say: that waits for them already. `leaving` are removed with it."""

    def waits_for(name: str) -> Iterable[str]:
        if name in specs:
            return specs[name].depends_on
        other = replicas.services.find(name)
        return () if other is None or name in leaving else other.spec.depends_on

    for name, spec in specs.items():
        service = replicas.services.find(name)
        if service is not None and service.spec.depends_on == spec.depends_on:
            continue
        circle = find_circle(name, waits_for)
        if circle:
            return refused("circle", in_words(circle))
    return None


def cannot_become(name: str, mode: str, other: str) -> str:
    """Why a service keeps its mode, and what to do."""
    return f"{name} is {mode} and cannot become {other}; remove it first, or choose another name"


def roll_back_service(replicas: Replicas, change: Change, command: c.RollBackService) -> Outcome:
    """Give a service an earlier spec again."""
    service = replicas.services.find(command.name)
    if service is None:
        return refused("unknown-service", f"there is no service {command.name}")
    stale = _stale_version(command.name, service, command.version)
    if stale is not None:
        return stale
    if command.to_version is None:
        if service.previous is None:
            return refused("no-earlier", f"{command.name} has no spec from before an update")
    else:
        spec = dict(service.earlier).get(command.to_version)
        if spec is None:
            kept = ", ".join(str(version) for version, _ in service.earlier) or "none"
            return refused(
                "no-earlier", f"{command.name} has no spec of version {command.to_version}; there is {kept}"
            )
        if command.spares_same and (spec.is_cron or is_same_template(service.spec, spec)):
            set_spec(replicas, change, service, spec)
            return Outcome(services=True, version=service.version)
        known = service.previous
        is_known = known is not None and is_same_template(known[1], spec)
        # A number that no task has: whatever runs of that version is replaced, as by any update.
        service.previous = (known[0] if known is not None and is_known else service.version + 1, spec)
    before = service.spec.simulate
    updates.roll_back(service, change, replicas.clock_ms)
    replicas.tell_load(change, service, before)
    _after(replicas, change, service)
    return Outcome(services=True, version=service.version)


def remove_service(replicas: Replicas, change: Change, command: c.RemoveService) -> Outcome:
    """Stop all of a service and forget it."""
    service = replicas.services.find(command.name)
    if service is None:
        return refused("unknown-service", f"there is no service {command.name}")
    stale = _stale_version(command.name, service, command.version)
    if stale is not None:
        return stale
    stopped = replicas.remove_service(change, service)
    for other in replicas.services.of_stack(service.stack) if service.stack else ():
        other.stack_index = change.index
    change.emit("service-removed", service=command.name, replicas=stopped)
    return Outcome(services=True, version=service.version)


def set_by_call(replicas: Replicas, change: Change, request: c.ServiceRequest) -> None:
    """What a service call says of one service: how many replicas, of which size. What else its spec says stays, and
    running replicas do too."""
    service = replicas.services.find(request.name) or replicas.services.add(request.name)
    if service.spec.is_global or nested.fault_of_request(service, request):
        return
    spec = nested.as_asked(service.spec, request)
    if spec != service.spec or not service.version or _is_scaled(service, spec):
        # A service call knows of nothing to wait for; what the spec says of that stays, too.
        service.has_begun |= not (request.keeps_unsaid and spec.depends_on)
        set_spec(replicas, change, service, spec, keeps_template=True, scales=True)


def _is_scaled(service: Service, spec: ServiceSpec) -> bool:
    """Whether a service that is autoscaled has another number than its user means, although the spec is the same."""
    return spec.autoscale is not None and service.replicas != spec.autoscale.within(spec.replicas)


def set_spec(
    replicas: Replicas,
    change: Change,
    service: Service,
    spec: ServiceSpec,
    *,
    keeps_template: bool = False,
    scales: bool = False,
) -> None:
    """The service's next version."""
    before = service.spec.simulate
    if keeps_template:
        service.become(spec, change.index, keeps_template=True, scales=scales)
    elif updates.become(service, spec, change.index, scales=scales):
        updates.begin(service, change, "updating", replicas.clock_ms)
    else:
        updates.go_on(service, change, replicas.clock_ms)
    replicas.tell_load(change, service, before)
    _after(replicas, change, service)


def _after(replicas: Replicas, change: Change, service: Service) -> None:
    replicas.suspect((service.number,))
    replicas.services.settle(service)
    # A global service says how many replicas it has when its nodes have been counted, a cron service when it runs.
    wanted = service.spec.replicas if service.spec.autoscale is None else service.replicas
    change.emit("service-set", service=service.name, replicas=wanted, version=service.version)


def _stale_version(name: str, service: Service | None, wanted: int | None) -> Outcome | None:
    if wanted is None:
        return None
    present = 0 if service is None else service.version
    if wanted == present:
        return None
    if service is None:
        return refused("stale-version", f"there is no service {name}, so it has no version {wanted}")
    hint = "it exists already" if wanted == 0 else "read it again before you change it"
    return refused("stale-version", f"{name} is at version {present}, not {wanted}; {hint}")
