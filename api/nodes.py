"""Nodes: add and remove them, and what each says of itself (on its own port, or under its cluster's path)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import falcon
from falcon import Request, Response

from .addresses import address, canonical_address
from .answers import answer
from .body import NEW_NODE, NEW_PEER, NODE_PATCH, REMOVE_NODE, invalid
from .ports import Answer, Clusters, Invalid
from .query import LOG_RANGE, PAGE, log_range, page
from .shapes import (
    CountView,
    Done,
    LoadTable,
    MajorityView,
    NewNode,
    NewPeer,
    NodeDetail,
    NodeFacts,
    NodeList,
    NodeWhole,
    RemoveNode,
)

Question = Literal["count", "majority", "load_lookup_table"]


class NodeListResource:
    """/clusters/{cluster}/nodes"""

    takes: ClassVar[dict[str, Any]] = {"POST": NEW_NODE, "DELETE": REMOVE_NODE}
    gives: ClassVar[dict[str, Any]] = {"GET": NodeList, "POST": Done, "DELETE": Done}
    asks: ClassVar = {"GET": PAGE}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str) -> None:
        """Every node, as its cluster sees it."""
        answer(resp, self._clusters.nodes(cluster, page(req)))

    def on_post(self, req: Request, resp: Response, cluster: str) -> None:
        """A node joins."""
        answer(resp, self._clusters.add_node(cluster, NEW_NODE.read(req)), falcon.HTTP_201)

    def on_delete(self, req: Request, resp: Response, cluster: str) -> None:
        """The node that the body names leaves."""
        node = REMOVE_NODE.read(req)
        answer(resp, self._clusters.remove_node(cluster, _named(node), node.id))


class NodeResource:
    """/ and /stats on a node's port, and /clusters/{cluster}/nodes/{node}/stats"""

    takes: ClassVar[dict[str, Any]] = {}
    gives: ClassVar[dict[str, Any]] = {"GET": NodeDetail}
    asks: ClassVar = {"GET": LOG_RANGE}
    with_facts: ClassVar = False

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str, node: str) -> None:
        """What the node says of itself, with its log."""
        name, log = canonical_address(node), log_range(req)
        answer(resp, self._clusters.node(cluster, name, log, with_facts=self.with_facts))


class RemovableNodeResource(NodeResource):
    """/clusters/{cluster}/nodes/{node}, where a node can be changed and removed, too, and shows what was agreed on"""

    takes: ClassVar[dict[str, Any]] = {"PATCH": NODE_PATCH}
    gives: ClassVar[dict[str, Any]] = {"GET": NodeWhole, "PATCH": NodeFacts, "DELETE": Done}
    with_facts: ClassVar = True

    def on_patch(self, req: Request, resp: Response, cluster: str, node: str) -> None:
        """Another availability, other labels or resources: {"availability": "drain"}."""
        answer(resp, self._clusters.update_node(cluster, canonical_address(node), NODE_PATCH.read(req)))

    def on_delete(self, req: Request, resp: Response, cluster: str, node: str) -> None:
        """The node leaves."""
        answer(resp, self._clusters.remove_node(cluster, canonical_address(node)))


class PeerResource:
    """/nodes/{peer} on a node's port: the original's way to add and remove nodes"""

    takes: ClassVar[dict[str, Any]] = {"POST": NEW_PEER}
    gives: ClassVar[dict[str, Any]] = {"POST": Done, "DELETE": Done}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_post(self, req: Request, resp: Response, cluster: str, node: str, peer: str) -> None:
        """A node joins this node's cluster at that address; the body may say its id and capacity."""
        wanted = NEW_PEER.read_if_any(req, NewPeer())
        host, port = _host_and_port(peer)
        request = NewNode(id=wanted.id, host=host, port=port, capacity=wanted.capacity, spawn=wanted.spawn)
        answer(resp, self._clusters.add_node(cluster, request), falcon.HTTP_201)

    def on_delete(self, req: Request, resp: Response, cluster: str, node: str, peer: str) -> None:
        """That node leaves the cluster."""
        answer(resp, self._clusters.remove_node(cluster, canonical_address(peer)))


class NodeQuestionResource:
    """/nodes/count, /majority and /loadLookupTable on a node's port"""

    takes: ClassVar[dict[str, Any]] = {}
    answers: ClassVar = {"count": CountView, "majority": MajorityView, "load_lookup_table": LoadTable}

    def __init__(self, clusters: Clusters, question: Question) -> None:
        self._clusters = clusters
        self._question = question
        self.gives = {"GET": self.answers[question]}

    def on_get(self, req: Request, resp: Response, cluster: str, node: str) -> None:
        """One small fact."""
        answer(resp, self._ask(cluster, canonical_address(node)))

    def _ask(self, cluster: str, node: str) -> Answer:
        match self._question:
            case "count":
                return self._clusters.node_count(cluster, node)
            case "majority":
                return self._clusters.majority(cluster, node)
            case "load_lookup_table":
                return self._clusters.load_lookup_table(cluster, node)


def _named(node: RemoveNode) -> str:
    if node.port is not None:
        return address(node.host, node.port)
    if node.id is not None:
        return node.id
    raise invalid("$.port", "the port is missing", 'say which node: {"host": "localhost", "port": 8001}')


def _host_and_port(peer: str) -> tuple[str, int]:
    host, _, port = canonical_address(peer).rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise Invalid(f"{peer} is not an address", "for example POST /nodes/localhost:8099")
    return host, int(port)
