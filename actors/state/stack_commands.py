"""What commands do to stacks: services that are made, changed and removed together, or not at all."""

from __future__ import annotations

from . import commands as c, service_commands
from .changes import Change
from .outcomes import refused
from .records import Outcome
from .replicas import Replicas
from .services import Service


def put_stack(replicas: Replicas, change: Change, command: c.PutStack) -> Outcome:
    """Make a stack's services, or give them other specs; those that are left out are removed."""
    before = replicas.services.of_stack(command.name)
    refusal = _refusal(replicas, before, command)
    if refusal is not None:
        return refusal
    named = [name for name, _ in command.services]
    is_changed = False
    for name, spec in command.services:
        put = c.PutService(name=name, spec=spec, keeps_on_nodes=command.keeps_on_nodes)
        outcome = service_commands.put_service(replicas, change, put)
        assert outcome.ok, "a service was refused that had been looked at"
        is_changed |= not outcome.duplicate
        service = replicas.services.find(name)
        assert service is not None
        service.stack = command.name
    for service in before:
        if service.name not in named:
            service_commands.remove_service(replicas, change, c.RemoveService(name=service.name))
            is_changed = True
    version = _version(replicas.services.of_stack(command.name))
    if not is_changed:
        return Outcome(duplicate=True, version=version)
    change.emit("stack-set", stack=command.name, services=tuple(named), version=version)
    return Outcome(services=True, version=version)


def remove_stack(replicas: Replicas, change: Change, command: c.RemoveStack) -> Outcome:
    """Stop all of a stack and forget it."""
    services = replicas.services.of_stack(command.name)
    if not services:
        return refused("unknown-stack", f"there is no stack {command.name}")
    stale = _stale_version(command.name, services, command.version)
    if stale is not None:
        return stale
    for service in services:
        service_commands.remove_service(replicas, change, c.RemoveService(name=service.name))
    change.emit("stack-removed", stack=command.name, services=tuple([service.name for service in services]))
    return Outcome(services=True, version=_version(services))


def _refusal(replicas: Replicas, before: tuple[Service, ...], command: c.PutStack) -> Outcome | None:
    """Why the stack as a whole is not taken; looked for before anything is changed."""
    names = [name for name, _ in command.services]
    if not names or len(dict.fromkeys(names)) < len(names):
        return refused("invalid", f"{command.name}: a stack has at least one service, and each once")
    stale = _stale_version(command.name, before, command.version)
    if stale is not None:
        return stale
    for name, spec in command.services:
        service = replicas.services.find(name)
        if service is not None and service.stack != command.name:
            whose = f"of stack {service.stack}" if service.stack else "a service by itself"
            return refused("taken", f"{name} is {whose}; remove it first, or give the stack another name")
        refusal = service_commands.refusal_of(replicas, c.PutService(name=name, spec=spec))
        if refusal is not None:
            return refusal
    if not command.no_circles:
        return None
    leaving = {service.name for service in before}.difference(names)
    return service_commands.refusal_of_circle(replicas, dict(command.services), leaving)


def _stale_version(name: str, services: tuple[Service, ...], wanted: int | None) -> Outcome | None:
    present = _version(services)
    if wanted is None or wanted == present:
        return None
    if not present:
        return refused("stale-version", f"there is no stack {name}, so it has no version {wanted}")
    hint = "it exists already" if wanted == 0 else "read it again before you change it"
    return refused("stale-version", f"stack {name} is at version {present}, not {wanted}; {hint}")


def _version(services: tuple[Service, ...]) -> int:
    return max([max(service.updated_index, service.stack_index) for service in services], default=0)
