"""Random faults in clusters of clusters: whatever the order, they become what they should be, and lose no service.

RAFTYARD_SEED begins with that seed; RAFTYARD_CAMPAIGN=full tells many.
"""

from __future__ import annotations

import os
from random import Random

import pytest
from nested_yard import INNER, Nest

from raftyard.actors.errors import RaftyardError
from raftyard.actors.messages import (
    ORCHESTRATOR,
    RebalanceRequest,
    StartNode,
    UpdateNodeRequest,
    agent_actor,
    cluster_actor,
    node_actor,
)
from raftyard.actors.system import ActorError, Virtual

STEPS = 12
DEEP = "0.inner.deep"


class Chaos:
    """One seed's faults. At most one node of cluster 0 is down at a time, as far as anybody can tell: what loses a
    majority of a cluster's disks for good loses that cluster."""

    def __init__(self, nest: Nest, seed: int) -> None:
        self.nest = nest
        self.random = Random(f"nested/{seed}")
        self.told: list[str] = []
        self.crashed: dict[str, int] = {}

    def play(self) -> None:
        kinds = (self.crash, self.kill, self.cut_parent, self.cut_child)
        kinds += (self.scale, self.drain, self.front, self.template, self.rebalance)
        for _ in range(STEPS):
            fault = self.random.choice(kinds)
            self.told.append(f"{self.nest.now:.2f} {fault.__name__}")
            fault()
            self.nest.run(self.random.random() * 3)

    def crash(self) -> None:
        actor = self.random.choice((node_actor, agent_actor))
        cluster = self.random.choice([cluster for cluster in ("0", INNER, DEEP) if self.nest.names(cluster)])
        self.nest.crash(actor(cluster, self.random.choice(self.nest.names(cluster))))

    def kill(self) -> None:
        node = self.random.choice(self.nest.names())
        self.nest.kill_node(node)
        self.nest.run(self.random.random() * 4)
        self.ask(StartNode(node=node))
        self.nest.run(1.5)

    def cut_parent(self) -> None:
        side = self.random.sample(self.nest.names(), self.random.randint(1, 2))
        self.nest.cut(*self.nest.between(side))
        self.nest.run(self.random.random() * 4)
        self.nest.heal()

    def cut_child(self) -> None:
        cluster = self.random.choice((INNER, DEEP))
        names = self.nest.names(cluster)
        if names:
            self.nest.cut(*self.nest.around(self.random.choice(names), cluster), cluster=cluster)
            self.nest.run(self.random.random() * 3)
            self.nest.heal(cluster)

    def scale(self) -> None:
        cluster, service, most = self.random.choice((("0", "inner", 5), (INNER, "deep", 3)))
        self.ask_later(cluster, service, replicas=self.random.randint(2, most))

    def template(self) -> None:
        self.ask_later("0", "inner", force_update=self.random.randint(1, 1_000_000), update={"monitor_s": 0.5})

    def drain(self) -> None:
        node = self.random.choice(self.nest.names())
        self.ask(UpdateNodeRequest(node=node, body={"availability": "drain"}))
        self.nest.run(self.random.random() * 5)
        self.ask(UpdateNodeRequest(node=node, body={"availability": "active"}))

    def rebalance(self) -> None:
        cluster = self.random.choice(("0", INNER))
        if self.nest.front(cluster) is not None:
            self.ask(RebalanceRequest(max_moves=10, max_parallel=2), cluster)

    def front(self) -> None:
        # Of one that crashes a fourth time within a minute the system makes no other: that is another story.
        fronts = [cluster_actor(cluster) for cluster in ("0", INNER, DEEP)]
        front = self.random.choice((*fronts, ORCHESTRATOR))
        if self.crashed.setdefault(front, 0) < 3:
            self.crashed[front] += 1
            self.nest.crash(front)
        self.nest.run(1.0)

    def ask(self, message: object, cluster: str = "0") -> None:
        try:
            self.nest.ask(message, cluster)
        except (RaftyardError, ActorError) as error:
            self.told.append(f"  {type(message).__name__}: {error}")

    def ask_later(self, cluster: str, service: str, **body: object) -> None:
        try:
            self.nest.change_service(cluster, service, **body)
        except (RaftyardError, ActorError) as error:
            self.told.append(f"  {cluster} {service} {body}: {error}")


def story(seed: int) -> None:
    """Three levels, a service in each of the nested ones, a dozen faults; then peace, and all must be as before."""
    with Nest(Virtual(seed=seed, raise_crashes=True), capacity=100) as nest:
        nest.settle()
        nest.nest(4, slots=40)
        nest.nest(3, cluster=INNER, service="deep", slots=10)
        nest.submit(cluster=INNER, web=6)
        nest.submit(cluster=DEEP, web=6)
        chaos = Chaos(nest, seed)
        try:
            chaos.play()
            nest.heal()
            for cluster in (INNER, DEEP):
                if nest.front(cluster) is not None:
                    nest.heal(cluster)
            for node in nest.names():
                chaos.ask(UpdateNodeRequest(node=node, body={"availability": "active"}))
            nest.settle_all(120.0)
            for cluster in (INNER, DEEP):
                service = nest.state(cluster).service("web")
                assert service is not None and service.version == 1 and service.placed == 6
        except BaseException:
            print(f"seed {seed}", *chaos.told, sep="\n")
            raise


def seeds(count: int) -> range:
    base = int(os.environ.get("RAFTYARD_SEED", "0"))
    return range(base, base + count)


@pytest.mark.parametrize("seed", seeds(4))
def test_clusters_of_clusters_become_what_they_should_be_and_keep_their_services(seed: int):
    story(seed)


@pytest.mark.campaign
def test_clusters_of_clusters_keep_their_services_in_many_stories():
    for seed in seeds(1000 if os.environ.get("RAFTYARD_CAMPAIGN") == "full" else 40):
        print(f"seed {seed}")
        story(seed)
