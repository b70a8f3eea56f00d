"""`python run.py`, as a new user meets it: every documented command line, faults, errors, and a clean end."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from yard_process import PATIENCE_S, ROOT, Reply, Yard, free_base, is_free, refuses, send, until

JSON = 'curl -X POST -H "Content-Type: application/json" -d '
# The command lines of the documentation, in their order. tests/test_readme.py compares.
LINES = (
    "curl localhost:8000/clusters",
    "curl localhost:8000/clusters/0/stats",
    JSON + """'{"container": {"id": 5, "replicas": 25}}' localhost:8000/clusters/0/service""",
    JSON
    + """'{"containers": [{"description": "container 0", "replicas": 10}, """
    + """{"description": "container 1", "replicas": 10}]}' localhost:8000/clusters/0/service""",
    JSON
    + """'{"container": {"uniq_id": 0, "label": "description"}, "replicas": 99}' """
    + "localhost:8000/clusters/0/service",
    "curl localhost:8000/clusters/0/state",
    JSON + """'{"localhost:8002": 0}' localhost:8004/connections/""",
    "curl localhost:8004/connections",
    "curl localhost:8001/",
    "curl localhost:8001/stats",
    JSON
    + """'{"id": "custom0", "host":"localhost", "port":8099, "capacity":100, "spawn":true}' """
    + "localhost:8000/clusters/0/nodes",
    'curl -X DELETE -H "Content-Type: application/json" '
    + """-d '{"host": "localhost", "port": "8001"}' localhost:8000/clusters/0/nodes""",
)
MISTYPED = JSON + """'{"container": {"id": 5, "replcas": 25}}' localhost:8000/clusters/0/service"""


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """One run for the tests of this file; each that breaks something makes a cluster of its own in it."""
    running = Yard(tmp_path_factory.mktemp("yard"))
    try:
        running.wait_for_line("leads cluster 0")
        yield running
    finally:
        code, errors = running.stop()
    assert code == 0, errors
    assert "Traceback" not in errors


