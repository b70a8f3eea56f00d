"""A cluster that has nothing to do holds no election: for days of virtual time, and on a machine that is busy.

RAFTYARD_CAMPAIGN=full takes ten days and ten minutes; the slice takes one of each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from program import Program, program

FULL = os.environ.get("RAFTYARD_CAMPAIGN") == "full"
NODES = 5
LIVE_S = 600 if FULL else 60


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but take time from everybody else."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def terms(it: Program) -> list[tuple[str, int, str]]:
    """(state, term, leader) of each node."""
    status, answer = it.call("GET", "/clusters/0/stats")
    assert status == 200, answer
    shown: list[dict[str, Any]] = [node["stats"] for node in answer["nodes"]]
    return sorted((stats["state"], stats["term"], str(stats["leader"])) for stats in shown)


@pytest.mark.campaign
@pytest.mark.timeout(LIVE_S + 120)
def test_an_idle_cluster_holds_no_election_while_the_machine_is_busy(tmp_path: Path) -> None:
    """The real program, its five nodes durable, beside as many busy processes as there are cores."""
    with program(tmp_path, NODES) as it:
        it.start()
        until = time.monotonic() + 10
        while [state for state, _, _ in terms(it)].count("FOLLOWER") < NODES - 1:
            assert time.monotonic() < until, terms(it)
            time.sleep(0.1)
        before = terms(it)
        with busy(os.cpu_count() or 1):
            time.sleep(LIVE_S)
        assert terms(it) == before, it.output()
