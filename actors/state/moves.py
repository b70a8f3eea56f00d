"""The moves of a rebalance as they stand in the state: what goes where, and how far it has come (`rebalancing.py`)."""

from __future__ import annotations

from typing import Literal

import msgspec

from .commands import RebalanceMove

MOST_MOVES = 1_000
MOST_PARALLEL = 100

MoveState = Literal["waiting", "moving", "moved", "dropped"]


class Move(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One move. `new_task` takes the place of `what.task`; a reason is told where the move was dropped."""

    what: RebalanceMove
    state: MoveState = "waiting"
    new_task: int = 0
    reason: str = ""

    def dropped(self, reason: str) -> Move:
        """The same, given up."""
        return msgspec.structs.replace(self, state="dropped", reason=reason)


class Rebalance(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The last rebalance that was begun. Costs are in percent of an average node (scheduling/evening.py).

    index: its entry in the log. made_at: the index at which the moves were chosen. ended_at: an index too, 0 while it
    goes on.
    """

    index: int
    made_at: int
    max_parallel: int
    cost_before: float
    cost_after: float
    moves: tuple[Move, ...]
    ended_at: int = 0

    @property
    def is_under_way(self) -> bool:
        return not self.ended_at

    def count(self, state: MoveState) -> int:
        """How many of the moves are so."""
        return sum(move.state == state for move in self.moves)
