"""The pytest plugin, in a pytest run of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest_plugins = ["pytester"]

PASSES = "scenario: a leader is found\nversion: 1\nseed: 3\nsteps:\n  - eventually: leader is not None\n"
FAILS = "scenario: two leaders\nversion: 1\nsteps:\n  - eventually: {leaders: 2}\n    within: 2s\n"
FIXTURE = """\
import pytest

def test_the_service_survives(cluster):
    cluster.eventually("leader is not None")
    cluster.submit({"container": {"name": "web", "replicas": 10}}, within="5s")
    cluster.isolate("leader", for_="3s")
    cluster.eventually(replicas={"web": 10}, within="5s")

@pytest.mark.parametrize("cluster", [{"nodes": 3}], indirect=True)
def test_of_three(cluster):
    cluster.eventually(nodes=3)
"""


@pytest.fixture
def folder(pytester: pytest.Pytester) -> Path:
    """A folder with nothing in it, where pytest is run in this process."""
    pytester.makeini("[pytest]\n")
    return pytester.path


def test_scenario_files_are_tests_whose_failure_is_their_story(pytester: pytest.Pytester, folder: Path):
    (folder / "one.scenario.yaml").write_text(PASSES)
    (folder / "two.scenario.yaml").write_text(FAILS)
    (folder / "wrong.scenario.yaml").write_text("scenario: x\nversion: 1\nsteps:\n  - heel: all\n")
    (folder / "plain.yaml").write_text("no scenario")
    ran = pytester.runpytest_inprocess("--scenario-seed", "7", "--junit-xml", "report.xml")
    ran.assert_outcomes(passed=1, failed=2)
    text = ran.stdout.str()
    assert "FAILED  two leaders" in text and "--seed 7" in text
    assert "wrong.scenario.yaml:4:5: unknown word 'heel'; did you mean 'heal'?" in text
    assert "Traceback" not in text and "runtest" not in text
    report = ElementTree.parse(folder / "report.xml")
    assert {p.get("value") for p in report.iterfind(".//property[@name='seed']")} == {"7"}


def test_seeds_by_option_for_files_and_for_the_fixture(pytester: pytest.Pytester, folder: Path):
    (folder / "one.scenario.yaml").write_text(PASSES)
    (folder / "test_mine.py").write_text(FIXTURE)
    pytester.runpytest_inprocess("--scenario-seeds", "2").assert_outcomes(passed=6)


def test_a_promise_that_breaks_in_a_test_is_told_once_and_one_at_its_end_too(pytester: pytest.Pytester, folder: Path):
    begun = '    cluster.eventually("leader is not None")\n    cluster.always("now < 60")\n'
    (folder / "test_mine.py").write_text(
        f"def test_breaks(cluster):\n{begun}    cluster.wait('70s')\n\n"
        f"def test_ends(cluster):\n{begun}    cluster.isolate('leader', for_='70s')\n"
    )
    ran = pytester.runpytest_inprocess()
    ran.assert_outcomes(failed=1, passed=1, errors=1)
    assert ran.stdout.str().count("ERROR at teardown of test_ends") == 1


def run(folder: Path, *words: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words],
        cwd=folder,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    return ran.stdout


@pytest.mark.campaign
def test_it_works_with_xdist(folder: Path):
    (folder / "one.scenario.yaml").write_text(PASSES)
    (folder / "test_mine.py").write_text(FIXTURE)
    assert "9 passed" in run(folder, "-n2", "--scenario-seeds", "3")


def test_the_plugin_loads_nothing_heavy_where_it_is_not_used(folder: Path):
    (folder / "test_plain.py").write_text(
        "import sys\n\ndef test_light():\n"
        "    assert 'raftyard.actors.scenarios.plugin' in sys.modules\n"
        "    ours = [name for name in sys.modules if name.startswith('raftyard')]\n"
        "    assert len(ours) <= 4, ours\n"
        "    assert not {'numpy', 'pykka', 'msgspec', 'yaml'} & set(sys.modules)\n"
    )
    assert "1 passed" in run(folder)
