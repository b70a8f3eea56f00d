"""What the program finds again after it ended, and what backup and restore bring back."""

import errno
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs
from program import ROOT, Program, program

from raftyard.actors.messages import ClusterSpec, NodeSpec
from raftyard.actors.raft.core import Restored
from raftyard.actors.raft.membership import Membership, encode_membership
from raftyard.actors.storage.base import StorageBroken
from raftyard.actors.storage.folder import DataFolder, HomeFile
from raftyard.cli.backups import CannotCopy, backup, restore

SERVICE = "/clusters/0/service"


def place(it: Program, name: str, replicas: int) -> dict[str, object]:
    status, answer = it.call(
        "POST", f"{SERVICE}?wait=executed&timeout=10s", {"container": {"name": name, "replicas": replicas}}
    )
    assert status in (200, 202), answer
    assert answer["status"] == "executed", answer
    return dict(answer)


def replicas(it: Program) -> dict[str, int]:
    return {
        service["name"]: service["replicas"] for service in it.call("GET", "/clusters/0/state")[1]["services"]
    }


def raftyard(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_everything_is_there_again_after_a_stop_and_after_a_kill(tmp_path: Path) -> None:
    with program(tmp_path) as it:
        it.start()
        last = place(it, "web", 10)
        assert it.call("POST", "/clusters", {"nodes": 1})[0] in (200, 201)
        status, node = it.call("POST", "/clusters/0/nodes", {"capacity": 7})
        assert status in (200, 201), node
        for end in (it.stop, it.kill):
            end()
            it.start()
            assert replicas(it) == {"web": 10}
            assert it.call("GET", SERVICE)[1]["service_id"] == last["service_id"]
            assert it.call("GET", "/clusters")[1]["metadata"]["count"] == 2
            assert it.call("GET", "/clusters/0/stats")[1]["node_count"] == 4
        place(it, "web", 12)
        assert replicas(it) == {"web": 12}


def test_a_start_on_another_port_takes_its_nodes_along(tmp_path: Path) -> None:
    with program(tmp_path) as it:
        it.start()
        place(it, "web", 9)
        it.stop()
        it.port += 10
        it.start()
        moved = {f"localhost:{it.port + 1 + number}" for number in range(3)}
        assert set(it.call("GET", "/clusters/0/stats")[1]["connections"]) == moved
        it.wait_for(lambda: set(it.call("GET", SERVICE)[1]["load_distribution"]) == moved)


def test_a_second_program_on_the_same_data_is_refused_in_one_line(tmp_path: Path) -> None:
    with program(tmp_path, nodes=1) as it:
        it.start()
        second = raftyard("--data", str(it.data))
        assert second.returncode == 2
        assert second.stderr.count("\n") == 1
        assert "is in use by another raftyard (process" in second.stderr


@pytest.mark.parametrize("call", ["ftruncate", "write"])
def test_a_full_disk_hinders_nobody_to_lock_the_data_and_to_let_go_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    data = DataFolder(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        data.lock()
    with pytest.raises(StorageBroken, match="is in use by another raftyard"):
        DataFolder(tmp_path).lock()
    data.unlock()
    data.lock()
    data.unlock()


def test_a_node_whose_file_is_damaged_stays_out_and_is_mended_by_adding_it_again(tmp_path: Path) -> None:
    with program(tmp_path) as it:
        it.start()
        place(it, "web", 10)
        it.stop()
        damaged = it.data / "0" / "node_1.sqlite"
        with sqlite3.connect(damaged) as database:
            database.execute("UPDATE log SET payload = x'07' WHERE idx = 2")
        database.close()
        it.start()
        stats = {node["address"]: node for node in it.call("GET", "/clusters/0/stats")[1]["nodes"]}
        address = f"localhost:{it.port + 2}"
        assert not stats[address]["accessible"]
        assert stats[address]["stats"]["state"] == "FAILED"
        assert f"{damaged} is damaged: entry 2 of the log was changed" in stats[address]["stats"]["reason"]
        assert place(it, "web", 11)["status"] == "executed"
        status, answer = it.call("DELETE", "/clusters/0/nodes", {"host": "localhost", "port": it.port + 2})
        assert status == 200, answer
        status, answer = it.call(
            "POST",
            "/clusters/0/nodes",
            {"id": "node_1", "host": "localhost", "port": it.port + 2, "capacity": 100},
        )
        assert status in (200, 201), answer
        it.stop()
        it.start()
        nodes = it.call("GET", "/clusters/0/stats")[1]["nodes"]
        assert all(node["accessible"] for node in nodes)


def test_a_cluster_whose_file_is_damaged_fails_alone_and_can_be_removed(tmp_path: Path) -> None:
    with program(tmp_path, nodes=1) as it:
        it.start()
        status, refused = it.call("PUT", "/clusters/lock", {"nodes": 1})
        assert status == 422 and "63 letters, digits" in refused["hint"]
        assert it.call("POST", "/clusters", {"nodes": 1})[0] == 201
        it.stop()
        (it.data / "1" / "home.json").write_bytes(b"{}")
        it.start()
        it.wait_for(lambda: it.call("GET", "/clusters")[1]["metadata"]["count"] == 2)
        shown = it.call("GET", "/clusters")[1]["results"][1]
        assert (shown["id"], shown["state"]) == ("1", "FAILED") and "is damaged" in shown["reason"]
        assert it.call("GET", "/clusters/1/services")[0] == 503
        place(it, "web", 3)
        assert it.call("DELETE", "/clusters/1")[0] == 200
        assert it.call("GET", "/clusters")[1]["metadata"]["count"] == 1


def test_a_backup_of_a_running_program_brings_everything_back(tmp_path: Path) -> None:
    with program(tmp_path / "one") as it:
        it.start()
        place(it, "web", 10)
        it.call("POST", "/clusters", {"nodes": 1})
        made = raftyard("backup", str(tmp_path / "file"), "--data", str(it.data))
        assert made.returncode == 0, made.stderr
        assert "2 clusters" in made.stdout
        place(it, "web", 20)
        refused = raftyard("backup", str(tmp_path / "file"), "--data", str(it.data))
        assert refused.returncode == 1
        assert "exists already" in refused.stderr
        refused = raftyard("restore", str(tmp_path / "file"), "--data", str(it.data))
        assert "is in use by another raftyard" in refused.stderr
        assert "stop that one, or name another folder" in refused.stderr
        assert "empty" not in refused.stderr
        it.stop()
        port = it.port
    with program(tmp_path / "two") as it:
        it.port = port
        put_back = raftyard("restore", str(tmp_path / "file"), "--data", str(it.data))
        assert put_back.returncode == 0, put_back.stderr
        it.start()
        assert replicas(it) == {"web": 10}
        assert it.call("GET", "/clusters")[1]["metadata"]["count"] == 2
        place(it, "web", 11)
        it.signal(signal.SIGTERM)
        it.wait()
        again = raftyard("restore", str(tmp_path / "file"), "--data", str(it.data))
        assert again.returncode == 1
        assert "holds clusters already" in again.stderr


def kept(path: Path, cluster: str, logs: dict[str, Restored]) -> DataFolder:
    """A data folder with one cluster, as a program that has ended leaves it."""
    data = DataFolder(path)
    folder = data.cluster(cluster)
    folder.path.mkdir(parents=True)
    nodes = tuple(NodeSpec(name=name, host="h", port=None, capacity=1) for name in logs)
    spec = ClusterSpec(cluster=cluster, nodes=nodes)
    folder.write(HomeFile(spec=spec, nodes=nodes, first=tuple(logs), made=tuple(logs)))
    for name, log in logs.items():
        storage = folder.storage(cluster, name, log)
        storage.load()
        storage.close()
    return data


@pytest.mark.parametrize("name", ["bank", "my bank", "a/b", "bank#1", "100%", "what?"])
@pytest.mark.parametrize("folder", ["data", "50%20off", "what?", "a#b"])
def test_a_backup_takes_any_name_and_any_folder(tmp_path: Path, folder: str, name: str) -> None:
    kept(tmp_path / folder, name, {"a": Restored.bootstrap(("a",))})
    (tmp_path / "file.part").write_text("somebody else's")
    assert "1 cluster, 0 entries" in backup(tmp_path / folder, tmp_path / "file")
    assert {path.name for path in tmp_path.iterdir()} == {folder, "file", "file.part"}


def log_of(entries: int, *voters: str) -> Restored:
    return structs.replace(Restored.bootstrap(voters), terms=(1,) * entries, payloads=(b"x",) * entries)


VOTERS = ("a", "b", "c", "d", "e")


def of_ten(path: Path, *damaged: str) -> Path:
    """Five voters, of whom three have all that was committed, and five nodes that have nothing."""
    logs = {name: log_of(0) for name in "vwxyz"}
    logs |= {name: log_of(5 if name in "abc" else 2, *VOTERS) for name in VOTERS}
    data = kept(path, "0", logs)
    for name in damaged:
        (path / "0" / f"{name}.sqlite").write_bytes(b"no database")
    return data.path


def test_a_backup_without_most_voters_is_refused_however_many_nodes_can_be_read(tmp_path: Path) -> None:
    data = of_ten(tmp_path / "data", "a", "b", "c")
    with pytest.raises(
        CannotCopy,
        match="too few voters of cluster 0 can be read, .*; mend enough of a, b, c for a majority; left",
    ):
        backup(data, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_backup_needs_no_nodes_but_most_voters(tmp_path: Path) -> None:
    data = of_ten(tmp_path / "data", "a", "b", *"vwxyz")
    assert "1 cluster, 5 entries" in backup(data, tmp_path / "file")


def test_a_backup_during_a_joint_change_needs_most_of_both_sets(tmp_path: Path) -> None:
    joint = encode_membership(Membership(voters=("d", "e", "f"), outgoing=("a", "b", "c")))
    log = structs.replace(log_of(1, "a", "b", "c"), payloads=(joint,))
    data = kept(tmp_path / "data", "0", dict.fromkeys("abcdef", log))
    (data.path / "0" / "d.sqlite").write_bytes(b"no database")
    assert "1 cluster, 1 entries" in backup(data.path, tmp_path / "one")
    (data.path / "0" / "e.sqlite").write_bytes(b"no database")
    with pytest.raises(CannotCopy, match="mend enough of d, e for a majority; left out"):
        backup(data.path, tmp_path / "two")


def test_a_cluster_in_which_nothing_happened_yet_has_a_backup_with_its_voters(tmp_path: Path) -> None:
    data = kept(tmp_path / "data", "0", {"z": log_of(0), "a": log_of(0, "a")})
    backup(data.path, tmp_path / "file")
    restore(tmp_path / "file", tmp_path / "back")
    storage = DataFolder(tmp_path / "back").cluster("0").storage("0", "a", None)
    assert storage.load().membership.voters == ("a",)
    storage.close()


def test_a_damaged_or_foreign_backup_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no zip")
    refused = raftyard("restore", str(tmp_path / "file"), "--data", str(tmp_path / "data"))
    assert refused.returncode == 1
    assert f"{tmp_path / 'file'} is no readable backup" in refused.stderr
    assert refused.stderr.count("\n") == 1
