"""What a cluster's folder keeps of the nodes that have left: how many starts they counted."""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec
import pytest
from yard import Yard

from raftyard.actors import AddNodeRequest, RemoveNodeRequest, Virtual
from raftyard.actors.frontdoor import Home
from raftyard.actors.messages import ClusterSpec, NodeSpec
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