class OwnCluster:
    """A further cluster of a yard, for one test."""

    def __init__(self, yard: Yard, nodes: int) -> None:
        self.yard = yard
        made = yard.call("POST", "/clusters", {"nodes": nodes})
        assert made.status == 201, made
        self.id = made.body["id"]
        self.path = f"/clusters/{self.id}"
        self.addresses = [node["address"] for node in made.body["nodes"]]
        until(lambda: self.leader)

    def stats(self) -> Any:
        return self.yard.get(f"{self.path}/stats").body

    @property
    def leader(self) -> str | None:
        leader: str | None = self.stats()["leader"]
        return leader

    def submit(self, body: Any) -> Any:
        answer = self.yard.call("POST", f"{self.path}/service?wait=executed&timeout=20s", body)
        assert answer.status == 200, answer
        return answer.body

    def set_cables(self, up: int, of: str | None = None) -> None:
        """Cut or restore every link, or every link to and from one node."""
        matrix = {
            source: {target: up for target in row if of in (None, source, target)}
            for source, row in self.stats()["connections"].items()
        }
        assert self.yard.call("PUT", f"{self.path}/connections", matrix).status == 200


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def test_before_the_install_run_py_says_how_to_install_in_one_line() -> None:
    # -I -S: an interpreter that sees no site-packages, as on a machine with nothing of ours.
    ran = subprocess.run(
        [sys.executable, "-I", "-S", ROOT / "run.py"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert not ran.stdout
    assert ran.stderr.count("\n") == 1
    assert "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/python run.py" in ran.stderr


def test_it_says_where_it_listens_and_who_leads(yard: Yard) -> None:
    took_s = time.monotonic() - yard.began
    base = yard.base
    assert yard.lines[:3] == [
        f"Raftyard listens on http://localhost:{base} (cluster 0: 5 nodes on ports {base + 1} to {base + 5})",
        f"data: {yard.folder / 'data'}",
        f"try: curl localhost:{base}/clusters/0/stats    stop: Ctrl-C",
    ]
    assert re.fullmatch(r"node_[0-4] leads cluster 0 in term \d+", yard.lines[3])
    print(f"printed within {took_s:.2f} s of the start")


def test_every_documented_line_works_in_its_order(yard: Yard) -> None:
    address = [f"localhost:{yard.base + 1 + number}" for number in range(5)]
    until(lambda: all(node["accessible"] for node in yard.get("/clusters/0/stats").body["nodes"]))
    listed, stats, *calls = (yard.curl(line) for line in LINES[:5])
    assert (listed.status, listed.body["metadata"]["count"]) == (200, len(listed.body["results"]))
    assert listed.body["results"][0]["id"] == "0"
    assert stats.status == 200
    check_cluster(stats.body, address)
    assert stats.body["leader_claims"][-1]["current"]
    for call, services in zip(calls, (["id-5"], ["container-0", "container-1"], ["id-0"]), strict=True):
        assert call.status == 202
        assert call.body["status"] in ("spreading pending", "spreading")
        path = f"/clusters/0/service/{call.body['service_id']}"
        done = until(lambda path=path: executed(yard.get(path)))  # type: ignore[misc]
        assert done["services"] == services
        assert done["log_index"] > 0

    assert calls[0].body["container"] == {"id": 5, "replicas": 25}
    assert calls[2].body["replicas"] == 99

    # A node may be a moment behind what the leader has agreed on: the line is tried until all of them show it.
    state = until(lambda: again if whole(again := yard.curl(LINES[5]), 144) else None)
    check_cluster(state.body, address)
    spread = {service["name"]: service["load_distribution"] for service in state.body["services"]}
    assert {name: sum(nodes.values()) for name, nodes in spread.items()} == {
        "id-5": 25,
        "container-0": 10,
        "container-1": 10,
        "id-0": 99,
    }
    assert spread["id-5"] == dict.fromkeys(address, 5)
    assert loads(state.body) == [29, 29, 29, 29, 28]

    row = {address[0]: 1, address[1]: 0, address[2]: 1, address[4]: 1}
    for line in LINES[6:8]:
        cut = yard.curl(line)
        assert (cut.status, cut.body) == (200, row)
    for line in LINES[8:10]:
        node = yard.curl(line)
        assert node.status == 200
        assert (node.body["host"], node.body["port"]) == ("localhost", yard.base + 1)
        assert node.body["state"] in ("LEADER", "FOLLOWER", "CANDIDATE")
        assert node.body["capacity"] == 100
        assert node.body["log"][-1]["index"] == node.body["last_index"] >= node.body["commit_index"] > 0
    # Whole again, or the node that is cut off the leader may be given no load, depending on who leads.
    yard.call("POST", "/connections", {address[1]: 1}, port=yard.base + 4)

    joined = yard.curl(LINES[10])
    assert joined.status == 201, joined
    assert joined.body == {
        "status": "ok",
        "id": "custom0",
        "address": f"localhost:{yard.base + 99}",
        "capacity": 100,
    }
    assert (
        until(lambda: None if is_free(yard.base + 99) else yard.get("/", yard.base + 99)).body["id"]
        == "custom0"
    )
    left = yard.curl(LINES[11])
    assert (left.status, left.body) == (
        200,
        {"status": "ok", "id": "node_0", "address": f"localhost:{yard.base + 1}"},
    )
    assert until(lambda: is_free(yard.base + 1))
    after = until(lambda: whole(yard.get("/clusters/0/stats"), 144))
    check_cluster(after, [*address[1:], f"localhost:{yard.base + 99}"])


def executed(reply: Reply) -> Any:
    return reply.body if reply.status == 200 and reply.body["status"] == "executed" else None


def whole(reply: Reply, replicas: int) -> Any:
    """The cluster, once all its replicas run, each node runs what it was given, and one node leads."""
    assert reply.status == 200, reply
    body = reply.body
    states = [node["stats"].get("state") for node in body["nodes"]]
    placed = sum(sum(service["load_distribution"].values()) for service in body["services"])
    is_whole = states.count("LEADER") == 1 and placed == replicas == sum(loads(body))
    return body if is_whole else None


def loads(cluster: Any) -> list[int]:
    return [node["stats"].get("load", -1) for node in cluster["nodes"]]


def check_cluster(body: Any, addresses: list[str]) -> None:
    """The original's shape."""
    assert body["id"] == "0"
    assert [node["address"] for node in body["nodes"]] == addresses
    for node in body["nodes"]:
        assert node["accessible"] is True
        assert f"{node['stats']['host']}:{node['stats']['port']}" == node["address"]
        assert {"state", "capacity", "load", "term", "leader"} <= set(node["stats"])
    assert body["connections"] == {
        source: dict.fromkeys([target for target in addresses if target != source], 1) for source in addresses
    }
    assert isinstance(body["services"], list)


def test_a_leader_cut_off_on_its_own_port_is_replaced_and_no_replica_is_lost_or_doubled(yard: Yard) -> None:
    cluster = OwnCluster(yard, 5)
    cluster.submit({"container": {"name": "web", "replicas": 25}})
    old = until(lambda: cluster.leader)
    row = yard.get("/connections", port_of(old)).body
    began = time.monotonic()
    assert yard.call("POST", "/connections", dict.fromkeys(row, 0), port_of(old)).body == dict.fromkeys(
        row, 0
    )

    new = until(lambda: leader if (leader := cluster.leader) not in (None, old) else None)
    elected_s = time.monotonic() - began
    call = cluster.submit({"container": {"name": "more", "replicas": 10}})
    print(
        f"a new leader {elected_s:.2f} s after the cut, a service {time.monotonic() - began:.2f} s after it"
    )
    assert call["placed"] == 10
    until(lambda: old not in (spread := spread_of(cluster)) and sum(spread.values()) == 35)
    print(f"its replicas elsewhere {time.monotonic() - began:.2f} s after the cut")
    claims = cluster.stats()["leader_claims"]
    assert [claim["address"] for claim in claims[-2:]] == [old, new]
    assert claims[-2]["term"] < claims[-1]["term"]

    yard.call("POST", "/connections", dict.fromkeys(row, 1), port_of(old))
    healed = until(lambda: whole(yard.get(f"{cluster.path}/stats"), 35))
    assert {service["name"]: service["replicas"] for service in healed["services"]} == {"web": 25, "more": 10}
    assert sum(claim["current"] for claim in healed["leader_claims"]) == 1
    assert yard.call("DELETE", cluster.path).status == 200


def spread_of(cluster: OwnCluster) -> dict[str, int]:
    """How many replicas each node was given, over all services."""
    spread: dict[str, int] = {}
    for service in cluster.stats()["services"]:
        for address, replicas in service["load_distribution"].items():
            spread[address] = spread.get(address, 0) + replicas
    return spread


def test_clusters_come_and_go_with_their_ports(yard: Yard) -> None:
    made = yard.call("POST", "/clusters", {"nodes": 3})
    assert made.status == 201
    path, ports = f"/clusters/{made.body['id']}", [port_of(node["address"]) for node in made.body["nodes"]]
    # From the next free hundred: 8101 to 8103 where 8000 is the orchestrator's.
    first = ports[0] - yard.base
    assert first > 100
    assert first % 100 == 1
    assert ports == [yard.base + first + number for number in range(3)]
    assert [yard.get("/", port).body["cluster"] for port in ports] == [made.body["id"]] * 3

    replaced = yard.call("PUT", path, {"nodes": 2})
    assert replaced.status == 200
    assert len(replaced.body["nodes"]) == 2
    assert until(lambda: is_free(ports[2]))
    assert yard.get("/", ports[1]).status == 200

    gone = yard.call("DELETE", path)
    assert (gone.status, gone.body["status"]) == (200, "ok")
    assert yard.get(path).status == 404
    assert until(lambda: all(is_free(port) for port in ports))


def test_the_real_answers_of_the_documentation_have_what_answers_have(yard: Yard) -> None:
    cluster = OwnCluster(yard, nodes=5)
    cluster.submit({"container": {"id": 5, "replicas": 25}})
    page = (ROOT / "docs/rest.md").read_text().partition("## Real answers")[2].partition("\n## ")[0]
    blocks = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    paths = (
        f"{cluster.path}/stats",
        f"{cluster.path}/service",
        f"{cluster.path}/nodes/{cluster.addresses[0]}/stats?log=7..8",
        "/clusters/nope",
    )
    for block, path in zip(blocks, paths, strict=True):
        shown = json.loads(block.replace(",…", ""))
        assert names_of(shown) == names_of(yard.get(path).body), path


def names_of(value: Any, path: str = "$") -> set[str]:
    """The paths of all fields. Those whose names are addresses or services, and the kinds of log entries, differ."""
    if isinstance(value, list):
        return names_of(value[0], f"{path}[]") if value else set()
    if not isinstance(value, dict):
        return {path}
    if "type" in value and "index" in value:
        return {f"{path}.{name}" for name in ("index", "term", "committed", "type") if name in value}
    return {
        name
        for key, inner in value.items()
        for name in names_of(inner, f"{path}.{'*' if ':' in key or key == 'id-5' else key}")
    } or {path}


def test_any_node_takes_a_service_call(yard: Yard) -> None:
    cluster = OwnCluster(yard, 3)
    follower = next(address for address in cluster.addresses if address != cluster.leader)
    call = yard.call("POST", "/service", {"container": {"id": 1, "replicas": 3}}, port_of(follower))
    assert call.status == 202
    done = until(lambda: executed(yard.get(f"{cluster.path}/service/{call.body['service_id']}")))
    assert done["load_distribution"] == dict.fromkeys(cluster.addresses, 1)
    assert yard.call("DELETE", cluster.path).status == 200


def test_a_burst_of_calls_is_carried_out_each_once(yard: Yard) -> None:
    # The original executed 10 of 200.
    cluster = OwnCluster(yard, 3)
    calls = [
        yard.call("POST", f"{cluster.path}/service", {"container": {"id": number, "replicas": 1}}).body
        for number in range(200)
    ]
    assert len({call["service_id"] for call in calls}) == 200
    done = until(lambda: whole(yard.get(f"{cluster.path}/stats"), 200))
    assert [service["name"] for service in done["services"]] == [f"id-{number}" for number in range(200)]
    # The same name again sets the number, it does not add.
    again = cluster.submit({"container": {"id": 7, "replicas": 3}})
    assert again["placed"] == 3
    until(lambda: whole(yard.get(f"{cluster.path}/stats"), 202))
    assert yard.call("DELETE", cluster.path).status == 200


def test_a_follower_that_was_cut_off_takes_nothing_away_when_it_is_back(yard: Yard) -> None:
    # The original's wins the next election with an empty log.
    cluster = OwnCluster(yard, 3)
    follower = next(address for address in cluster.addresses if address != cluster.leader)
    cluster.set_cables(0, of=follower)
    cluster.submit({"container": {"name": "meanwhile", "replicas": 6}})
    cluster.set_cables(1, of=follower)
    healed = until(lambda: whole(yard.get(f"{cluster.path}/stats"), 6))
    assert [service["name"] for service in healed["services"]] == ["meanwhile"]
    log = until(lambda: caught_up(yard.get("/?log=1..", port_of(follower)), healed))
    assert "SubmitCall" in [entry["type"] for entry in log]
    assert yard.call("DELETE", cluster.path).status == 200


def caught_up(node: Reply, cluster: Any) -> Any:
    """The node's log, once it has all that the cluster had committed."""
    committed = max(each["stats"]["commit_index"] for each in cluster["nodes"])
    return node.body["log"] if node.body["commit_index"] >= committed else None


def test_an_address_may_be_spelt_as_a_number(yard: Yard) -> None:
    cluster = OwnCluster(yard, 3)
    first, second, _ = cluster.addresses
    cut = yard.call("POST", "/connections/", {second.replace("localhost", "127.0.0.1"): 0}, port_of(first))
    assert cut.body[second] == 0
    assert yard.get(f"{cluster.path}/connections").body[first][second] == 0
    assert yard.call("DELETE", cluster.path).status == 200


def test_without_a_leader_its_questions_are_503_and_stats_still_answer(yard: Yard) -> None:
    cluster = OwnCluster(yard, 3)
    cluster.set_cables(0)
    until(lambda: cluster.leader is None)
    for question in ("/state", "/service"):
        answer = yard.get(cluster.path + question)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert answer.body["hint"] == "retry in 1 s"
    assert [node["accessible"] for node in cluster.stats()["nodes"]] == [True] * 3

    # Taken while nobody leads, carried out by whoever leads next.
    call = yard.call("POST", f"{cluster.path}/service", {"container": {"id": 1, "replicas": 3}})
    assert call.status == 202
    cluster.set_cables(1)
    until(lambda: executed(yard.get(f"{cluster.path}/service/{call.body['service_id']}")))
    assert yard.call("DELETE", cluster.path).status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/clusters/7777", None, 404, "no cluster '7777'"),
        ("GET", "/clusters/0/nodes/nowhere", None, 404, "no node 'nowhere' in cluster 0"),
        ("GET", "/cluster", None, 404, "/clusters"),
        ("PATCH", "/clusters", {}, 405, "GET"),
        (
            "POST",
            "/clusters/0/service",
            {"container": {"id": 5, "replcas": 2}},
            422,
            "did you mean replicas?",
        ),
        (
            "POST",
            "/clusters/0/service",
            {"container": {"id": 5, "replicas": -1}},
            422,
            "$.container.replicas",
        ),
        (
            "POST",
            "/clusters/0/service",
            {"container": {"id": 5, "replicas": "2"}},
            422,
            "$.container.replicas",
        ),
        ("POST", "/clusters/0/service?wait=5", {"container": {"id": 5, "replicas": 2}}, 400, "wait=executed"),
        ("POST", "/clusters/0/nodes", {"hots": "localhost"}, 422, "did you mean host?"),
        ("PUT", "/clusters/0/connections", {"localhost:1": {}}, 422, "$.localhost:1"),
        ("DELETE", "/clusters/0", None, 409, "cluster 0"),
        ("PUT", "/clusters/0", {"nodes": 2}, 409, "cluster 0"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(
    yard: Yard, method: str, path: str, body: Any, status: int, said: str
) -> None:
    answer = yard.call(method, path, body)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert said in json.dumps(answer.body, ensure_ascii=False)
    assert answer.body["hint"]


def test_the_documented_mistake_is_answered_as_documented(yard: Yard) -> None:
    answer = yard.curl(MISTYPED)
    assert (answer.status, answer.body["detail"]) == (422, "unknown field replcas")
    assert answer.body["errors"][0]["path"] == "$.container.replcas"


def test_a_body_that_is_not_json_is_a_400(yard: Yard) -> None:
    answer = yard.curl(JSON + "'{\"container\": ' localhost:8000/clusters/0/service")
    assert answer.status == 400
    assert answer.body["detail"].startswith("the body is not JSON")


def test_a_node_on_a_port_that_is_taken_is_a_409(yard: Yard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = yard.call("POST", "/clusters/0/nodes", {"port": port})
        assert answer.status == 409
        assert f"port {port}" in answer.body["detail"]
    assert port not in [node["stats"]["port"] for node in yard.get("/clusters/0/stats").body["nodes"]]


def test_a_second_run_on_the_same_port_says_which_and_how_to_change_it(yard: Yard, tmp_path: Path) -> None:
    said = refuses(tmp_path, PORT=str(yard.base))
    assert said == (
        f"raftyard: port {yard.base} is in use; stop what listens there, or set PORT in .env or the environment "
        f"(PORT={yard.base + 1000} python run.py)"
    )


def test_a_node_s_port_that_is_taken_is_named_too(tmp_path: Path) -> None:
    base = free_base()
    with socket.create_server(("127.0.0.1", base + 3)):
        assert f"port {base + 3} of node_2 is in use" in refuses(tmp_path, PORT=str(base))


def test_a_bad_setting_is_named_with_what_was_expected(tmp_path: Path) -> None:
    assert refuses(tmp_path, PORT="80x") == (
        "raftyard: PORT=80x: expected a whole number from 1 to 65535; set PORT in .env or the environment"
    )
    (tmp_path / ".env").write_text("NODES=none\n")
    assert "NODES=none" in refuses(tmp_path)


def test_an_address_that_others_can_reach_needs_a_token(tmp_path: Path) -> None:
    said = refuses(tmp_path, DEFAULT_HOST="0.0.0.0", PORT=str(free_base()))
    assert "DEFAULT_HOST=0.0.0.0" in said
    assert "TOKEN" in said


def test_an_address_that_the_machine_has_not_is_named_with_its_setting(tmp_path: Path) -> None:
    said = refuses(tmp_path, DEFAULT_HOST="203.0.113.5", TOKEN="t" * 32, PORT=str(free_base()))
    assert "DEFAULT_HOST=203.0.113.5" in said
    assert "203.0.113.5 is no address of this machine; name one that it has" in said


def test_on_every_address_of_the_machine_nodes_answer_on_their_ports_and_are_known_by_their_addresses(
    tmp_path: Path,
) -> None:
    yard = Yard(tmp_path, NODES="2", DEFAULT_HOST="0.0.0.0", TOKEN="t" * 32)
    try:
        yard.wait_for_line(f"listens on http://localhost:{yard.base}")
        yard.wait_for_line("leads cluster 0")
        for url in (
            f"http://localhost:{yard.base + 1}/stats",
            f"http://127.0.0.1:{yard.base + 2}/connections",
            f"http://localhost:{yard.base}/clusters/0/nodes/0.0.0.0:{yard.base + 1}",
        ):
            assert send("GET", url, None, {"Authorization": "Bearer " + "t" * 32}).status == 200, url
    finally:
        code, errors = yard.stop()
    assert code == 0, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_a_request_under_way_is_answered(tmp_path: Path, number: int) -> None:
    yard = Yard(tmp_path, NODES="3")
    try:
        yard.wait_for_line("leads cluster 0")
        addresses = [f"localhost:{yard.base + 1 + node}" for node in range(3)]
        nobody = {source: {target: 0 for target in addresses if target != source} for source in addresses}
        assert yard.call("PUT", "/clusters/0/connections", nobody).status == 200
        # Without a majority the call cannot be carried out, so its request is under way for as long as it said.
        with socket.create_connection(("127.0.0.1", yard.base)) as caller:
            body = b'{"container": {"id": 1, "replicas": 1}}'
            caller.sendall(
                b"POST /clusters/0/service?wait=executed&timeout=1s HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            assert yard.get("/clusters/0/stats").status == 200  # the server has read what came before
            code, errors = yard.stop(number)
            with caller.makefile("rb") as answer:
                assert answer.read().startswith(b"HTTP/1.1 50")
        assert (code, yard.lines[-1]) == (0, "stopping: requests in flight are finished")
        assert "Traceback" not in errors
        assert all(is_free(yard.base + offset) for offset in range(4))
    finally:
        yard.process.kill()
        yard.process.wait(PATIENCE_S)


def test_it_finds_the_settings_in_a_file_and_the_environment_beats_it(tmp_path: Path) -> None:
    base = free_base()
    (tmp_path / ".env").write_text("NODES=4\nCAPACITY=7\nTOKEN=secret\n")
    yard = Yard(tmp_path, PORT=str(base), NODES="1")
    try:
        yard.wait_for_line("leads cluster 0")
        where = f"cluster 0: 1 node on port {base + 1}"
        assert yard.lines[0] == f"Raftyard listens on http://localhost:{base} ({where})"
        refused = yard.get("/clusters/0/stats")
        assert refused.status == 401
        assert "Bearer" in refused.body["hint"]
        line = f"curl -H 'Authorization: Bearer secret' localhost:{base}/clusters/0/stats"
        nodes = until(lambda: yard.curl(line).body["nodes"])
        assert [node["stats"]["capacity"] for node in nodes] == [7]
    finally:
        assert yard.stop()[0] == 0
