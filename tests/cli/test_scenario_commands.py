"""`raftyard scenario`: exit codes, and what is told."""

from __future__ import annotations

import json
from pathlib import Path

import click.testing
import pytest

from raftyard.actors.scenarios import Campaign
from raftyard.cli import main

PASSES = "scenario: a leader is found\nversion: 1\nsteps:\n  - eventually: leader is not None\n"
FAILS = "scenario: two leaders\nversion: 1\nseed: 5\nsteps:\n  - eventually: {leaders: 2}\n    within: 2s\n"
WRONG = "scenario: wrong\nversion: 1\nsteps:\n  - heel: all\n  - isolate: leeder\n"


def run(*words: object) -> click.testing.Result:
    return click.testing.CliRunner().invoke(main, ["scenario", *map(str, words)])


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    texts = {"passes": PASSES, "fails": FAILS, "wrong": WRONG}
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return {name: tmp_path / f"{name}.yaml" for name in texts}


def test_a_scenario_that_passes_ends_with_0_and_tells_its_seed(files):
    shown = run("run", files["passes"], "--seed", 7)
    assert shown.exit_code == 0
    assert shown.output.startswith("passed  a leader is found\n  seed 7, virtual clock")


def test_a_broken_promise_ends_with_1_and_the_command_that_replays_it(files):
    shown = run("run", files["fails"])
    assert shown.exit_code == 1
    command = shown.output.splitlines()[-1].removeprefix("  replay    raftyard scenario ")
    assert run(*command.split()).output.splitlines()[2:] == shown.output.splitlines()[2:]


def test_a_wrong_file_ends_with_2_and_every_mistake(files):
    for command in ("run", "check"):
        shown = run(command, files["wrong"])
        assert shown.exit_code == 2
        assert shown.output.splitlines() == [
            f"{files['wrong']}:4:5: unknown word 'heel'; did you mean 'heal'?",
            f"{files['wrong']}:5:14: no node 'leeder'; did you mean 'leader'?",
        ]


def test_a_story_of_simulated_disks_is_played_live_and_says_what_is_not_watched_there(tmp_path):
    story = tmp_path / "disks.scenario.yaml"
    story.write_text(
        "scenario: slow\nversion: 1\ncluster: {nodes: 1, disks: {sync: 5ms}}\nalways: [raft, 1 == 1]\nsteps:\n"
        "  - eventually: leader is not None\n  - disk: {slow: 20ms}\n  - write: {web: 1}\n    within: 10s\n"
    )
    shown = run("run", story, "--clock", "live", "--seed", 1)
    assert shown.exit_code == 0 and "seed 1, live clock" in shown.output
    assert "not watched here, as only the virtual clock can: raft" in shown.output


def test_stories_are_listed_shown_and_played_by_name():
    names = [line.split()[0] for line in run("list").output.splitlines()]
    assert "isolated-leader" in names
    shown = run("show", "isolated-leader")
    assert "Watch" in shown.output and "raftyard scenario run isolated-leader" in shown.output
    assert run("show", "isolated-leader", "--file").output.startswith("scenario: ")
    assert run("run", "silenced-leader", "--seed", 1).exit_code == 0
    wrong = run("run", "isolated-leder")
    assert (wrong.exit_code, wrong.output) == (
        2,
        "raftyard: no file and no story 'isolated-leder'; did you mean 'isolated-leader'?\n",
    )


def test_a_campaign_tells_what_failed_and_writes_it_smaller(files, tmp_path):
    shown = run(
        "run", files["fails"], "--seeds", 3, "--jobs", 1, "--shrunk", tmp_path / "small.scenario.yaml"
    )
    assert shown.exit_code == 1
    assert "seed 0 broke step 1 (eventually: {leaders: 2})" in shown.output
    assert run("run", tmp_path / "small.scenario.yaml").exit_code == 1


