"""The services of a cluster: what is desired of each, and how many of its replicas are placed and lost."""

from __future__ import annotations

import msgspec

from .records import ServiceRecord


class Service(msgspec.Struct, kw_only=True, array_like=True):
    """A service; `placed` and `lost` count its tasks that should run, on ready nodes and on those down."""

    number: int
    name: str
    replicas: int = 0
    size: int = 1
    description: str = ""
    version: int = 0
    placed: int = 0
    lost: int = 0
    updated_index: int = 0

    @property
    def is_settled(self) -> bool:
        """Exactly what is desired is placed, and nothing is left on nodes that are down."""
        return self.placed == self.replicas and not self.lost

    @property
    def pending(self) -> int:
        return max(0, self.replicas - self.placed)

    def record(self) -> ServiceRecord:
        return ServiceRecord(
            number=self.number,
            name=self.name,
            replicas=self.replicas,
            slots_per_replica=self.size,
            description=self.description,
            version=self.version,
            placed=self.placed,
            lost=self.lost,
            updated_index=self.updated_index,
        )


class ServiceTable:
    """Services by name and by number, in order of creation, with a list of those that are not settled."""

    def __init__(self, services: tuple[Service, ...] = ()) -> None:
        self.all = list(services)
        self._by_name = {service.name: service for service in services}
        self._unsettled: dict[int, None] = {}
        for service in services:
            self.settle(service)

    def find(self, name: str) -> Service | None:
        return self._by_name.get(name)

    def add(self, name: str) -> Service:
        service = Service(number=len(self.all), name=name)
        self.all.append(service)
        self._by_name[name] = service
        return service

    def settle(self, service: Service) -> None:
        """To be called after each change of a service's numbers."""
        if service.is_settled:
            self._unsettled.pop(service.number, None)
        else:
            self._unsettled[service.number] = None

    def unsettled(self) -> tuple[Service, ...]:
        return tuple(self.all[number] for number in sorted(self._unsettled))
