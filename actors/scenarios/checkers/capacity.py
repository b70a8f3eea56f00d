"""No node is given more than it has room for."""

from __future__ import annotations

from ...node import Node
from ..histories import History
from ..inside import Inside
from .base import Checker

__all__ = ["CapacityNeverExceeded"]


class CapacityNeverExceeded(Checker):
    """In every state that any node agrees to."""

    name = "capacity-never-exceeded"
    promise = "no node is given more slots than its capacity"

    def __init__(self, inside: Inside, history: History) -> None:
        super().__init__(inside, history)
        self._checked = 0

    def looked(self, node: Node) -> None:
        if node.applied <= self._checked:
            return
        self._checked = node.applied
        for record in node.state.nodes():
            load = node.state.load_of(record.name)
            self.demand(
                load <= record.capacity, f"{record.name} has {record.capacity} slots and is given {load}"
            )
