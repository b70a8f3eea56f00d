"""Nested clusters on virtual and on real time, in memory, on simulated disks and on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nested_yard import INNER, Nest

from raftyard.actors.messages import ORCHESTRATOR, AddNodeRequest, CreateClusterRequest, RemoveClusterRequest
from raftyard.actors.storage.folder import DataFolder
from raftyard.actors.storage.simulated import DiskFaults
from raftyard.actors.system import Live, System, Virtual


def a_system(clock: str, seed: int = 1) -> System:
    return Virtual(seed=seed, raise_crashes=True) if clock == "virtual" else Live(seed=seed)


@pytest.fixture(params=["virtual", "live"])
def clocked(request: pytest.FixtureRequest) -> Iterator[Nest]:
    with Nest(a_system(request.param), checked=request.param == "virtual") as nest:
        nest.begin()
        yield nest


def placed(nest: Nest, cluster: str = INNER) -> dict[str, int]:
    """By what the front door answers: on the live clock nobody looks inside."""
    return {service["name"]: service["placed"] for service in nest.picture(cluster)["services"]}


def states(nest: Nest, cluster: str = INNER) -> list[str]:
    nodes = nest.picture(cluster)["nodes"]
    return sorted(str(node["stats"].get("state", "DOWN")) for node in nodes)


def make(nest: Nest, replicas: int = 3) -> None:
    nest.nest(replicas, settled=False)
    nest.until(lambda: INNER in nest.clusters() and nest.picture(INNER)["leader"])
    nest.until(lambda: states(nest).count("FOLLOWER") == replicas - 1)
    nest.submit(cluster=INNER, web=9)
    nest.until(lambda: placed(nest) == {"web": 9})


def test_a_nested_cluster_takes_calls_is_scaled_and_removed(clocked: Nest):
    make(clocked)
    clocked.call(name="inner", replicas=5)
    clocked.until(lambda: states(clocked).count("FOLLOWER") == 4, within_s=20.0)
    clocked.call(name="inner", replicas=2)
    clocked.until(lambda: len(states(clocked)) == 2, within_s=30.0)
    clocked.until(lambda: placed(clocked) == {"web": 9})
    clocked.remove_service()
    clocked.until(lambda: clocked.clusters() == ("0",))
    clocked.until(lambda: not [name for name in clocked.system.names() if name.startswith("cluster/0.inner")])


def test_a_cut_of_the_parents_links_elects_another_leader_inside(clocked: Nest):
    make(clocked)
    old = clocked.picture(INNER)["leader"]
    host = old.rpartition(".")[0]
    others = [on for on in clocked.hosts().values() if on != host]
    clocked.cut(*[pair for other in others for pair in ((host, other), (other, host))])
    clocked.until(lambda: clocked.picture(INNER)["leader"] not in (None, old))
    clocked.heal()
    clocked.until(lambda: states(clocked).count("FOLLOWER") == len(states(clocked)) - 1 == 2, within_s=20.0)
    clocked.until(lambda: placed(clocked) == {"web": 9})


@pytest.mark.parametrize("clock", ["virtual", "live"])
def test_it_is_there_again_when_the_program_is_started_anew(clock: str, tmp_path: Path):
    data = DataFolder(tmp_path / "data")
    data.lock()
    try:
        with Nest(a_system(clock), checked=clock == "virtual", data=data) as nest:
            nest.begin()
            make(nest)
            names = nest.names(INNER)
        assert sorted(path.name for path in (tmp_path / "data" / INNER).glob("*.sqlite")) == [
            f"{name}.sqlite" for name in names
        ]
        with Nest(a_system(clock, 2), checked=False, data=data, port=8100) as nest:
            nest.until(lambda: nest.picture()["leader"])
            nest.until(lambda: nest.picture(INNER)["leader"])
            nest.until(lambda: placed(nest) == {"web": 9})
            assert nest.names(INNER) == names
            assert nest.submit(cluster=INNER, web=12)["status"] == "executed"
            nest.remove_service()
            nest.until(lambda: nest.clusters() == ("0",))
            nest.until(lambda: not (tmp_path / "data" / INNER).exists())
    finally:
        data.unlock()


def test_what_a_crash_left_of_one_whose_service_or_parent_is_gone_is_forgotten(tmp_path: Path):
    data = DataFolder(tmp_path)
    data.lock()
    try:
        with Nest(data=data) as nest:
            nest.settle()
            nest.ask(CreateClusterRequest(cluster="7", nodes=(AddNodeRequest(),)), ORCHESTRATOR)
            nest.settle(cluster="7")
            nest.nest(1, cluster="7")
            nest.nest(2)
            kept = {path: path.read_bytes() for id in (INNER, "7.inner") for path in (tmp_path / id).iterdir()}
            nest.remove_service()
            nest.ask(RemoveClusterRequest(cluster="7"), ORCHESTRATOR)
            nest.until(lambda: nest.clusters() == ("0",))
        for path, content in kept.items():  # as if the program had ended before it came to that
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        with Nest(Virtual(seed=2, raise_crashes=True), data=data) as nest:
            nest.until(lambda: nest.clusters() == ("0",))
            assert not (tmp_path / "7.inner").exists()
            nest.until(lambda: not (tmp_path / INNER).exists())
            nest.settle_all()
    finally:
        data.unlock()


def test_nodes_on_simulated_disks_come_back_with_what_was_saved():
    with Nest(disks=DiskFaults(sync_ms=2, jitter_ms=2)) as nest:
        nest.settle()
        nest.nest(3)
        nest.submit(cluster=INNER, web=9)
        for node in list(nest.hosts().values()):
            nest.crash_node(node)
            nest.run(3.0)
        nest.settle_all()
        assert placed(nest) == {"web": 9}
