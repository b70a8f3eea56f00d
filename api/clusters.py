"""Clusters: list, show, make, replace and remove them."""

from __future__ import annotations

from typing import Any, ClassVar

import falcon
from falcon import Request, Response

from .answers import answer
from .body import NEW_CLUSTER, invalid
from .ports import Clusters, View
from .query import PAGE, page
from .shapes import ClusterList, ClusterView, Done


class ClusterListResource:
    """/clusters"""

    takes: ClassVar[dict[str, Any]] = {"POST": NEW_CLUSTER}
    gives: ClassVar[dict[str, Any]] = {"GET": ClusterList, "POST": ClusterView}
    asks: ClassVar = {"GET": PAGE}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response) -> None:
        """Every cluster."""
        results = self._clusters.clusters()
        offset, limit = page(req)
        answer(resp, {"metadata": {"count": len(results)}, "results": results[offset : offset + limit]})

    def on_post(self, req: Request, resp: Response) -> None:
        """Make a cluster."""
        made = self._clusters.create_cluster(NEW_CLUSTER.read(req))
        answer(resp, made, falcon.HTTP_201, location=f"/clusters/{made['id']}")


class ClusterResource:
    """/clusters/{cluster}"""

    takes: ClassVar[dict[str, Any]] = {"PUT": NEW_CLUSTER}
    gives: ClassVar[dict[str, Any]] = {"GET": ClusterView, "PUT": ClusterView, "DELETE": Done}
    asks: ClassVar = {"GET": PAGE}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str) -> None:
        """Its nodes, links and service calls."""
        answer(resp, self._clusters.cluster(cluster, "stats", page(req)))

    def on_put(self, req: Request, resp: Response, cluster: str) -> None:
        """A new cluster in the old one's place."""
        wanted = NEW_CLUSTER.read(req)
        if wanted.id not in (None, cluster):
            raise invalid(
                "$.id", f"the path says cluster {cluster}, the body {wanted.id}", "leave the id out"
            )
        answer(resp, self._clusters.replace_cluster(cluster, wanted))

    def on_delete(self, req: Request, resp: Response, cluster: str) -> None:
        """Stop its nodes and forget it."""
        answer(resp, self._clusters.delete_cluster(cluster))


class ClusterViewResource:
    """/clusters/{cluster}/stats and /clusters/{cluster}/state"""

    takes: ClassVar[dict[str, Any]] = {}
    gives: ClassVar[dict[str, Any]] = {"GET": ClusterView}
    asks: ClassVar = {"GET": PAGE}

    def __init__(self, clusters: Clusters, view: View) -> None:
        self._clusters = clusters
        self._view = view

    def on_get(self, req: Request, resp: Response, cluster: str) -> None:
        """The cluster; `state` adds the last service call and how its load is spread."""
        answer(resp, self._clusters.cluster(cluster, self._view, page(req)))
