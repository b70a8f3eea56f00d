"""The benchmarks' frame: one JSON object on stdout, names found by their files, near misses answered."""

import json
from pathlib import Path
from typing import Any

import pytest

import benchmarks.__main__ as frame
from benchmarks import UsageError, number, percentile, sample, spread


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands in for benchmarks/, holding one benchmark, `hello`."""
    (tmp_path / "_helper.py").write_text("")
    (tmp_path / "hello.py").write_text(
        "def run(options):\n    print('noise')\n    return {'runs': 7, 'heard': dict(options)}\n"
    )
    monkeypatch.setattr(frame, "HERE", tmp_path)
    monkeypatch.setattr("benchmarks.__path__", [str(tmp_path)])
    return tmp_path


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert frame.main(arguments) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("folder")
def test_a_run_prints_one_json_object_with_the_common_keys(capsys: pytest.CaptureFixture[str]) -> None:
    told = report(capsys, "hello", "--json")
    assert set(told) == {
        *("name", "machine", "commit", "load_before", "runs", "heartbeat_ms", "election_min_ms", "heard")
    }
    assert (told["name"], told["runs"], told["heard"]) == ("hello", 7, {})
    assert set(told["machine"]) == {"cpu", "cores", "python"}
    assert (told["heartbeat_ms"], told["election_min_ms"]) == (100, 400)


@pytest.mark.usefixtures("folder")
def test_options_reach_the_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    told = report(capsys, "hello", "--lists", "a,b", "--batch", "--out-dir=x", "--json")
    assert told["heard"] == {"lists": "a,b", "batch": True, "out_dir": "x"}


def test_a_name_is_found_by_its_file_and_helpers_are_not_names(folder: Path) -> None:
    (folder / "second.py").touch()
    assert frame.names() == ["hello", "second"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["helo"], "no benchmark is called helo; did you mean hello?"),
        (["zzz"], "no benchmark is called zzz; there are: hello"),
        (["hello", "5"], "5: an option starts with --"),
        ([], "usage: python -m benchmarks NAME"),
    ],
)
def test_a_wrong_command_line_says_what_would_do(
    capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    assert frame.main(arguments) == 2
    told = capsys.readouterr()
    assert told.err.startswith(text)
    assert not told.out


def test_a_sample_is_its_median_and_ends() -> None:
    assert sample([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}
    assert sample([1234.56, 0.123456]) == {"median": 617.0, "min": 0.123, "max": 1235}


def test_a_percentile_is_one_of_the_values() -> None:
    ordered = [float(value) for value in range(1, 21)]
    assert [percentile(ordered, percent) for percent in (0, 50, 90, 99, 100)] == [1, 10, 18, 20, 20]
    assert spread(ordered) == {"median": 10.5, "mean": 10.5, "p90": 18, "p99": 20, "max": 20}


def test_a_number_that_is_none_says_what_to_write() -> None:
    assert number({"runs": "9"}, "runs", 5) == 9
    assert number({}, "runs", 5) == 5
    with pytest.raises(
        UsageError, match="--runs many: expected a whole number of at least 1, such as --runs 5"
    ):
        number({"runs": "many"}, "runs", 5)
