"""A cluster seen from outside, by what its front door answers: for the live clock, where looking inside would race."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Picture"]

ROLES = ("leader", "follower", "candidate", "learner", "worker")


class Picture:
    """One answer to `DescribeCluster`, as a `View`. Nodes are called by their names, whatever their addresses."""

    def __init__(self, answer: Mapping[str, Any], now: float, kinds: Mapping[str, int]) -> None:
        self.now = now
        self._kinds = dict(kinds)
        names = {node["address"]: node["stats"].get("id", node["address"]) for node in answer["nodes"]}
        self._names: dict[str, str] = names
        self.leader: str | None = names.get(answer["leader"], answer["leader"])
        self.nodes = [_NodePicture(names[node["address"]], node["stats"], names) for node in answer["nodes"]]
        self.services = [_ServicePicture(service, names) for service in answer["services"]]
        self.links = [
            _LinkPicture(names.get(source, source), names.get(target, target), not up)
            for source, row in answer["connections"].items()
            for target, up in row.items()
        ]

    def node(self, name: str) -> _NodePicture:
        found = [node for node in self.nodes if node.name == name]
        return found[0] if found else _NodePicture(name, {}, {})

    def service(self, name: str) -> _ServicePicture:
        found = [service for service in self.services if service.name == name]
        return found[0] if found else _ServicePicture({"name": name}, {})

    def happened(self, kind: str) -> int:
        return self._kinds.get(kind, 0)

    def is_cut(self, source: str, target: str) -> bool:
        return any(link.cut for link in self.links if (link.source, link.target) == (source, target))


class _NodePicture:
    def __init__(self, name: str, stats: Mapping[str, Any], names: Mapping[str, str]) -> None:
        self.name = name
        state = str(stats.get("state", "")).lower()
        # One that reads its storage, or could not, takes no part: from inside it is down, too.
        self.role = state if state in ROLES else "down"
        self.term = int(stats.get("term", 0))
        leader: Any = stats.get("leader")
        self.leader: str | None = names.get(leader, leader)
        self.commit = int(stats.get("commit_index", 0))
        self.applied = int(stats.get("applied_index", 0))
        self.last = int(stats.get("last_index", 0))
        self.load = int(stats.get("load", 0))
        self.capacity = int(stats.get("capacity", 0))


class _ServicePicture:
    def __init__(self, service: Mapping[str, Any], names: Mapping[str, str]) -> None:
        self.name = str(service["name"])
        self.replicas = int(service.get("replicas", 0))
        self.placed = int(service.get("placed", 0))
        self.pending = int(service.get("pending", 0))
        self.completed = int(service.get("completed", 0))
        self.given_up = int(service.get("given_up", 0))
        self.mode = str(service.get("mode", ""))
        self.version = int(service.get("version", 0))
        self.update = str(service.get("update", {}).get("state", ""))
        spread: Mapping[str, int] = service.get("load_distribution", {})
        usage: Mapping[str, Mapping[str, float]] = service.get("usage", {})
        self.usage = {metric: used["mean"] for metric, used in usage.items()}
        self.on = {names.get(address, address): count for address, count in spread.items()}


class _LinkPicture:
    def __init__(self, source: str, target: str, cut: bool) -> None:
        self.source = source
        self.target = target
        self.cut = cut
