"""The example with its own actors runs, and says the same on both clocks."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_actors.py"


def test_the_kitchen_serves_on_both_clocks() -> None:
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=True, timeout=60
    )
    lines = ran.stdout.splitlines()
    assert lines[0] == "virtual: soup, fish, cake; 1 burned; 246.0 s on this clock"
    assert len([line for line in lines if '"kind":"served"' in line]) == 3
    assert lines[-1].startswith("live:    soup, fish, cake; 1 burned; 0.")
