"""What a cluster's folder keeps of the nodes that have left: how many starts they counted."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import msgspec
import pytest
from yard import Yard

from raftyard.actors import AddNodeRequest, RemoveNodeRequest, Virtual
from raftyard.actors.frontdoor import Home
from raftyard.actors.messages import ClusterSpec, NodeSpec
from raftyard.actors.orchestrator import OrchestratorSettings, find_homes
from raftyard.actors.storage.base import StorageBroken, StorageDamaged
from raftyard.actors.storage.folder import ClusterFolder, DataFolder

NODE = NodeSpec(name="a", host="", port=None, capacity=0)
CLOCK = "raftyard.actors.storage.sqlite.time.time"


def started(home: Home) -> int:
    """The incarnation that node a counts now."""
    storage = home.storage("a")
    storage.load()
    incarnation = storage.start(1)
    storage.close()
    return incarnation


def test_a_node_that_comes_again_counts_on_though_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And after the program has started anew in between."""
    folder = ClusterFolder(tmp_path / "c")
    home = Home(ClusterSpec(cluster="c", nodes=(NODE,)), folder)
    incarnations = list[int]()
    for life in range(4):
        monkeypatch.setattr(CLOCK, lambda: 1_900_000_000.0 - 3600 * life)  # noqa: B023
        incarnations += [started(home), started(home)]
        home.forget("a")
        if life % 2:
            home = Home.found(ClusterFolder(tmp_path / "c"))
        home.add(NODE)
    assert incarnations[0] == 1_900_000_000
    assert incarnations == sorted(set(incarnations))


def test_a_home_that_was_written_before_starts_were_kept_is_read(tmp_path: Path) -> None:
    folder = ClusterFolder(tmp_path / "c")
    Home(ClusterSpec(cluster="c", nodes=(NODE,)), folder)
    file = tmp_path / "c" / "home.json"
    envelope = msgspec.json.decode(file.read_bytes())
    del envelope["home"]["left"]
    envelope["crc"] = zlib.crc32(msgspec.json.encode(envelope["home"]))
    file.write_bytes(msgspec.json.encode(envelope))
    home = Home.found(ClusterFolder(tmp_path / "c"))
    assert list(home.nodes) == ["a"] and started(home) > 0


@pytest.mark.parametrize(
    ("base", "expected"),
    [(9_000, [1_050, 9_001, 64_000]), (12_000, [4_050, 12_001, 63_000]), (100, [50, 101, 55_100])],
)
def test_a_start_on_another_port_moves_no_node_to_a_port_that_there_is_not(
    tmp_path: Path, base: int, expected: list[int]
) -> None:
    nodes = tuple(NodeSpec(name=f"n{port}", host="", port=port, capacity=1) for port in (50, 8_001, 63_000))
    Home(ClusterSpec(cluster="c", nodes=nodes), ClusterFolder(tmp_path / "c"), base=8_000)
    moved = Home.found(ClusterFolder(tmp_path / "c"), "localhost", base)
    assert [node.port for node in moved.nodes.values()] == expected


def test_a_cluster_whose_home_is_lost_keeps_its_nodes_files_and_says_what_to_do(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    with Yard(Virtual(seed=1, raise_crashes=True), data=data, nodes=3) as yard:
        yard.settle()
    home = tmp_path / "0" / "home.json"
    home.unlink()
    kept = sorted(home.parent.iterdir())
    with pytest.raises(StorageDamaged, match=f"{home} is gone.*raftyard restore, or remove {home.parent}"):
        find_homes(OrchestratorSettings(data=data, nodes=3))
    assert sorted(home.parent.iterdir()) == kept and len(kept) >= 3


def test_what_a_crash_left_of_a_cluster_that_was_removed_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the crash came: after each file that was removed."""
    for files in range(5):
        folder = DataFolder(tmp_path).cluster("c")
        home = Home(ClusterSpec(cluster="c", nodes=(NODE,)), folder)
        started(home)
        left = [files]

        def unlink(file: Path, missing_ok: bool = False, left: list[int] = left) -> None:
            if not left[0]:
                raise OSError(5, "crash")
            left[0] -= 1
            os.unlink(file)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", unlink)
            try:
                home.destroy()
            except StorageBroken:
                assert not left[0]
        is_there = not files
        assert bool(DataFolder(tmp_path).clusters()) == is_there
        assert DataFolder(tmp_path).cluster("c").exists() == is_there
        folder.destroy()
        assert not folder.path.exists()


def test_a_node_that_was_removed_and_added_again_is_heard_though_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataFolder(tmp_path)
    monkeypatch.setattr(CLOCK, lambda: 1_900_000_000.0)
    with Yard(Virtual(seed=1, raise_crashes=True), data=data, nodes=3) as yard:
        yard.settle()
        name = next(name for name in yard.names() if name != yard.leader())
        yard.ask(RemoveNodeRequest(address=name))
        yard.until(lambda: name not in yard.node(yard.leader()).raft.membership.members)
        monkeypatch.setattr(CLOCK, lambda: 1_900_000_000.0 - 3600)
        yard.ask(AddNodeRequest(name=name))
        yard.until(lambda: name in yard.node(yard.leader()).raft.membership.voters)
        yard.settle()
