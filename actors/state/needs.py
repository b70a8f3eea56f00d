"""What replicas take from a node, resource by resource, written down once for all tasks that take the same.

A resource is a name and whole units. `slots` is the first and always there. A task has only the number of its needs
(`tasks.py`), so that further resources cost nothing where nobody asks for them.
"""

from __future__ import annotations

import msgspec

from .specs import HostPort, ServiceSpec

SLOTS = "slots"
UNLIMITED = 1 << 62
"""More than anybody takes; far enough below 2**63 to add to."""
PORT = "port/"
_FREE_WHERE_UNSET = ("cpu_milli", "memory_mib")


class Needs(msgspec.Struct, frozen=True, array_like=True):
    """`slots`, and (resource, units) of whatever else is taken, by name.

    gpus: devices that are not chosen yet (`gpus.py`), `gpu_milli` of each, of one of these models where any is named.
    """

    slots: int = 1
    more: tuple[tuple[str, int], ...] = ()
    gpus: int = 0
    gpu_milli: int = 0
    gpu_models: tuple[str, ...] = ()


def needs_of(spec: ServiceSpec) -> Needs:
    """What one replica of this spec takes; a published port is a resource of which each node has one."""
    kept = spec.reservations
    more = {"cpu_milli": kept.cpu_milli, "memory_mib": kept.memory_mib, **kept.custom}
    more |= {port_resource(port): 1 for port in spec.ports}
    resources = tuple(sorted((name, units) for name, units in more.items() if units))
    if not kept.gpus:
        return Needs(kept.slots, resources)
    return Needs(kept.slots, resources, kept.gpus, kept.gpu_milli, kept.gpu_models)


def port_resource(port: HostPort) -> str:
    """`port/tcp/8080`"""
    return f"{PORT}{port.protocol}/{port.published}"


def where_unset(resource: str) -> int:
    """What a node has of a resource that nobody said anything about.

    Processor and memory are not watched then. Devices and custom resources have to be declared, or a replica that
    needs one would land where there is none.
    """
    if resource in _FREE_WHERE_UNSET:
        return UNLIMITED
    return 1 if resource.startswith(PORT) else 0


class NeedsTable:
    """Every combination that a task ever had, by number."""

    def __init__(self, known: tuple[Needs, ...] = ()) -> None:
        self.all: list[Needs] = list(known)
        self._numbers = {needs: number for number, needs in enumerate(known)}

    def number(self, needs: Needs) -> int:
        """Its number, a new one for a new combination."""
        if needs not in self._numbers:
            self._numbers[needs] = len(self.all)
            self.all.append(needs)
        return self._numbers[needs]
