"""Scenarios on a cluster that runs already, in a program of its own, and copies of what happened there."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from click.testing import CliRunner, Result
from yard_process import PATIENCE_S, Yard, free_base, until

from raftyard.actors.scenarios import play, read_scenario_file, stories
from raftyard.cli import main
from raftyard.cli.remote import PAGE, all_events

HEAD = "scenario: remote\nversion: 1\nalways: [at-most-one-leader-per-term, linearizable, raft]\nsteps:\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    made = Yard(tmp_path_factory.mktemp("yard"), DATA_DIR="data")
    try:
        made.wait_for_line("leads cluster 0")
        yield made
    finally:
        made.stop()


@pytest.fixture
def yard(running: Yard) -> Iterator[Yard]:
    """The one cluster of this file, which each test gives back as it got it, but for its services."""
    yield running
    until(lambda: running.get("/clusters/0/stats").body["leader"])
    assert how_it_is(running) == AS_STARTED


AS_STARTED = {
    "clusters": ["0"],
    "nodes": {f"node_{i}": "active" for i in range(5)},
    "cables": {1},
    "links": {"delay": "0ms", "loss": 0},
    "preemption": False,
}


def how_it_is(yard: Yard) -> dict[str, object]:
    nodes = [row["stats"]["id"] for row in yard.get("/clusters/0/nodes").body["results"]]
    link = yard.get("/clusters/0/links/node_1/node_3").body
    return {
        "clusters": [cluster["id"] for cluster in yard.get("/clusters").body["results"]],
        "nodes": {node: yard.get(f"/clusters/0/nodes/{node}").body["availability"] for node in sorted(nodes)},
        "cables": cables(yard),
        "links": {field: link[field] for field in ("delay", "loss")},
        "preemption": yard.get("/clusters/0/settings").body["preemption"],
    }


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["scenario", *map(str, words)])


def played(folder: Path, yard: Yard, steps: str, *words: object) -> Result:
    file = folder / "remote.scenario.yaml"
    file.write_text(HEAD + "\n".join(f"  {line}" for line in steps.strip().splitlines()))
    return run("run", file, "--url", f"localhost:{yard.base}", *words)


def cables(yard: Yard) -> set[int]:
    return {up for row in yard.get("/clusters/0/connections").body.values() for up in row.values()}


def all_take_load(yard: Yard) -> bool:
    """Nobody is taken for lost: what is placed next is spread over every node."""
    nodes = [row["stats"]["id"] for row in yard.get("/clusters/0/nodes").body["results"]]
    return all(yard.get(f"/clusters/0/nodes/{node}").body["status"] == "ready" for node in nodes)


def test_the_verbs_reach_a_cluster_that_runs_already(yard: Yard, tmp_path: Path):
    log = tmp_path / "events.jsonl"
    shown = played(
        tmp_path,
        yard,
        """
- write: {web: 10}
  within: 20s
- submit: {container: {name: db, replicas: 5}}
  within: 20s
- update: {api: {image: 'a:0', replicas: 3}}
  within: 10s
- update: {api: {image: 'a:1'}}
- rollback: api
- delete: api
  within: 10s
- update: {api: {image: 'a:1', replicas: 3}}
  within: 20s
- scale: {api: 4}
  within: 20s
- isolate: leader
  for: 3s
- eventually: happened('leader-elected') >= 1
  within: 20s
- read: web
  within: 20s
- delay: {by: 5ms, links: node_0-node_1}
  for: 1s
- add: extra
- drain: extra
  within: 20s
- remove: extra
- eventually: {replicas: {web: 10, db: 5, api: 4}, leaders: 1, nodes: 5}
  within: 30s
""",
        "--events",
        log,
    )
    assert shown.exit_code == 0, shown.output
    assert "not watched here, as only the virtual clock can: raft" in shown.output
    heard = {json.loads(line)["kind"] for line in log.read_text().splitlines()}
    assert {"link-cut", "leader-elected", "tasks-placed", "call-executed", "node-removed", "fault-ended"} <= heard
    assert cables(yard) == {1}
    assert yard.get("/clusters/0/links/node_0/node_1").body["delay"] == "0ms"


def test_rebalances_stacks_labels_and_settings_reach_a_cluster_that_runs_already(yard: Yard, tmp_path: Path):
    steps = """
- deploy: {stack: shop, services: {web: {image: 'a:1', deploy: {replicas: 60}}}}
  within: 20s
