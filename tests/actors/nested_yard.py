"""Nested clusters under test: a yard that makes them, and says what became of all of them."""

from __future__ import annotations

from typing import Any

from yard import Yard

from raftyard.actors.messages import (
    ORCHESTRATOR,
    ChangeService,
    ListClusters,
    RemoveService,
    SubmitServiceCall,
    agent_actor,
    disk_actor,
    node_actor,
    parent_node,
)

INNER = "0.inner"


class Nest(Yard):
    """A yard with the verbs for clusters in clusters; `service` is the name of one in `cluster`."""

    def nest(
        self, replicas: int = 3, *, cluster: str = "0", service: str = "inner", slots: int = 20, settled: bool = True
    ) -> str:
        """Make a service that is a cluster; its id."""
        body = {"replicas": replicas, "reservations": {"slots": slots}, "cluster": {}}
        answer = self.ask(ChangeService(service=service, body=body), cluster)
        child = str(answer["cluster"]["id"])
        if settled:
            self.settle_all()
            assert len(self.names(child)) == replicas
        return child

    def change_service(self, cluster: str = "0", service: str = "inner", **body: Any) -> dict[str, Any]:
        return dict(self.ask(ChangeService(service=service, body=body, is_patch=True), cluster))

    def remove_service(self, cluster: str = "0", service: str = "inner") -> None:
        self.ask(RemoveService(service=service), cluster)

    def call(self, **container: Any) -> dict[str, Any]:  # type: ignore[override]
        """A service call of one container, executed or failed."""
        return dict(self.ask(SubmitServiceCall(body={"container": container}, wait_s=5.0)))

    def clusters(self) -> tuple[str, ...]:
        return tuple(self.ask(ListClusters(), ORCHESTRATOR))

    def hosts(self, cluster: str = INNER) -> dict[str, str]:
        """By the child's node: the parent's node that it is on."""
        return {name: parent_node(name) for name in self.names(cluster)}

    def actors_of(self, cluster: str, node: str) -> list[str]:
        """Those of a node's actors that are alive."""
        made = (actor(cluster, node) for actor in (node_actor, agent_actor, disk_actor))
        return [name for name in made if self.system.is_alive(name)]

    def kill_node(self, node: str, cluster: str = "0") -> None:
        """A node ends, as when its machine is lost; `start_node` brings it back."""
        for name in self.actors_of(cluster, node):
            self.system.kill(name)

    def settle_all(self, within_s: float = 30.0) -> None:
        """Wait until every cluster has become what it should be."""
        end = self.now + within_s
        while (why := self.why_not_all()) is not None:
            assert self.now < end, f"not settled within {within_s} s: {why}"
            self.run(0.1)

    def why_not_all(self) -> str | None:
        for cluster in self.clusters():
            if (why := self.why_unsettled(cluster)) is not None:
                return f"{cluster}: {why}"
            for record in self.state(cluster).nested():
                wanted = sorted(f"{node}.{task}" for task, node, _ in record.tasks)
                there = sorted(self.names(f"{cluster}.{record.service}"))
                if wanted != there:
                    return f"{cluster}.{record.service} has {there}, should have {wanted}"
        return None
