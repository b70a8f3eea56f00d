"""Nested clusters over REST, in a program that is killed, started anew, and restored from a backup."""

from pathlib import Path
from typing import Any

from program import Program, program
from test_restart import raftyard

INNER = "0.inner"
NESTED = {"container": {"name": "inner", "replicas": 3, "slots": 20, "cluster": {}}}


def call(it: Program, method: str, path: str, body: Any = None) -> dict[str, Any]:
    status, answer = it.call(method, path, body)
    assert status in (200, 201, 202), (status, answer)
    return dict(answer)


def leader(it: Program) -> bool:
    status, answer = it.call("GET", f"/clusters/{INNER}/stats")
    return status == 200 and answer["leader"] is not None


def replicas(it: Program) -> dict[str, int]:
    it.wait_for(lambda: it.call("GET", f"/clusters/{INNER}/state")[0] == 200)
    return {s["name"]: s["placed"] for s in it.call("GET", f"/clusters/{INNER}/state")[1]["services"]}


def test_a_nested_cluster_outlasts_a_kill_and_a_restore_and_ends_with_its_service(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with program(tmp_path / "one") as it:
        it.start()
        made = call(it, "POST", "/clusters/0/service?wait=executed&timeout=10s", NESTED)
        assert made["clusters"] == {"inner": INNER}
        it.wait_for(lambda: leader(it))
        web = {"container": {"name": "web", "replicas": 9}}
        call(it, "POST", f"/clusters/{INNER}/service?wait=executed&timeout=10s", web)
        listed = call(it, "GET", "/clusters")["results"]
        assert [(one["id"], one.get("parent")) for one in listed] == [
            ("0", None),
            (INNER, {"cluster": "0", "service": "inner"}),
        ]
        assert call(it, "GET", "/clusters/0/services/inner")["cluster"] == {"id": INNER}
        nodes = [node["address"] for node in listed[1]["nodes"]]
        it.kill()
        it.start()
        it.wait_for(lambda: leader(it))
        assert replicas(it) == {"web": 9}
        backup = raftyard("backup", str(tmp_path / "file"), "--data", str(it.data))
        assert backup.returncode == 0, backup.stderr
        status, problem = it.call("DELETE", f"/clusters/{INNER}")
        assert (status, problem["hint"]) == (409, "DELETE /clusters/0/services/inner")
        assert it.call("POST", f"/clusters/{INNER}/nodes", {})[0] == 409
        call(it, "DELETE", "/clusters/0/services/inner")
        it.wait_for(lambda: it.call("GET", f"/clusters/{INNER}")[0] == 404)
        it.wait_for(lambda: not (it.data / INNER).exists())
    with program(tmp_path / "two") as it:
        assert raftyard("restore", str(tmp_path / "file"), "--data", str(it.data)).returncode == 0
        it.start()
        it.wait_for(lambda: leader(it))
        assert replicas(it) == {"web": 9}
        assert [node["address"] for node in call(it, "GET", f"/clusters/{INNER}")["nodes"]] == nodes
