"""What one command touches, gathered while it is applied."""

from __future__ import annotations

from .records import StateEvent


class Change:
    """`nodes` are the numbers of those whose assignments changed; a dict keeps them in a fixed order."""

    __slots__ = ("events", "index", "nodes")

    def __init__(self, index: int) -> None:
        self.index = index
        self.nodes: dict[int, None] = {}
        self.events: list[StateEvent] = []

    def touch(self, nodes: list[int]) -> None:
        self.nodes.update(dict.fromkeys(nodes))

    def emit(self, kind: str, **data: object) -> None:
        self.events.append(StateEvent(kind=kind, data=data))

    def emit_runs(self, kind: str, runs: bytes, **data: object) -> None:
        """With its runs, as `StateEvent` has them."""
        self.events.append(StateEvent(kind=kind, data=data, runs=runs))
