"""Plans: what would happen if; nothing is changed."""

from __future__ import annotations

from typing import Any, ClassVar

from falcon import Request, Response

from .answers import answer
from .body import PLAN
from .environ import room_to_wait
from .ports import Clusters
from .shapes import PlanView


class PlanResource:
    """/clusters/{cluster}/plan"""

    takes: ClassVar[dict[str, Any]] = {"POST": PLAN}
    gives: ClassVar[dict[str, Any]] = {"POST": PlanView}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_post(self, req: Request, resp: Response, cluster: str) -> None:
        """What a service, a service call, a drain or the loss of nodes would start, stop, move and leave waiting."""
        body = PLAN.read(req)
        with room_to_wait(req.env):
            answer(resp, self._clusters.plan(cluster, body))
