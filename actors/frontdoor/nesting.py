"""Which clusters are services of others: for the Orchestrator, which starts and ends them.

A nested cluster is there while its service is, by the word of the parent's leader. Everything is said again and again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..messages import (
    ChildCluster,
    ClusterSpec,
    FollowService,
    HostedNodes,
    NestedClusters,
    Parent,
    SpawnCluster,
    agent_actor,
    cluster_actor,
    nested_cluster,
    parent_node,
)
from ..system import Context
from .home import Home

__all__ = ["Nesting"]


class Yard(Protocol):
    """What this needs of the Orchestrator."""

    context: Context

    def begin(self, spec: ClusterSpec) -> None: ...
    def end(self, cluster: str) -> None: ...
    def is_ending(self, cluster: str) -> bool: ...
    def destroy(self, home: Home) -> None: ...


class Nesting:
    """The nested clusters among `homes`."""

    def __init__(self, yard: Yard, homes: dict[str, Home], is_kept: Callable[[str], bool]) -> None:
        self._yard = yard
        self._homes = homes
        self._is_kept = is_kept
        self._aside: dict[str, Home] = {}
        """Those whose parent is there and cannot start: they wait in the data folder until it is mended or removed."""

    def children(self, parent: str) -> list[str]:
        """Those that are services of a cluster."""
        return [
            cluster
            for cluster, home in self._homes.items()
            if home.spec.parent is not None and home.spec.parent.cluster == parent
        ]

    def forget_orphans(self) -> None:
        """What a crash left of nested clusters whose parent was removed."""
        while orphans := [
            cluster
            for cluster, home in self._homes.items()
            if home.spec.parent is not None and home.spec.parent.cluster not in self._homes
        ]:
            for cluster in orphans:
                home = self._homes.pop(cluster)
                parent = home.spec.parent
                if parent is not None and (parent.cluster in self._aside or self._is_kept(parent.cluster)):
                    self._aside[cluster] = home
                else:
                    self._yard.destroy(home)

    def take_aside(self, parent: str) -> list[Home]:
        """Those that were waiting for a cluster, in it and in those within: it is gone for good."""
        return [self._aside.pop(name) for name in tuple(self._aside) if name.startswith(f"{parent}.")]

    def follow(self, said: NestedClusters) -> None:
        """Start what is new, end what is gone, and tell the others which nodes they should have."""
        parent = self._homes.get(said.parent)
        if parent is None or self._yard.is_ending(said.parent):
            return
        wanted = {nested_cluster(said.parent, child.service): child for child in said.children}
        for cluster in self.children(said.parent):
            if not self._yard.is_ending(cluster) and not self._is_right(cluster, wanted.get(cluster)):
                self._yard.end(cluster)
        for cluster, child in wanted.items():
            home = self._homes.get(cluster)
            if home is not None and home.spec.parent is None:
                continue  # A cluster of an earlier version of this program has that id.
            if home is not None and not self._yard.is_ending(cluster):
                follow = FollowService(nodes=child.nodes, busy=self._busy(cluster))
                self._yard.context.send(cluster_actor(cluster), follow)
            elif child.nodes:
                self._aside.pop(cluster, None)
                self._yard.begin(
                    ClusterSpec(
                        cluster=cluster,
                        nodes=child.nodes,
                        version=child.generation,
                        parent=Parent(cluster=said.parent, service=child.service),
                    )
                )

    def _busy(self, cluster: str) -> tuple[str, ...]:
        """The nodes of a cluster on which those that are nested in it have nodes."""
        nested = [name for child in self.children(cluster) for name in tuple(self._homes[child].nodes)]
        return tuple(dict.fromkeys(parent_node(name) for name in nested))

    def _is_right(self, cluster: str, child: ChildCluster | None) -> bool:
        """Whether a nested cluster is what its service is now. One that nobody has led yet begins with whatever nodes
        it should have by then: the first ones may be lost before they were a majority."""
        home = self._homes[cluster]
        if child is None or child.generation != home.spec.version:
            return False
        return home.has_been_led or not child.nodes or home.spec.nodes == child.nodes

    def spawn(self, wanted: SpawnCluster) -> None:
        """An agent says which nodes have their place with it: for their cluster, if that is there."""
        home = self._homes.get(wanted.cluster)
        if home is not None and home.spec.version == wanted.generation and home.spec.parent is not None:
            self._yard.context.send(cluster_actor(wanted.cluster), wanted)
            return
        leaving = tuple([name for name, leaves in wanted.nodes if leaves])
        is_earlier = home is None or home.spec.version > wanted.generation
        if leaving and is_earlier:
            answer = HostedNodes(cluster=wanted.cluster, generation=wanted.generation, gone=leaving)
            self._yard.context.send(agent_actor(wanted.parent, wanted.node), answer)
