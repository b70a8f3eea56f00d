"""FailedCluster: stands where a cluster's front door would, when the cluster's files keep it from starting.

It says why to whoever asks, so that a cluster which cannot start hinders nobody, and is seen, and can be removed.
"""

from __future__ import annotations

from typing import Any

from .errors import Unavailable
from .frontdoor import Home
from .messages import DescribeCluster
from .system import Actor, Promise

__all__ = ["FailedCluster", "what_to_do"]


def what_to_do(cluster: str) -> str:
    """About a cluster that cannot start."""
    return f"mend that and start the program again, or DELETE /clusters/{cluster}"


class FailedCluster(Actor):
    """Answers for a cluster that could not be started."""

    def __init__(self, home: Home) -> None:
        super().__init__()
        self._home = home

    def on_receive(self, message: Any) -> Any:
        """What the cluster looks like, or why nothing else can be had of it."""
        cluster, parent, reason = self._home.spec.cluster, self._home.spec.parent, self._home.failure
        if isinstance(message, DescribeCluster):
            return {
                "id": cluster,
                "nodes": [],
                "connections": {},
                "services": [],
                "leader": None,
                "leader_claims": [],
                "node_count": 0,
                "state": "FAILED",
                "reason": reason,
                "hint": what_to_do(cluster),
                **({} if parent is None else {"parent": {"cluster": parent.cluster, "service": parent.service}}),
            }
        promise = Promise()
        promise.fail(Unavailable(f"cluster {cluster} could not be started: {reason}", hint=what_to_do(cluster)))
        return promise
