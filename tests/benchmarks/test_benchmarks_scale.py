"""The benchmark scale places what it says, on small clusters; its figures are not looked at."""

from __future__ import annotations

import json

import pytest

import benchmarks.__main__ as frame
from benchmarks import UsageError, scale


def test_every_part_has_its_keys_and_places_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.main(["scale", "--shrink", "200", "--parts", "c1m,node_loss", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["c1m"]) == {"placed", "cpu_s", "wall_s", "peak_rss_mb"}
    assert told["c1m"]["placed"] == 5_000
    assert 190 <= told["node_loss"]["tasks"] <= 210
    assert 0 < told["node_loss"]["sim_s"] < 1
    assert told["c2m"] is None
    assert told["runs"] == 1


def test_a_steady_cluster_has_the_tasks_that_were_asked_for() -> None:
    told = scale.steady(shrink=150)
    assert (told["nodes"], told["tasks"]) == (33, 1_000)


def test_handlers_are_told_by_the_message_that_they_handled() -> None:
    told = scale.in_fresh_process(scale.handlers, 250)
    assert set(told) == {"slowest_ms", "by_message_ms", "longest_collection_ms"}
    assert "_Reconcile" in told["by_message_ms"]


@pytest.mark.parametrize(
    ("options", "text"),
    [({"parts": "c1m,c3m"}, "--parts c3m: there are c1m, c2m"), ({"parts": True}, "--parts: expected names")],
)
def test_a_wrong_part_is_named_with_those_there_are(options: dict[str, str | bool], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        scale.run(options)
