"""Clusters in memory, with no actors behind them: what the REST tests ask."""

from __future__ import annotations

import threading
from typing import Any

from raftyard.actors.system import EventLog
from raftyard.api.ports import (
    Answer,
    Conflict,
    FieldError,
    Invalid,
    LinkFaults,
    LogRange,
    NewCluster,
    NewNode,
    NotFound,
    Page,
    RebalanceOrder,
    Unavailable,
    View,
)


class FakeClusters:
    """Implements raftyard.api.ports.Clusters. Calls are executed when `settle` is left as it is."""

    def __init__(self, first_port: int = 8001) -> None:
        self.has_leader = True
        self.settle = "executed"
        self.asked: list[tuple[Any, ...]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()
        self.calls: dict[str, list[Answer]] = {}
        self.named: dict[str, dict[str, Answer]] = {}
        self.deployed: dict[str, Answer] = {}
        self.log = EventLog(clock=lambda: 7, capacity=100)
        self.links: dict[str, dict[str, dict[str, int]]] = {}
        self._make("0", [f"localhost:{first_port + i}" for i in range(5)])

    def _make(self, cluster: str, nodes: list[str]) -> None:
        self.calls[cluster] = []
        self.links[cluster] = {a: {b: 1 for b in nodes if b != a} for a in nodes}

    def _known(self, cluster: str) -> dict[str, dict[str, int]]:
        if cluster not in self.links:
            raise NotFound(f"there is no cluster {cluster}", f"known clusters: {', '.join(self.links)}")
        return self.links[cluster]

    def _row(self, cluster: str, node: str) -> dict[str, int]:
        links = self._known(cluster)
        if node not in links:
            raise NotFound(
                f"there is no node {node} in cluster {cluster}", f"known nodes: {', '.join(links)}"
            )
        return links[node]

    def clusters(self) -> list[Answer]:
        return [self.cluster(cluster, "stats", Page()) for cluster in self.links]

    def cluster(self, cluster: str, view: View, page: Page) -> Answer:
        links = self._known(cluster)
        self.asked.append(("cluster", cluster, view, page))
        shown = {
            "id": cluster,
            "nodes": self.nodes(cluster, page)["results"],
            "connections": links,
            "services": self.calls[cluster],
        }
        return shown | ({"last_call": self.calls[cluster][-1:]} if view == "state" else {})

    def create_cluster(self, request: NewCluster) -> Answer:
        cluster = request.id or str(len(self.links))
        if cluster in self.links:
            raise Conflict(f"there is a cluster {cluster} already", "leave the id out, or take another")
        count = request.nodes if isinstance(request.nodes, int) else len(request.nodes)
        first = 8001 + 100 * len(self.links)
        self._make(cluster, [f"localhost:{first + i}" for i in range(count)])
        return self.cluster(cluster, "stats", Page())

    def replace_cluster(self, cluster: str, request: NewCluster) -> Answer:
        self._known(cluster)
        del self.links[cluster]
        return self.create_cluster(NewCluster(id=cluster, nodes=request.nodes))

    def delete_cluster(self, cluster: str) -> Answer:
        self._known(cluster)
        del self.links[cluster]
        return {"status": "ok", "id": cluster}

    def submit(
        self, cluster: str, body: Any, *, node: str | None, idempotency_key: str | None, wait_s: float | None
    ) -> Answer:
        self._known(cluster)
        self.asked.append(("submit", cluster, body, node, idempotency_key, wait_s))
        self.arrived.set()
        assert self.gate.wait(10)
        for i, container in enumerate(body.get("containers", ())):
            if not isinstance(container.get("replicas"), int) or container["replicas"] < 0:
                path, message = f"$.containers[{i}].replicas", "expected a whole number of 0 or more"
                raise Invalid(f"{message} at {path}", errors=(FieldError(path=path, message=message),))
        if not self.has_leader:
            raise Unavailable("no leader yet", "retry in 2 s", retry_after_s=2)
        call = dict(body, service_id=f"call-{len(self.calls[cluster])}", status="spreading")
        self.calls[cluster].append(call)
        if wait_s is not None:
            call |= {"status": self.settle, "log_index": 1}
        return call

    def last_call(self, cluster: str) -> Answer:
        self._known(cluster)
        if not self.calls[cluster]:
            raise NotFound(f"cluster {cluster} had no service call yet", "POST one")
        return self.calls[cluster][-1]

    def call(self, cluster: str, call_id: str) -> Answer:
        self._known(cluster)
        for call in self.calls[cluster]:
            if call["service_id"] == call_id:
                return call
        raise NotFound(f"there is no service call {call_id}")

    def services(self, cluster: str, page: Page) -> Answer:
        self._known(cluster)
        named = self.named.get(cluster, {})
        results = [{k: v for k, v in s.items() if k not in ("load_distribution", "earlier")} for s in named.values()]
        return {"metadata": {"count": len(named)}, "results": results[page.offset : page.offset + page.limit]}

    def service(self, cluster: str, name: str) -> Answer:
        self._known(cluster)
        if name not in self.named.get(cluster, {}):
            raise NotFound(f"no service {name!r} in cluster {cluster}")
        return dict(self.named[cluster][name])

    def put_service(self, cluster: str, name: str, body: Any, version: int | None) -> Answer:
        self._known(cluster)
        self.asked.append(("put_service", cluster, name, body, version))
        known = self.named.setdefault(cluster, {})
        present = known[name]["version"] if name in known else 0
        if version is not None and version != present:
            raise Conflict(f"{name} is at version {present}, not {version}", code="stale-version")
        known[name] = {
            "name": name,
            "version": present + 1,
            "mode": "replicated",
            "replicas": body.get("replicas", 1),
            "placed": 0,
            "pending": 0,
            "completed": 0,
            "given_up": 0,
            "spec": body,
            "load_distribution": {},
            "earlier": [],
        }
        return known[name] | {"is_new": present == 0}

    def patch_service(self, cluster: str, name: str, body: Any, version: int | None) -> Answer:
        spec = self.service(cluster, name)["spec"]
        return self.put_service(cluster, name, spec | body, version)

    def remove_service(self, cluster: str, name: str, version: int | None) -> Answer:
        self.service(cluster, name)
        self.asked.append(("remove_service", cluster, name, version))
        del self.named[cluster][name]
        return {"status": "ok", "name": name}

    def roll_back_service(
        self, cluster: str, name: str, version: int | None, to_version: int | None
    ) -> Answer:
        self.asked.append(("roll_back_service", cluster, name, version, to_version))
        return self.service(cluster, name)

    def tasks(self, cluster: str, service: str | None, page: Page) -> Answer:
        self._known(cluster)
        self.asked.append(("tasks", cluster, service, page))
        return {"metadata": {"count": 0}, "results": []}

    def stacks(self, cluster: str, page: Page) -> Answer:
        self._known(cluster)
        self.asked.append(("stacks", cluster, page))
        named = [{k: v for k, v in stack.items() if k != "services"} for stack in self.deployed.values()]
        return {"metadata": {"count": len(named)}, "results": named[page.offset : page.offset + page.limit]}

    def stack(self, cluster: str, name: str) -> Answer:
        self._known(cluster)
        if name not in self.deployed:
            raise NotFound(f"no stack {name!r} in cluster {cluster}")
        return dict(self.deployed[name])

    def put_stack(self, cluster: str, name: str, body: Any, version: int | None) -> Answer:
        self._known(cluster)
        self.asked.append(("put_stack", cluster, name, body, version))
        services = [self.put_service(cluster, f"{name}_{one}", spec, None) for one, spec in body["services"].items()]
        counts = {"service_count": len(services), "replicas": 1, "placed": 0, "pending": 0}
        self.deployed[name] = {"name": name, "version": 7, "services": services} | counts
        return self.deployed[name] | {"warnings": []}

    def remove_stack(self, cluster: str, name: str, version: int | None) -> Answer:
        self.stack(cluster, name)
        self.asked.append(("remove_stack", cluster, name, version))
        del self.deployed[name]
        return {"status": "ok", "name": name}

    def plan(self, cluster: str, body: Any) -> Answer:
        self._known(cluster)
        self.asked.append(("plan", cluster, body))
        counts = ("starts", "stops", "moves", "replaces", "keeps", "waits", "waited", "services", "nodes", "steps")
        summary = dict.fromkeys(counts, 0) | {"takes_s": 0.0}
        shown = {"plan": next(iter(body)), "index": 7, "summary": summary}
        return shown | {"services": [], "steps": [], "is_complete": True}

    def update_node(self, cluster: str, node: str, body: Any) -> Answer:
        self._row(cluster, node)
        self.asked.append(("update_node", cluster, node, body))
        return self._facts(node) | body

    @staticmethod
    def _facts(node: str) -> Answer:
        facts = {"id": node, "availability": "active", "status": "ready", "labels": {}, "resources": {}, "taken": {}}
        return facts | {"platform": {"os": "", "arch": ""}}

    def settings(self, cluster: str) -> Answer:
        self._known(cluster)
        return {"preemption": False}

    def change_settings(self, cluster: str, body: Any) -> Answer:
        self.asked.append(("change_settings", cluster, body))
        return self.settings(cluster) | body

    def transfer(self, cluster: str, target: str | None) -> Answer:
        self._known(cluster)
        self.asked.append(("transfer", cluster, target))
        return {"status": "ok", "leader": target or "localhost:8002"}

    def rebalance(self, cluster: str, order: RebalanceOrder) -> Answer:
        self._known(cluster)
        self.asked.append(("rebalance", cluster, order))
        move = {"service": "web", "slot": 1, "task": 7, "from": "localhost:8001", "to": "localhost:8002"}
        plan = {"made_at": 9, "cost_before": 15.0, "cost_after": 0.0, "moves": [move]}
        plan |= {"max_parallel": order.max_parallel, "dry_run": order.dry_run}
        return plan | ({"state": "planned"} if order.dry_run else {"state": "running", "log_index": 10})

    def last_rebalance(self, cluster: str) -> Answer:
        self._known(cluster)
        return {"state": "none", "moves": []}

    def stop_rebalance(self, cluster: str) -> Answer:
        self._known(cluster)
        raise Conflict("no rebalance is under way")

    def nodes(self, cluster: str, page: Page) -> Answer:
        links = self._known(cluster)
        shown = list(links)[page.offset : page.offset + page.limit]
        results = [{"address": a, "accessible": True, "stats": self._stats(a)} for a in shown]
        return {"metadata": {"count": len(links)}, "results": results}

    def add_node(self, cluster: str, request: NewNode) -> Answer:
        links = self._known(cluster)
        self.asked.append(("add_node", cluster, request))
        new = f"{request.host or 'localhost'}:{request.port}"
        if new in links:
            raise Conflict(f"there is a node {new} already")
        for row in links.values():
            row[new] = 1
        links[new] = dict.fromkeys(links, 1)
        return {"status": "ok", "address": new}

    def remove_node(self, cluster: str, node: str, id: str | None = None) -> Answer:
        self._row(cluster, node)
        self.asked.append(("remove_node", cluster, node, id))
        del self.links[cluster][node]
        return {"status": "ok"}

    def connections(self, cluster: str) -> Answer:
        return self._known(cluster)

    def set_connections(self, cluster: str, matrix: Any) -> Answer:
        for node, row in matrix.items():
            self.set_node_connections(cluster, node, row)
        return self._known(cluster)

    def _stats(self, node: str) -> Answer:
        host, port = node.split(":")
        return {"host": host, "port": int(port), "state": "FOLLOWER", "capacity": 100, "load": 0}

    def node(self, cluster: str, node: str, log: LogRange, *, with_facts: bool = False) -> Answer:
        self._row(cluster, node)
        self.asked.append(("node", cluster, node, log))
        shown = self._stats(node) | {"term": 1, "leader": None, "commit_index": 0, "log": []}
        return shown | self._facts(node) if with_facts else shown

    def node_connections(self, cluster: str, node: str) -> Answer:
        return self._row(cluster, node)

    def set_node_connections(self, cluster: str, node: str, row: Any) -> Answer:
        known = self._row(cluster, node)
        for peer in row:
            if peer not in known:
                path, message = f'$["{peer}"]', f"unknown node {peer}"
                hint = f"known nodes: {', '.join(known)}"
                raise Invalid(message, hint, errors=(FieldError(path=path, message=message),))
        known.update(row)
        return known

    def link(self, cluster: str, source: str, target: str) -> Answer:
        self.asked.append(("link", cluster, source, target))
        sound = {"delay": "0ms", "jitter": "0ms", "loss": 0.0, "duplicate": 0.0, "reorder": 0.0}
        counts = ("in_flight", "delivered", "lost_cut", "lost_full", "lost_random", "duplicated")
        ends = {"from": source, "to": target, "connected": self._row(cluster, source)[target]}
        return ends | sound | {"statistics": dict.fromkeys(counts, 0)}

    def set_link(
        self, cluster: str, source: str, target: str, faults: LinkFaults, *, is_patch: bool
    ) -> Answer:
        self.asked.append(("set_link", cluster, source, target, faults, is_patch))
        return self.link(cluster, source, target)

    def is_ready(self) -> bool:
        return self.has_leader

    def event_log(self, cluster: str | None) -> EventLog:
        if cluster is not None:
            self._known(cluster)
        return self.log

    def event_kinds(self) -> tuple[str, ...]:
        return ("leader-elected", "link-cut", "link-restored")

    def node_count(self, cluster: str, node: str) -> Answer:
        return {"count": len(self._row(cluster, node))}

    def majority(self, cluster: str, node: str) -> Answer:
        return {"majority": (len(self._row(cluster, node)) + 1) // 2 + 1}

    def load_lookup_table(self, cluster: str, node: str) -> Answer:
        self._row(cluster, node)
        return {"call-0": {node: 5}}
