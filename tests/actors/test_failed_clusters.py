"""Ids that are refused before anything is proposed, and clusters whose files keep them from starting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nested_yard import Nest
from test_actors_nodes import PortsOfOthers

from raftyard.actors.errors import InvalidRequest, Unavailable
from raftyard.actors.messages import (
    ORCHESTRATOR,
    AddNodeRequest,
    CreateClusterRequest,
    RemoveClusterRequest,
)
from raftyard.actors.storage.folder import DataFolder
from raftyard.actors.system import Virtual


def create(yard: Nest, cluster: str, *, replace: bool = False) -> str:
    request = CreateClusterRequest(cluster=cluster, nodes=(AddNodeRequest(),), replace=replace)
    return str(yard.ask(request, ORCHESTRATOR)["id"])


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataFolder]:
    folder = DataFolder(tmp_path / "data")
    folder.lock()
    yield folder
    folder.unlock()


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("bad", ["lock", "LOCK", "a b", "", "x" * 64, "x" * 5000, "-a", "a/b", "..", "ä", "a\n"])
def test_an_id_that_no_cluster_can_have_is_refused_before_anything_is_proposed(bad: str, replace: bool):
    with Nest() as yard:
        yard.settle()
        before = yard.state().clusters()
        with pytest.raises(InvalidRequest) as caught:
            create(yard, bad, replace=replace)
        assert caught.value.path == "$.id" and "63 letters, digits, - and _" in caught.value.hint
        assert len(str(caught.value)) < 200
        assert yard.clusters() == ("0",) and yard.state().clusters() == before


def test_no_id_is_the_name_of_another_file_of_the_data_folder(data: DataFolder):
    names = {data.cluster(cluster).path.name.lower() for cluster in ("lock", "%6Cock", "0")}
    assert len(names) == 3 and "lock" not in names


@pytest.mark.parametrize("replace", [False, True])
def test_a_cluster_that_cannot_start_says_why_and_hinders_nobody(data: DataFolder, replace: bool):
    ports = PortsOfOthers()
    (data.path / "7").write_text("somebody's notes")
    with Nest(data=data, ports=ports) as yard:
        yard.settle()
        before = set(ports.open_ports)
        with pytest.raises(Unavailable, match="cluster 7 could not be started: .*data/7.*Not a directory") as caught:
            create(yard, "7", replace=replace)
        assert "DELETE /clusters/7" in caught.value.hint
        shown = yard.picture("7")
        assert (shown["id"], shown["nodes"], shown["state"]) == ("7", [], "FAILED")
        assert "Not a directory" in shown["reason"]
        with pytest.raises(Unavailable, match="Not a directory"):
            yard.submit(cluster="7", web=1)
        assert ports.open_ports == before
        assert create(yard, "8") == "8"
        assert yard.submit(web=3)["status"] == "executed"
    with Nest(Virtual(seed=2, raise_crashes=True), data=data, checked=False) as yard:
        yard.until(lambda: yard.clusters() == ("0", "7", "8"))
        assert yard.picture("7")["state"] == "FAILED"
        yard.ask(RemoveClusterRequest(cluster="7"), ORCHESTRATOR)
        assert yard.clusters() == ("0", "8")
        assert (data.path / "7").read_text() == "somebody's notes"
        (data.path / "7").unlink()
        assert create(yard, "7") == "7"
        yard.until(lambda: yard.picture("7")["leader"])


def test_only_the_cluster_whose_file_is_damaged_fails_and_what_is_nested_in_it_is_kept(data: DataFolder):
    with Nest(data=data) as yard:
        yard.settle()
        create(yard, "1")
        create(yard, "2")
        yard.settle(cluster="1")
        yard.nest(1, cluster="1")
    home, inner = data.path / "1" / "home.json", data.path / "1.inner" / "home.json"
    good = home.read_bytes()
    home.write_bytes(good.replace(b'"cluster":"1"', b'"cluster":"9"'))
    with Nest(Virtual(seed=2, raise_crashes=True), data=data, checked=False) as yard:
        yard.until(lambda: yard.clusters() == ("0", "1", "2"))
        shown = yard.picture("1")
        assert shown["state"] == "FAILED" and f"{home} is damaged" in shown["reason"]
        assert "DELETE /clusters/1" in shown["hint"]
        yard.until(lambda: yard.picture("2")["leader"])
        yard.run(5.0)
    assert inner.exists()
    home.write_bytes(good)
    with Nest(Virtual(seed=3, raise_crashes=True), data=data, checked=False) as yard:
        yard.until(lambda: "1.inner" in yard.clusters() and yard.picture("1.inner")["leader"])
    home.write_bytes(b"{}")
    with Nest(Virtual(seed=4, raise_crashes=True), data=data, checked=False) as yard:
        yard.until(lambda: "1" in yard.clusters())
        yard.ask(RemoveClusterRequest(cluster="1"), ORCHESTRATOR)
        assert yard.clusters() == ("0", "2")
    assert not home.parent.exists() and not inner.parent.exists()


def test_a_nested_cluster_whose_file_is_damaged_fails_alone_and_keeps_its_files(data: DataFolder):
    with Nest(data=data) as yard:
        yard.settle()
        yard.nest(2)
    home = data.path / "0.inner" / "home.json"
    home.write_bytes(b"{}")
    with Nest(Virtual(seed=2, raise_crashes=True), data=data, checked=False) as yard:
        yard.until(lambda: "0.inner" in yard.clusters())
        yard.run(5.0)
        assert yard.picture("0.inner")["state"] == "FAILED"
        assert yard.picture("0.inner")["parent"] == {"cluster": "0", "service": "inner"}
        assert sorted(path.suffix for path in home.parent.iterdir() if path.suffix == ".sqlite") == [".sqlite"] * 2
        assert yard.submit(web=3)["status"] == "executed"
        yard.remove_service()
        yard.until(lambda: yard.clusters() == ("0",))


def test_files_that_cannot_be_removed_are_left_behind_and_said(data: DataFolder):
    with Nest(data=data) as yard:
        yard.settle()
        create(yard, "7")
        (data.path / "7" / "notes").mkdir()
        yard.ask(RemoveClusterRequest(cluster="7"), ORCHESTRATOR)
        assert yard.clusters() == ("0",)
