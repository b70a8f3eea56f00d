"""What HTTP is told when the actors are not where they should be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from raftyard.actors.messages import ListClusters, SubmitServiceCall, cluster_actor
from raftyard.actors.system import Actor, Live, NoSuchActor, Promise
from raftyard.api import ports
from raftyard.cli.wiring import ActorClusters, _milliseconds


class Starting:
    """A system in which the orchestrator answers, and no front door does."""

    def ask(self, name: str, message: Any, timeout_s: float) -> Any:
        if isinstance(message, ListClusters):
            return {"0": {}}
        raise NoSuchActor(name)


def test_a_cluster_whose_front_door_is_about_to_start_is_to_be_asked_again():
    clusters = ActorClusters(Starting())  # type: ignore[arg-type]
    with pytest.raises(ports.Unavailable, match="cluster '0' is starting") as caught:
        clusters.last_call("0")
    assert caught.value.retry_after_s == 1


@pytest.mark.parametrize(
    ("time_s", "told"), [(0.0, "0ms"), (1e-8, "0.00001ms"), (0.0205, "20.5ms"), (3_599_999_996e3, "3599999996000000ms")]
)
def test_a_delay_is_told_as_it_can_be_sent_back(time_s: float, told: str):
    assert _milliseconds(time_s) == told


def test_a_cluster_that_there_is_not_is_not_found():
    clusters = ActorClusters(Starting())  # type: ignore[arg-type]
    with pytest.raises(ports.NotFound, match="no cluster '7'"):
        clusters.last_call("7")


@pytest.mark.parametrize(
    ("node", "path"),
    [
        ({"labels": {"zone": "a"}}, "$.nodes[1].labels"),
        ({"resources": {"cpu_milli": 4}}, "$.nodes[1].resources"),
        ({"gpu_model": "A100"}, "$.nodes[1].gpu_model"),
        ({"spawn": False}, "$.nodes[1].spawn"),
    ],
)
def test_what_a_node_of_a_new_cluster_cannot_have_yet_is_refused_and_not_dropped(node: dict[str, Any], path: str):
    clusters = ActorClusters(Starting())  # type: ignore[arg-type]
    wanted = ports.NewCluster(nodes=(ports.NewNode(), ports.NewNode(**node)))
    for change in (clusters.create_cluster, lambda wanted: clusters.replace_cluster("7", wanted)):
        with pytest.raises(ports.Invalid) as caught:
            change(wanted)
        assert [error.path for error in caught.value.errors] == [path]


class Silent(Actor):
    """A front door that never answers."""

    def __init__(self, asked: Event) -> None:
        super().__init__()
        self._asked = asked

    def on_receive(self, message: SubmitServiceCall) -> Promise:
        self._asked.set()
        return self.context.promise()


def test_who_waits_when_the_program_ends_is_told_so():
    asked = Event()
    with Live() as system, ThreadPoolExecutor(1) as pool:
        system.spawn(Silent, cluster_actor("0"), asked)
        clusters = ActorClusters(system)
        call = pool.submit(clusters.submit, "0", {}, node=None, idempotency_key=None, wait_s=15.0)
        assert asked.wait(10)
        system.close()
        with pytest.raises(ports.Unavailable, match="the program is stopping"):
            call.result(10)
