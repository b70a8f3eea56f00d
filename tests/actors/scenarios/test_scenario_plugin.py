"""The pytest plugin, in a pytest run of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

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


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def test_scenario_files_are_tests_whose_failure_is_their_story(folder: Path):
    (folder / "one.scenario.yaml").write_text(PASSES)
    (folder / "two.scenario.yaml").write_text(FAILS)
    (folder / "wrong.scenario.yaml").write_text("scenario: x\nversion: 1\nsteps:\n  - heel: all\n")
    (folder / "plain.yaml").write_text("no scenario")
    ran = run(folder, "--scenario-seed", "7", "--junit-xml", "report.xml")
    assert ran.returncode == 1
    assert "2 failed, 1 passed" in ran.stdout
    assert "FAILED  two leaders" in ran.stdout and "--seed 7" in ran.stdout
    assert "wrong.scenario.yaml:4:5: unknown word 'heel'; did you mean 'heal'?" in ran.stdout
    assert "Traceback" not in ran.stdout and "runtest" not in ran.stdout
    report = ElementTree.parse(folder / "report.xml")
    assert {p.get("value") for p in report.iterfind(".//property[@name='seed']")} == {"7"}


def test_seeds_by_option_with_xdist_and_the_fixture(folder: Path):
    (folder / "one.scenario.yaml").write_text(PASSES)
    (folder / "test_mine.py").write_text(FIXTURE)
    ran = run(folder, "-n2", "--scenario-seeds", "3")
    assert "9 passed" in ran.stdout, ran.stdout
    assert "3 passed" in run(folder).stdout


def test_the_plugin_loads_nothing_heavy_where_it_is_not_used(folder: Path):
    (folder / "test_plain.py").write_text(
        "import sys\n\ndef test_light():\n"
        "    assert 'raftyard.actors.scenarios.plugin' in sys.modules\n"
        "    ours = [name for name in sys.modules if name.startswith('raftyard')]\n"
        "    assert len(ours) <= 4, ours\n"
        "    assert not {'numpy', 'pykka', 'msgspec', 'yaml'} & set(sys.modules)\n"
    )
    ran = run(folder)
    assert "1 passed" in ran.stdout, ran.stdout