def test_files_with_dots_in_their_names_are_shrunk_to_a_file_each(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("net.one.scenario.yaml", "net.two.scenario.yaml", "plain.yaml"):
        (tmp_path / name).write_text(FAILS)
    failed = Campaign(seeds=1, done=1, failures=[(0, "step 1", "two did not lead")])
    monkeypatch.setattr("raftyard.actors.scenarios.run_campaign", lambda *_, **__: failed)
    run("run", *tmp_path.iterdir(), "--seeds", 1, "--jobs", 1)
    assert {file.name for file in tmp_path.glob("*-seed-*")} == {
        "net.one-seed-0.scenario.yaml", "net.two-seed-0.scenario.yaml", "plain-seed-0.scenario.yaml",
    }  # fmt: skip


def test_what_does_not_fail_again_is_told_and_written_as_it_is(files, tmp_path, monkeypatch: pytest.MonkeyPatch):
    # As on the live clock: what failed in the campaign passes when it is played again.
    failed = Campaign(seeds=1, done=1, failures=[(3, "step 1", "nobody led")])
    monkeypatch.setattr("raftyard.actors.scenarios.run_campaign", lambda *_, **__: failed)
    small = tmp_path / "small.yaml"
    shown = run("run", files["passes"], "--seed", 3, "--seeds", 1, "--jobs", 1, "--shrunk", small)
    assert shown.exit_code == 1 and "broke step 1: nobody led" in shown.output
    assert shown.output.endswith(f"  seed 3 did not fail again, so it was not shrunk: {small}\n")
    assert run("run", small).output.startswith("passed  a leader is found\n  seed 3")


@pytest.mark.parametrize(("clock", "wait", "kind"), [("virtual", "10m", "virtual"), ("live", "10ms", "real")])
def test_a_campaign_is_played_on_the_clock_that_is_named_and_says_which(tmp_path, clock: str, wait: str, kind: str):
    of_file = {"virtual": "live", "live": "virtual"}[clock]
    file, small = tmp_path / "long.yaml", tmp_path / "small.yaml"
    file.write_text(f"scenario: t\nversion: 1\nclock: {of_file}\nsteps: [{{wait: {wait}}}, {{expect: now < 0}}]\n")
    shown = run("run", file, "--seeds", 1, "--jobs", 1, "--clock", clock, "--shrunk", small)
    assert shown.exit_code == 1 and f"s of {kind} time" in shown.output
    assert f"clock: {clock}" in small.read_text() and f"{clock} clock" in shown.output


def test_the_mistakes_of_all_files_are_told_before_any_is_played(files, tmp_path):
    (tmp_path / "other.yaml").write_text(WRONG.replace("heel", "heap"))
    for options in ((), ("--seeds", 2)):
        shown = run("run", files["passes"], files["wrong"], "nobodys.yaml", tmp_path / "other.yaml", *options)
        assert shown.exit_code == 2 and "passed" not in shown.output
        assert [line.rpartition("/")[2].split(": ")[0] for line in shown.output.splitlines()] == [
            "wrong.yaml:4:5", "wrong.yaml:5:14", "raftyard", "other.yaml:4:5", "other.yaml:5:14",
        ]  # fmt: skip


def test_stories_are_checked_by_name():
    shown = run("check", "election", "electoin")
    assert shown.exit_code == 2
    assert "election: ok\n" in shown.output and "did you mean 'election'?" in shown.output


def test_options_that_do_not_go_together_are_named(files):
    assert "--jobs needs --seeds" in run("run", files["passes"], "--jobs", 2).output
    assert "not of a campaign" in run("run", files["passes"], "--seeds", 2, "--html", "x.html").output
    assert "is of one run" in run("run", files["passes"], files["fails"], "--html", "x.html").output


def test_several_files_are_counted(files):
    shown = run("run", files["passes"], files["fails"])
    assert shown.exit_code == 1
    assert shown.output.splitlines()[-1] == "1 of 2 passed"
    assert run("check", files["passes"], files["fails"]).exit_code == 0


def test_events_are_written_as_json_lines(files, tmp_path):
    assert run("run", files["passes"], "--seed", 1, "--events", tmp_path / "log.jsonl").exit_code == 0
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert list(events[0]) == ["cause", "cluster", "data", "kind", "node", "seq", "t_ns", "term"]


def test_the_schema_is_json():
    shown = run("schema")
    assert shown.exit_code == 0
    assert json.loads(shown.output)["title"] == "A Raftyard scenario"
