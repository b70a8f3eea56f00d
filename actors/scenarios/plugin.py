"""A pytest plugin: files that end in `.scenario.yaml` are tests, and `cluster` is a fixture with one to hurt.

    def test_the_service_survives(cluster):
        cluster.eventually("leader is not None")
        cluster.submit({"container": {"name": "web", "replicas": 10}}, within="5s")
        cluster.isolate("leader")
        cluster.eventually(replicas={"web": 10}, within="5s")

`--scenario-seeds N` plays every file, and every test with the fixture, on N seeds (from `--scenario-seed` on).
It is part of every pytest run where Raftyard is installed, so it loads nothing before it is needed.
"""

# Types are checked where pytest is not installed, too.
# mypy: disable-error-code="import-not-found,misc,untyped-decorator"

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["ScenarioFile", "ScenarioItem"]

_END = ".scenario.yaml"
_FAILED_BY = pytest.StashKey[BaseException]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Seeds by option."""
    group = parser.getgroup("raftyard", "Raftyard scenarios")
    group.addoption(
        "--scenario-seed", type=int, default=None, metavar="SEED",
        help="play scenarios and the cluster fixture with this seed (else each file's own, or 0)",
    )  # fmt: skip
    group.addoption(
        "--scenario-seeds", type=int, default=1, metavar="N", help="on so many seeds, one test each"
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A scenario file is a file of tests."""
    if not file_path.name.endswith(_END):
        return None
    return ScenarioFile.from_parent(parent, path=file_path)


def _seeds(config: pytest.Config) -> list[int | None]:
    first, many = config.getoption("--scenario-seed"), config.getoption("--scenario-seeds")
    return [first] if many <= 1 else [(first or 0) + number for number in range(many)]


class ScenarioFile(pytest.File):
    """One scenario: a test for each seed."""

    def collect(self) -> Iterator[pytest.Item]:
        """Also a wrong file is one test, which fails with its mistakes."""
        for seed in _seeds(self.config):
            name = self.path.name.removesuffix(_END) + ("" if seed is None else f"[seed-{seed}]")
            yield ScenarioItem.from_parent(self, name=name, seed=seed)


class ScenarioItem(pytest.Item):
    """One scenario on one seed."""

    def __init__(self, *, seed: int | None, **options: Any) -> None:
        super().__init__(**options)
        self.seed = seed

    def runtest(self) -> None:
        """Play it; its seed and its digest are properties of the test in JUnit XML."""
        from . import play, read_scenario_file
        from .telling import event_line, told

        outcome = play(read_scenario_file(self.path), seed=self.seed)
        self.user_properties += [("seed", outcome.seed), ("digest", outcome.digest)]
        if outcome.failure is not None:
            lines = "\n".join(event_line(event) for event in outcome.events[-200:])
            self.add_report_section("call", "events", lines)
            raise _Failed(told(outcome))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What a user wants to read: the story, or the mistakes of the file; no traceback of ours."""
        from .document import WrongScenario

        if isinstance(excinfo.value, _Failed | WrongScenario):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"scenario: {self.name}"


class _Failed(AssertionError):
    """The story of a run that failed."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the fixture is played on every seed that was asked for."""
    if "cluster_seed" in metafunc.fixturenames and metafunc.config.getoption("--scenario-seeds") > 1:
        metafunc.parametrize("cluster_seed", _seeds(metafunc.config), indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Remember how a test failed, for the end of its fixture."""
    if call.when == "call" and call.excinfo is not None:
        item.stash[_FAILED_BY] = call.excinfo.value


@pytest.fixture
def cluster_seed(request: pytest.FixtureRequest) -> int:
    """The seed of the `cluster` fixture."""
    given = getattr(request, "param", None)
    return int(given if given is not None else request.config.getoption("--scenario-seed") or 0)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, cluster_seed: int) -> Iterator[Any]:
    """A `Simulation` of five nodes on the virtual clock; `@pytest.mark.parametrize("cluster", [{"nodes": 3}],
    indirect=True)` starts another one. At the end every promise is looked at."""
    from .simulation import Simulation
    from .stage import ScenarioFailed

    options = {"seed": cluster_seed} | dict(getattr(request, "param", {}))
    # Not by record_property, which warns wherever a JUnit report is asked for.
    request.node.user_properties.append(("seed", options["seed"]))
    try:
        with Simulation(**options) as started:
            yield started
    except ScenarioFailed as error:
        # What the test has failed by already is not told again.
        if str(request.node.stash.get(_FAILED_BY, None)) != str(error):
            raise