- add: late
- rebalance: {max_moves: 4, max_parallel: 2}
  within: 20s
- expect: node('late').load == 4
- rebalance: 1
- eventually: node('late').load == 5
  within: 20s
- label: {late: {zone: a, rack: r}}
- label: {late: {rack: null}}
- settings: {preemption: true}
- drain: {of: late, max_parallel: 5, deadline: 10s}
  within: 20s
- undeploy: shop
  within: 20s
"""
    until(lambda: all_take_load(yard) or None)  # an earlier story may just have given a node back
    try:
        shown = played(tmp_path, yard, steps)
        assert shown.exit_code == 0, shown.output
        late = yard.get("/clusters/0/nodes/late").body
        assert (late["labels"], late["availability"]) == ({"zone": "a"}, "active")
        assert yard.get("/clusters/0/settings").body["preemption"] is True
        assert yard.get("/clusters/0/stacks").body["metadata"]["count"] == 0
        assert yard.call("PATCH", "/clusters/0/settings", {"preemption": False}).status == 200
    finally:
        assert yard.call("DELETE", "/clusters/0/nodes/late").status == 200


def test_a_story_that_fails_there_leaves_nothing_broken_behind(yard: Yard, tmp_path: Path):
    shown = played(tmp_path, yard, "- isolate: follower\n- loss: 10%\n- expect: {leaders: 9}")
    assert shown.exit_code == 1 and "1 nodes lead, not 9" in shown.output
    assert shown.output.rstrip().endswith(f"--url http://localhost:{yard.base}/clusters/0")
    assert cables(yard) == {1}
    assert yard.get("/clusters/0/links/node_0/node_1").body["loss"] == 0


def test_what_was_broken_there_before_is_as_broken_afterwards(yard: Yard, tmp_path: Path):
    assert yard.call("PUT", "/clusters/0/connections", {"node_1": {"node_2": 0}}).status == 200
    assert yard.call("PUT", "/clusters/0/links/node_1/node_3", {"delay": "30ms", "loss": 0.125}).status == 200
    until(lambda: yard.call("PATCH", "/clusters/0/nodes/node_2", {"availability": "pause"}).status == 200)
    steps = """
- isolate: node_2
  for: 200ms
- delay: {by: 5ms, links: node_1-node_3}
- drain: node_2
- loss: 1%
  for: 200ms
- cut: node_1-node_2
- heal: all
"""
    try:
        shown = played(tmp_path, yard, steps)
        assert shown.exit_code == 0, shown.output
        row = yard.get("/clusters/0/nodes/node_1/connections").body
        assert [up for address, up in row.items() if address.endswith(str(yard.base + 3))] == [0]
        assert sum(not up for row in yard.get("/clusters/0/connections").body.values() for up in row.values()) == 1
        link = yard.get("/clusters/0/links/node_1/node_3").body
        assert (link["delay"], link["loss"]) == ("30ms", 0.125)
        assert yard.get("/clusters/0/links/node_3/node_1").body["delay"] == "0ms"
        assert yard.get("/clusters/0/nodes/node_2").body["availability"] == "pause"
    finally:
        yard.call("PUT", "/clusters/0/connections", {"node_1": {"node_2": 1}})
        yard.call("PUT", "/clusters/0/links/node_1/node_3", {})
        yard.call("PATCH", "/clusters/0/nodes/node_2", {"availability": "active"})


@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_run_that_is_stopped_mends_what_it_broke_and_says_so(
    yard: Yard, tmp_path: Path, number: signal.Signals, code: int, name: str
):
    file = tmp_path / "long.scenario.yaml"
    file.write_text(f"{HEAD}  - loss: 10%\n  - drain: node_1\n  - isolate: node_2\n  - wait: 10m\n")
    where = f"http://localhost:{yard.base}/clusters/0"
    program = [sys.executable, "-c", "from raftyard.cli import main; main()"]
    command = [*program, "scenario", "run", str(file), "--url", where]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: cables(yard) == {0, 1} or None)
        assert availability(yard) == "drain"
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert (process.returncode, err) == (code, "")
    first, second, third = out.splitlines()
    assert first == f"stopped by {name}: remote"
    assert second.startswith("  at ") and re.search(r" s, step [34] \((isolate: node_2|wait: 10m)\)$", second)
    assert third == f"  what it had broken at {where} is mended"
    assert cables(yard) == {1} and availability(yard) == "active"
    assert yard.get("/clusters/0/links/node_0/node_1").body["loss"] == 0


def availability(yard: Yard) -> str:
    return str(yard.get("/clusters/0/nodes/node_1").body["availability"])


INSIDE = re.compile(r"^chaos:|^  - (crash|restart|pause|resume|wipe|disk|clock):| in: 0", re.M)
PLAYABLE = [
    name
    for name, path in stories().items()
    if not INSIDE.search(path.read_text())
]
"""The stories of which nothing reaches into a process."""
IS_FULL = os.environ.get("RAFTYARD_CAMPAIGN") == "full"


@pytest.mark.campaign
@pytest.mark.parametrize("name", PLAYABLE)
def test_a_story_passes_on_a_cluster_that_has_run_for_a_while(name: str, tmp_path: Path):
    """Those of more than half a minute in full campaigns only. They promise times, and a busy machine may miss one."""
    if not IS_FULL and play(read_scenario_file(stories()[name]), seed=1).t_ns > 35e9:
        pytest.skip("takes minutes of real time")
    shown = ""
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        fresh = Yard(folder, DATA_DIR="data")
        try:
            fresh.wait_for_line("leads cluster 0")
            result = run("run", name, "--url", f"localhost:{fresh.base}")
        finally:
            fresh.stop()
        if result.exit_code == 0:
            return
        shown = result.output
    raise AssertionError(shown)


def test_the_first_leader_of_a_story_may_have_been_elected_before_it(yard: Yard, tmp_path: Path):
    steps = """
