"""`python run.py` before the install: one line that says what to do, no traceback."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_before_the_install_run_py_says_how_to_install_in_one_line() -> None:
    # -I -S: an interpreter that sees no site-packages, as on a machine with nothing of ours.
    ran = subprocess.run([sys.executable, "-I", "-S", ROOT / "run.py"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert not ran.stdout
    assert ran.stderr.count("\n") == 1
    assert "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/python run.py" in ran.stderr
