"""Rebalance plans, made by the leader a slice at a time: a search over a large cluster must not hold its node up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

import msgspec

from ..messages import NodeAnswer, PlanRebalance
from ..scheduling.evening import EvenPlan, even_slices
from ..state.commands import RebalanceMove
from ..state.machine import ClusterState
from ..state.moves import Rebalance

__all__ = ["Planning", "rebalance_view"]

SLICES_AT_ONCE = 4
MOST_WAITING = 16
"""Plans that wait for their turn; the next is refused."""

Address = Callable[[str | None], str | None]
Send = Callable[[str, Any], object]


class Planning:
    """The plans that were asked of one node and are not finished, one after the other."""

    def __init__(self, node: str, send: Send) -> None:
        self._node = node
        self._send = send
        self._waiting: deque[tuple[PlanRebalance, ClusterState, Address]] = deque()
        self._slices: Generator[None, None, EvenPlan] | None = None

    def begin(self, request: PlanRebalance, state: ClusterState, address: Address) -> bool:
        """Whether `go_on` has to be called from now on."""
        if len(self._waiting) >= MOST_WAITING:
            self._answer(request, error=f"{MOST_WAITING} rebalance plans wait already")
            return False
        self._waiting.append((request, state, address))
        return len(self._waiting) == 1

    def go_on(self) -> bool:
        """A slice; whether there is more to do."""
        request, state, address = self._waiting[0]
        if self._slices is None:
            self._slices = even_slices(state, request.max_moves)
        try:
            for _ in range(SLICES_AT_ONCE):
                next(self._slices)
        except StopIteration as end:
            self._slices = None
            self._waiting.popleft()
            self._answer(request, value=_plan_view(end.value, state, address))
        return bool(self._waiting)

    def _answer(self, request: PlanRebalance, value: Any = None, error: str | None = None) -> None:
        self._send(request.reply_to, NodeAnswer(ref=request.ref, node=self._node, value=value, error=error))


def _plan_view(plan: EvenPlan, state: ClusterState, address: Address) -> dict[str, Any]:
    """`moves` as users read them; `plan` is what `StartRebalance` takes of it."""
    return {
        "made_at": plan.made_at,
        "cost_before": plan.cost_before,
        "cost_after": plan.cost_after,
        "moves": [_move_view(move, state, address) for move in plan.moves],
        "plan": msgspec.to_builtins(plan.moves),
    }


def _move_view(move: RebalanceMove, state: ClusterState, address: Address) -> dict[str, Any]:
    names = state.node_table().names([move.source, move.target])
    return {
        "service": move.service,
        "slot": move.slot,
        "task": move.task,
        "from": address(names[0]),
        "to": address(names[1]),
    }


def rebalance_view(state: ClusterState, address: Address) -> dict[str, Any]:
    """How far the last rebalance has come; state "none" where there was none yet."""
    known: Rebalance | None = state.rebalance()
    if known is None:
        return {"state": "none", "moves": []}
    return {
        "state": "running" if known.is_under_way else "ended",
        "log_index": known.index,
        "made_at": known.made_at,
        "max_parallel": known.max_parallel,
        "cost_before": known.cost_before,
        "cost_after": known.cost_after,
        **{state: known.count(state) for state in ("waiting", "moving", "moved", "dropped")},
        "moves": [
            _move_view(move.what, state, address)
            | {"state": move.state}
            | ({"reason": move.reason} if move.reason else {})
            for move in known.moves
        ],
    }