- expect: happened('leader-elected') == 1
- isolate: leader
  for: 3s
- eventually: happened('leader-elected') == 2
  within: 20s
"""
    shown = played(tmp_path, yard, steps)
    assert shown.exit_code == 0, shown.output


def test_the_leadership_is_handed_over_there_and_a_node_that_cannot_lead_is_told(yard: Yard, tmp_path: Path):
    shown = played(tmp_path, yard, "- transfer: node_1\n- expect: leader == 'node_1'\n- transfer: node_2")
    assert shown.exit_code == 0, shown.output
    assert yard.get("/clusters/0/nodes/node_2/stats").body["state"] == "LEADER"
    shown = played(tmp_path, yard, "- cut: node_2->node_1\n- transfer: node_1")
    assert shown.exit_code == 1
    assert "did not take over in time" in shown.output


def test_what_cannot_be_done_there_is_told_of_all_files(yard: Yard, tmp_path: Path):
    for verb in ("crash", "pause"):
        (tmp_path / f"{verb}.yaml").write_text(f"scenario: t\nversion: 1\nsteps: [{{{verb}: leader}}]\n")
    shown = run("run", tmp_path / "crash.yaml", tmp_path / "pause.yaml", "--url", f"localhost:{yard.base}")
    assert shown.exit_code == 2
    assert "crash cannot be done" in shown.output and "pause cannot be done" in shown.output


def test_the_nodes_of_a_story_are_those_that_run_there(yard: Yard, tmp_path: Path):
    until(lambda: yard.call("POST", "/clusters/0/nodes", {"id": "custom0", "spawn": True}).status in (201, 409))
    try:
        shown = played(tmp_path, yard, "- isolate: custom0\n  for: 100ms\n- expect: node('custom0').role != 'leader'")
        assert shown.exit_code == 0, shown.output
        first, second, *_ = shown.output.splitlines()
        where = f"http://localhost:{yard.base}/clusters/0"
        assert first == f"{where} runs already: it has 6 nodes, where remote would start 5"
        assert second == "passed  remote"
        wrong = played(tmp_path, yard, "- isolate: node_5\n- add: {}\n- isolate: node_5")
        assert wrong.exit_code == 2 and wrong.output.count("no node 'node_5'") == 1
    finally:
        assert yard.call("DELETE", "/clusters/0/nodes/custom0").status == 200


def test_a_cluster_that_runs_is_not_what_the_file_would_start_and_that_is_said(yard: Yard, tmp_path: Path):
    file = tmp_path / "shaped.scenario.yaml"
    shape = "cluster: {nodes: 3, links: {delay: 20ms}}"
    file.write_text(f"scenario: shaped\nversion: 1\n{shape}\nsteps:\n  - isolate: node_4\n    for: 10ms\n")
    shown = run("run", file, "--url", f"localhost:{yard.base}")
    assert shown.exit_code == 0, shown.output
    said = "it has 5 nodes, where shaped would start 3; what the file says of it under `cluster:` does not change it"
    assert shown.output.splitlines()[0].endswith(f" runs already: {said}")


def test_what_cannot_be_done_there_is_said_before_anything_is_done(yard: Yard, tmp_path: Path):
    before = yard.get("/events?limit=1").body["metadata"]["last_seq"]
    shown = played(tmp_path, yard, "- isolate: leader\n- crash: leader\n- clock: {leap: 1s}")
    assert shown.exit_code == 2
    assert [line.split("yaml:")[1] for line in shown.output.splitlines()] == [
        "6:5: crash cannot be done to a cluster that runs already",
        "7:5: clock cannot be done to a cluster that runs already",
    ]
    assert yard.get("/events?limit=1").body["metadata"]["last_seq"] == before
    refused = played(tmp_path, yard, "- update: {web: {replicas: 2, mode: global}}")
    assert refused.exit_code in (1, 2), refused.output


def test_an_address_at_which_nobody_answers_ends_with_3_and_one_that_is_none_with_2(yard: Yard, tmp_path: Path):
    file = tmp_path / "short.scenario.yaml"
    file.write_text(HEAD + "  - wait: 1ms\n")
    nobody = run("run", file, "--url", f"localhost:{free_base()}")
    assert nobody.exit_code == 3 and "nobody answers at http://localhost:" in nobody.output
    unknown = run("run", file, "--url", f"localhost:{yard.base}/clusters/7")
    assert (unknown.exit_code, unknown.output) == (4, "raftyard: no cluster '7'; the clusters are 0\n")
    assert run("run", file, "--url", "ftp://localhost").exit_code == 2
    assert run("record", tmp_path / "log.jsonl", "--url", "localhost:abc").exit_code in (2, 3)
    assert "leave --clock out" in run("run", file, "--url", "x:1", "--clock", "virtual").output
    assert "--url is of a single run" in run("run", file, "--url", "x:1", "--seeds", "2").output


def test_what_happened_is_copied_and_shown_as_a_timeline(yard: Yard, tmp_path: Path):
    log, page = tmp_path / "log.jsonl", tmp_path / "page.html"
    copied = run("record", log, "--url", f"http://localhost:{yard.base}")
    assert copied.exit_code == 0, copied.output
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    assert events[0]["kind"] == "leader-elected" and copied.output == f"{log}: {len(events)} events\n"
    assert run("timeline", log, page).exit_code == 0
    assert "leader-elected" in page.read_text()
    assert yard.call("POST", "/clusters", {"id": "tea", "nodes": 3}).status == 201
    added = "/clusters/tea/events?kinds=node-added"
    until(lambda: len(yard.get(added).body["results"]) == 3 or None)
    assert run("record", log, "--url", f"http://localhost:{yard.base}/clusters/tea").exit_code == 0
    assert run("timeline", log, page).exit_code == 0
    assert '"nodes":["node_0","node_1","node_2"]' in page.read_text()
    assert "it tells of tea" in run("timeline", log, page, "--cluster", "0").output
    assert yard.call("DELETE", "/clusters/tea").status == 200
    assert run("record", log, "--url", f"localhost:{free_base()}").exit_code == 3


class Busy:
    """A program that keeps 2,500 events, and in which one more happens at each request."""

    def __init__(self) -> None:
        self.newest = 2_500

    def events(self, since: int, wait_s: int | None = None) -> tuple[list[dict[str, Any]], int, None]:
        self.newest += 1
        page = [{"seq": seq} for seq in range(since + 1, self.newest + 1)][:PAGE]
        return page, page[-1]["seq"], None


def test_copying_what_happened_ends_in_time_also_where_something_happens_all_the_time():
    program, is_over = Busy(), Event()
    pages = all_events(program, is_over)  # type: ignore[arg-type]
    copied = [event["seq"] for page, _ in islice(pages, 5) for event in page]
    is_over.set()
    copied += [event["seq"] for page, _ in islice(pages, 3) for event in page]
    assert copied == [*range(1, program.newest + 1)] and program.newest <= 2_506
    # What was kept before is copied whole, however early the end comes.
    assert sum(len(page) for page, _ in islice(all_events(Busy(), is_over), 99)) >= 2_500  # type: ignore[arg-type]
