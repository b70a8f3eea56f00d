"""The stories of the package: each passes on any seed, says what to watch, and can be written and read again."""

from __future__ import annotations

import functools
import logging
import os
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import pytest
import yaml

from raftyard.actors.scenarios import (
    Outcome,
    WrongScenario,
    as_yaml,
    describe_stories,
    find_scenario,
    json_schema,
    play,
    read_scenario,
    read_scenario_file,
    stories,
    told,
)
from raftyard.actors.scenarios.document import Document

SEED = int(os.environ.get("RAFTYARD_SEED", "0"))
CAMPAIGN = 100 if os.environ.get("RAFTYARD_CAMPAIGN") == "full" else 5
NAMES = list(stories())


@functools.cache
def editor() -> jsonschema.Draft202012Validator:
    """Checks a file as an editor with the schema does."""
    return jsonschema.Draft202012Validator(json_schema())


@pytest.mark.parametrize("name", NAMES)
def test_a_story_passes(name: str):
    outcome = play(read_scenario_file(stories()[name]), seed=SEED)
    assert outcome.passed, told(outcome)


@pytest.mark.campaign
@pytest.mark.parametrize("name", NAMES)
def test_a_story_passes_on_many_seeds(name: str):
    read = read_scenario_file(stories()[name])
    for seed in range(SEED, SEED + CAMPAIGN):
        print(f"replay: raftyard scenario run {name} --seed {seed}")
        outcome = play(read, seed=seed)
        assert outcome.passed, told(outcome)


@pytest.mark.campaign
def test_every_story_passes_on_the_live_clock(caplog: pytest.LogCaptureFixture):
    """Many at a time, for most of it is waiting; those of minutes in `.ci/long` only."""
    caplog.set_level(logging.CRITICAL, "raftyard")  # what is killed on purpose says so

    def live(name: str) -> Outcome | None:
        read = read_scenario_file(stories()[name])
        is_short = play(read, seed=SEED).t_ns < 35e9
        return play(read, seed=SEED, clock="live") if is_short or CAMPAIGN == 100 else None

    with ThreadPoolExecutor(6) as pool:
        outcomes = [outcome for outcome in pool.map(live, NAMES) if outcome is not None]
    assert len(outcomes) > 15
    # Stories promise times, and a machine that plays six of them beside other things may miss one: again, alone.
    late = [outcome for outcome in outcomes if not outcome.passed]
    again = [play(read_scenario_file(outcome.file), seed=SEED, clock="live") for outcome in late]
    failed = [told(outcome) for outcome in again if not outcome.passed]
    assert not failed and len(late) <= 5, "\n".join((*failed, *map(told, late)))


def test_there_are_twenty_and_each_says_what_to_watch():
    described = describe_stories()
    assert len(described) >= 20
    assert all("Watch" in about or "watch" in about for _, _, about in described)
    assert all(len(about.split()) >= 40 for _, _, about in described)


@pytest.mark.parametrize("name", NAMES)
def test_a_story_written_anew_is_the_same_story(name: str):
    read = read_scenario_file(stories()[name])
    again = read_scenario(as_yaml(read, 5))
    assert [str(step) for step in again.steps] == [str(step) for step in read.steps]
    assert (again.cluster, again.always, again.chaos, again.seed) == (
        read.cluster,
        read.always,
        read.chaos,
        5,
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_editor_that_knows_the_schema_finds_no_mistake_in_a_story(name: str):
    editor().validate(yaml.safe_load(stories()[name].read_text()))


def test_the_schema_is_a_json_schema():
    editor().check_schema(json_schema())


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("seed:\nsteps: [{wait: 1s}]", True),
        ("seed: 5.0\nsteps: [{wait: 1s}]", True),
        ("seed: 5.5\nsteps: [{wait: 1s}]", False),
        ("cluster: {nodes: 3.0}\nsteps: [{wait: 1s}]", True),
        ("about: no steps", False),
        ("steps: []", False),
        ("steps: []\nchaos: {for: 1s}", True),
        ("chaos:", False),
        ("chaos: {for: 1s, faults: {cutt: 1}}", False),
        *(
            (f"cluster: {{disks: {{}}}}\nsteps: [{{{step}}}]", is_right)
            for step, is_right in (
                ("isolate: []", False),
                ("isolate: [leader]", True),
                ("cut: []", False),
                ("delete: []", False),
                ("rollback: []", False),
                ("undeploy: []", False),
                ("partition: []", False),
                ("partition: [[]]", False),
                ("partition: [[], [node_1]]", True),
                ("add: a-b", False),
                ("add: leader", False),
                ("add: leader2", True),
                ("add: {capacity: 0}", False),
                ("add: a.b", True),
                ("add: {name: a-b}", False),
                ("transfer: [node_1]", False),
                ("transfer: leader", False),
                ("transfer: follower", True),
                ("read: {key: web, via: all}", False),
                ("clock: {}", False),
                ("clock: {leap: null}", False),
                ("disk: {of: leader}", False),
                ("disk: {full: true}", True),
                ("settings: {}", False),
                ("expect: {}", False),
                ("expect: {leader: null}", False),
                ("expect: {replicas: {}}", False),
                ("expect: {replicas: {web: 3}}", True),
                ("scale: {}", False),
                ("update: {}", False),
                ("write: {w w: 3}", False),
                ("write: {'a.b:c@d': 3}", True),
                ("write: {..: 3}", False),
                ("drain: {of: []}", False),
                ("delay: {by: 5ms, links: []}", False),
            )
        ),
    ],
)
def test_the_schema_and_the_reader_are_of_one_mind(text: str, is_right: bool):
    text = f"scenario: t\nversion: 1\n{text}\n"
    assert editor().is_valid(Document(text, "f.yaml").value) == is_right
    if is_right:
        read_scenario(text)
    else:
        with pytest.raises(WrongScenario):
            read_scenario(text)


def test_an_editor_that_knows_the_schema_finds_mistakes():
    for wrong in ("isolate: {leader: 1}", "isolat: leader", "wait: 5", "isolate: leader, for: 4"):
        text = f"{{scenario: t, version: 1, steps: [{{{wrong}}}]}}"
        with pytest.raises(jsonschema.ValidationError):
            editor().validate(yaml.safe_load(text))


def test_a_story_is_found_by_its_name_and_a_wrong_name_is_answered_with_the_nearest():
    assert find_scenario("election") == str(stories()["election"])
    with pytest.raises(FileNotFoundError, match="did you mean 'election'?"):
        find_scenario("electoin")


def test_a_folder_hides_no_story_of_its_name_and_a_file_does(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chaos").mkdir()
    (tmp_path / "election").write_text("scenario: my own")
    assert find_scenario("chaos") == str(stories()["chaos"])
    assert find_scenario("election") == "election"
    with pytest.raises(FileNotFoundError, match="no file and no story '.'"):
        find_scenario(".")
