"""`raftyard stack` and `raftyard plan`, as clients of a running program; and what they say where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click.testing
import pytest
from program import Program, program

from raftyard.cli import main

SHOP = """
version: "3.8"
services:
  web:
    image: shop:${TAG:-1}
    ports: [8443:443]
    depends_on: [db]
    deploy: {replicas: 2}
  db:
    image: postgres:17
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program(tmp_path_factory.mktemp("clients")) as made:
        made.start()
        # A leader may answer before its first entry, which records the nodes: until then there is no room for anything.
        made.wait_for(lambda: all("availability" in node["stats"] for node in nodes_of(made)))
        yield made


def nodes_of(made: Program) -> list[dict]:
    return made.call("GET", "/clusters/0")[1]["nodes"]


@pytest.fixture
def raftyard(running: Program, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAFTYARD_API", f"localhost:{running.port}")

    def run(*arguments: str) -> click.testing.Result:
        return click.testing.CliRunner().invoke(main, arguments)

    yield run
    for stack in running.call("GET", "/clusters/0/stacks")[1]["results"]:
        running.call("DELETE", f"/clusters/0/stacks/{stack['name']}")


@pytest.fixture
def shop(tmp_path: Path) -> str:
    (tmp_path / "shop.yaml").write_text(SHOP)
    return str(tmp_path / "shop.yaml")


def wait_until_placed(running: Program, stack: str, replicas: int) -> None:
    running.wait_for(lambda: running.call("GET", f"/clusters/0/stacks/{stack}")[1]["placed"] == replicas)


def test_a_stack_is_planned_deployed_shown_listed_and_removed(running, raftyard, shop, monkeypatch) -> None:
    planned = raftyard("plan", "stack", shop, "shop")
    assert planned.exit_code == 0, planned.output
    assert "3 start" in planned.stdout
    assert "to do just this: --version 0" in planned.stdout
    assert "$.version: ignored" in planned.stderr

    deployed = raftyard("stack", "deploy", shop, "shop", "--version", "0")
    assert deployed.exit_code == 0
    assert "shop_web" in deployed.stdout
    assert "$.version: ignored" in deployed.stderr
    wait_until_placed(running, "shop", 3)

    listed = raftyard("stack", "list").stdout.splitlines()
    assert listed[0].split() == ["STACK", "VERSION", "SERVICES", "REPLICAS", "PLACED", "WAIT"]
    assert listed[1].split()[0] == "shop"
    assert "shop:1" in raftyard("stack", "show", "shop").stdout
    assert json.loads(raftyard("stack", "show", "shop", "--json").stdout)["placed"] == 3

    monkeypatch.setenv("TAG", "2")
    assert 'image: "shop:1" -> "shop:2", which replaces' in raftyard("plan", "stack", shop, "shop").stdout

    assert raftyard("stack", "deploy", shop, "shop", "--version", "1").exit_code == 1
    assert raftyard("stack", "remove", "shop").exit_code == 0
    gone = raftyard("stack", "show", "shop")
    assert (gone.exit_code, gone.stderr.splitlines()[0]) == (4, "raftyard: no stack 'shop' in cluster 0")


def test_a_plan_that_leaves_something_waiting_ends_with_1_and_says_why(raftyard) -> None:
    planned = raftyard("plan", "service", "big", "--patch", "{}", "--replicas", "500")
    assert planned.exit_code == 4
    planned = raftyard("plan", "loss", "node_0", "node_1")
    assert planned.exit_code == 0
    assert "only 1 of 3 voters would be left" in planned.stdout
    assert json.loads(raftyard("plan", "drain", "node_0", "--json").stdout)["plan"] == "drain"


def test_every_node_in_turn_is_asked_about(running, raftyard) -> None:
    told = raftyard("plan", "loss", "--each")
    assert told.exit_code == 0
    assert "of 3 nodes, 3 could be lost alone" in told.stdout
    running.call("PUT", "/clusters/0/services/full", {"replicas": 290})
    running.wait_for(lambda: running.call("GET", "/clusters/0/services/full")[1]["placed"] == 290)
    told = raftyard("plan", "loss", "--each")
    running.call("DELETE", "/clusters/0/services/full")
    assert told.exit_code == 1
    assert "more would wait (full 9" in told.stdout


def test_a_plan_says_for_whom_others_have_to_go(running, raftyard) -> None:
    running.call("PUT", "/clusters/0/services/low", {"replicas": 300, "priority": 0})
    running.wait_for(lambda: running.call("GET", "/clusters/0/services/low")[1]["placed"] == 300)
    running.call("PATCH", "/clusters/0/settings", {"preemption": True})
    running.call("PUT", "/clusters/0/services/big", {"replicas": 0, "priority": 90})
    planned = raftyard("plan", "service", "big", "--replicas", "2")
    running.call("PATCH", "/clusters/0/settings", {"preemption": False})
    for name in ("low", "big"):
        running.call("DELETE", f"/clusters/0/services/{name}")
    assert planned.exit_code == 1, planned.output
    assert "    2 make room for big, whose priority is higher" in planned.stdout.splitlines()
    assert "preempted by big" in planned.stdout


def test_a_spec_is_planned_from_a_file(raftyard, tmp_path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text('{"image": "nginx", "replicas": 500}')
    planned = raftyard("plan", "service", "big", "--spec", str(spec))
    assert planned.exit_code == 1
    assert "+ big: 500 replicas, version 0: 300 start, 200 wait" in planned.stdout
    assert "0 of 100 slots free, 1 needed" in planned.stdout
    assert raftyard("plan", "service", "big", "--spec", str(spec), "--replicas", "3").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("plan", "service", "web"), 2, "--spec, --patch, --replicas or --image"),
        (("plan", "service", "web", "--patch", "{"), 2, "is no JSON"),
        (("plan", "service", "web", "--patch", '{"priority": NaN}'), 2, "NaN and infinity cannot be sent"),
        (("plan", "drain", "node_0", "--deadline", "inf"), 2, "NaN and infinity cannot be sent"),
        (("stack", "show", ""), 2, "an empty name names nothing"),
        (("stack", "remove", ""), 2, "an empty name names nothing"),
        (("plan", "loss"), 2, "name the nodes, or say --each"),
        (("plan", "drain", "node_77"), 4, "no node 'node_77'"),
        (("plan", "drain", "node_0", "--cluster", "7"), 4, "no cluster '7'"),
        (("stack", "deploy", "nothing.yaml", "shop"), 2, "does not exist"),
    ],
)
def test_what_cannot_be_asked_ends_with_the_code_that_says_so(raftyard, arguments, code, told) -> None:
    ran = raftyard(*arguments)
    assert ran.exit_code == code
    assert told in ran.output


def test_what_is_wrong_in_a_document_is_told_with_its_path(raftyard, tmp_path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("services: {web: {deploy: {replica: 3}}}")
    ran = raftyard("stack", "deploy", str(file), "shop")
    assert ran.exit_code == 2
    assert "$.services.web.deploy.replica" in ran.stderr
    assert "did you mean replicas?" in ran.stderr


def test_without_a_program_there_is_no_answer(monkeypatch) -> None:
    ran = click.testing.CliRunner().invoke(main, ["stack", "list", "--api", "localhost:1"])
    assert ran.exit_code == 3
    assert "start it with: raftyard serve" in ran.stderr
