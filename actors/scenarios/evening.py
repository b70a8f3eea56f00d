"""The verb `rebalance`: running replicas move until the nodes are evenly loaded."""

from __future__ import annotations

from typing import Any

from ..messages import DescribeRebalance, RebalanceRequest, cluster_actor
from ..system import ActorError
from .quantities import ns_of
from .stage import Stage, StepFailed

__all__ = ["EveningVerbs"]

LOOK_S = 0.1


class EveningVerbs(Stage):
    """Evening out the load of a running cluster."""

    def rebalance(
        self,
        max_moves: int = 100,
        *,
        max_parallel: int = 1,
        dry_run: bool = False,
        within: str | float | None = None,
    ) -> dict[str, Any]:
        """Begin to move at most so many replicas, and answer with the plan: moves, cost before and after. With `within`
        wait until the last has arrived, and answer how each went; else StepFailed."""
        order = RebalanceRequest(max_moves=max_moves, max_parallel=max_parallel, dry_run=dry_run)
        plan: dict[str, Any] = self.ask(order, "rebalance")
        if dry_run or within is None or plan["state"] == "even":
            return plan
        end_ns = self.now_ns + ns_of(within)
        while (shown := self._last_rebalance(end_ns)) is None or shown["state"] == "running":
            if self.now_ns >= end_ns:
                moved = "nobody says how many" if shown is None else f"{shown['moved']}"
                message = f"not done within {ns_of(within) / 1e9:g} s: {moved} of {len(plan['moves'])} moved"
                raise StepFailed(f"rebalance: {message}")
            self.wait(LOOK_S)
        return shown

    def _last_rebalance(self, until_ns: int) -> dict[str, Any] | None:
        """How far it is; None where nobody can say at the moment."""
        try:
            promise = self.system.ask_later(cluster_actor(self.cluster), DescribeRebalance())
        except ActorError:
            return None
        if not self.pass_until(until_ns, lambda: promise.kept) or promise.error is not None:
            return None
        shown: dict[str, Any] = promise.value
        return shown
