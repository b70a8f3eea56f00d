"""The nodes of a cluster as agreed on, with what each has taken: one row a node, by order of joining."""

from __future__ import annotations

import msgspec
import numpy as np

from .records import NodeRecord
from .runs import Ints


class NodeTable:
    """Records by number and, beside them, columns that plans compute with. Numbers are never used again."""

    def __init__(self, records: tuple[NodeRecord, ...] = (), versions: Ints | None = None) -> None:
        self.records = list(records)
        self._numbers: dict[str, int] = {}
        self._addresses: dict[tuple[str, int | None], int] = {}
        for record in records:
            if record.status != "removed":
                self._name(record)
        self.capacity = np.array([record.capacity for record in records], dtype=np.int64)
        self.used = np.zeros(len(records), dtype=np.int64)
        self.ready = np.array([record.status == "ready" for record in records], dtype=bool)
        self.versions = np.zeros(len(records), dtype=np.int64) if versions is None else versions

    def _name(self, record: NodeRecord) -> None:
        self._numbers[record.name] = record.number
        if record.port is not None:
            self._addresses[record.host, record.port] = record.number

    def number(self, name: str) -> int | None:
        return self._numbers.get(name)

    def find(self, name: str) -> NodeRecord | None:
        number = self._numbers.get(name)
        return None if number is None else self.records[number]

    def present(self) -> tuple[NodeRecord, ...]:
        """Nodes that have not been removed, in order of joining."""
        return tuple(self.records[number] for number in self._numbers.values())

    def at(self, host: str, port: int | None) -> NodeRecord | None:
        """The node at this address; a node without a port has none."""
        number = self._addresses.get((host, port))
        return None if number is None else self.records[number]

    def names(self, numbers: list[int]) -> tuple[str, ...]:
        return tuple(self.records[number].name for number in numbers)

    def add(self, record: NodeRecord, index: int) -> None:
        self.records.append(record)
        self._name(record)
        self.capacity = np.append(self.capacity, record.capacity)
        self.used = np.append(self.used, 0)
        self.ready = np.append(self.ready, True)
        self.versions = np.append(self.versions, index)

    def remove(self, number: int) -> None:
        """Keep the name, for what calls remember, and nothing else."""
        record = self.records[number]
        del self._numbers[record.name]
        self._addresses.pop((record.host, record.port), None)
        self.records[number] = msgspec.structs.replace(record, status="removed")
        self.capacity[number] = self.used[number] = 0
        self.ready[number] = False

    def move(self, addresses: dict[str, tuple[str, int | None]]) -> None:
        """Give nodes other addresses, all at once: they may trade theirs."""
        for name, (host, port) in addresses.items():
            number = self._numbers[name]
            self.records[number] = msgspec.structs.replace(self.records[number], host=host, port=port)
        present = self.present()
        self._addresses = {
            (record.host, record.port): record.number for record in present if record.port is not None
        }

    def set_ready(self, number: int, ready: bool) -> None:
        self.records[number] = msgspec.structs.replace(
            self.records[number], status="ready" if ready else "down"
        )
        self.ready[number] = ready

    def set_incarnation(self, number: int, incarnation: int) -> None:
        self.records[number] = msgspec.structs.replace(self.records[number], incarnation=incarnation)

    def free(self) -> Ints:
        """Free slots by node number; nothing is free on a node that is not ready."""
        return np.where(self.ready, self.capacity - self.used, 0)
