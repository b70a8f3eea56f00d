"""Rebalancing over REST: a plan that evens out the load, its moves under way, and an end to them."""

from __future__ import annotations

from typing import Any, ClassVar

import falcon
from falcon import Request, Response

from .answers import answer
from .body import REBALANCE
from .ports import Clusters
from .shapes import Done, RebalanceOrder, RebalancePlan, RebalanceView


class RebalanceResource:
    """/clusters/{cluster}/rebalance"""

    takes: ClassVar[dict[str, Any]] = {"POST": REBALANCE}
    gives: ClassVar[dict[str, Any]] = {"GET": RebalanceView, "POST": RebalancePlan, "DELETE": Done}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str) -> None:
        """How far the last rebalance has come, move by move."""
        answer(resp, self._clusters.last_rebalance(cluster))

    def on_post(self, req: Request, resp: Response, cluster: str) -> None:
        """Which replicas should move, at most {"max_moves": 10}; with {"dry_run": false} they do, 202."""
        order = REBALANCE.read_if_any(req, RebalanceOrder())
        made = self._clusters.rebalance(cluster, order)
        has_begun = made.get("log_index") is not None
        where = f"/clusters/{cluster}/rebalance" if has_begun else None
        answer(resp, made, falcon.HTTP_202 if has_begun else falcon.HTTP_200, where)

    def on_delete(self, req: Request, resp: Response, cluster: str) -> None:
        """No more moves begin; those under way arrive."""
        answer(resp, self._clusters.stop_rebalance(cluster))
