"""Connections: which links between nodes are up (1) and which are cut (0)."""

from __future__ import annotations

from typing import Any, ClassVar

from falcon import Request, Response

from .addresses import canonical_address
from .answers import answer
from .body import MATRIX, ROW
from .ports import Clusters
from .shapes import Matrix, Row


class ConnectionsResource:
    """/clusters/{cluster}/connections"""

    takes: ClassVar[dict[str, Any]] = {"PUT": MATRIX}
    gives: ClassVar[dict[str, Any]] = {"GET": Matrix, "PUT": Matrix}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str) -> None:
        """The matrix `{from: {to: 0 or 1}}`."""
        answer(resp, self._clusters.connections(cluster))

    def on_put(self, req: Request, resp: Response, cluster: str) -> None:
        """Set what the body names, and nothing else."""
        answer(resp, self._clusters.set_connections(cluster, MATRIX.read(req)))


class NodeConnectionsResource:
    """/connections on a node's port, and /clusters/{cluster}/nodes/{node}/connections"""

    takes: ClassVar[dict[str, Any]] = {"POST": ROW}
    gives: ClassVar[dict[str, Any]] = {"GET": Row, "POST": Row}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str, node: str) -> None:
        """The node's outgoing row."""
        answer(resp, self._clusters.node_connections(cluster, canonical_address(node)))

    def on_post(self, req: Request, resp: Response, cluster: str, node: str) -> None:
        """Cut (0) and restore (1) links from this node to those that the body names."""
        answer(resp, self._clusters.set_node_connections(cluster, canonical_address(node), ROW.read(req)))
