"""Ctrl-C and SIGTERM while scenarios are played: what is said, what is left behind, and how soon it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from yard_process import PATIENCE_S, until

HEAVY = "scenario: heavy\nversion: 1\nsteps:\n  - wait: 10m\n"


def start(*words: object) -> subprocess.Popen[str]:
    """`raftyard scenario ...`, the first of a process group of its own, as a terminal has it."""
    return subprocess.Popen(
        [sys.executable, "-c", "from raftyard.cli import main; main()", "scenario", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def workers(of: int) -> dict[int, float]:
    """Processes of a session but the first, with the seconds of CPU that each has used; dead ones are none."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue  # it has just ended
        words = text.rpartition(")")[2].split()
        if words[3] == str(of) and path.parent.name != str(of) and words[0] != "Z":
            found[int(path.parent.name)] = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_campaign_ends_at_once_and_leaves_no_process(tmp_path: Path, number: signal.Signals, code: int, name: str):
    file = tmp_path / "heavy.scenario.yaml"
    file.write_text(HEAVY)
    process = start("run", file, "--seeds", 3000, "--jobs", 1)
    try:
        # By then it has been loaded, and plays.
        until(lambda: max(workers(process.pid).values(), default=0.0) > 1.0 or None)
        began = time.monotonic()
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert time.monotonic() - began < 5.0
        assert (process.returncode, err) == (code, "")
        assert out.startswith(f"stopped by {name}: heavy\n") and " of 3000 seeds from 0, " in out
        until(lambda: not workers(process.pid) or None)
    finally:
        os.killpg(process.pid, signal.SIGKILL) if workers(process.pid) or process.poll() is None else None
