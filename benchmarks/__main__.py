"""Run one benchmark: `python -m benchmarks NAME [--option value] --json` prints one JSON object on stdout.

A benchmark is a file `benchmarks/NAME.py` with `run(options) -> dict`; it is found by being there. The keys that all
of them share (machine, commit, load, defaults) are added here. Talk goes to stderr. Exit code 0: it ran; 2: usage.
"""

import contextlib
import difflib
import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raftyard.actors.raft.config import RaftConfig

from . import Options, UsageError, talk

HERE = Path(__file__).parent
USAGE = "usage: python -m benchmarks NAME [--option value] --json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments name; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        talk(f"{USAGE}\nNAME is one of: {', '.join(names())}")
        return 0 if given else 2
    try:
        options = parsed(given[1:])
        module = importlib.import_module(f"benchmarks.{known(given[0])}")
        report = common(given[0], options)
        # A peer's library may print; stdout must hold nothing but the object.
        with contextlib.redirect_stdout(sys.stderr):
            report |= module.run({name: value for name, value in options.items() if name != "json"})
    except UsageError as error:
        talk(str(error))
        return 2
    print(json.dumps(report, indent=None if options.get("json") else 2))
    return 0


def names() -> list[str]:
    """The benchmarks that are there: the files beside this one."""
    return sorted(file.stem for file in HERE.glob("*.py") if not file.stem.startswith("_"))


def known(name: str) -> str:
    """The name, when a benchmark has it. Raises UsageError with the nearest otherwise."""
    if name in names():
        return name
    near = difflib.get_close_matches(name, names(), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names())}"
    raise UsageError(f"no benchmark is called {name}; {hint}")


def parsed(words: Sequence[str]) -> Options:
    """`--name value` and `--flag` as a mapping; a name's dashes become underscores."""
    options: dict[str, str | bool] = {}
    waiting = ""
    for word in words:
        if word.startswith("--") and len(word) > 2:
            waiting, _, value = word[2:].partition("=")
            waiting = waiting.replace("-", "_")
            options[waiting] = value or True
        elif waiting and options[waiting] is True:
            options[waiting] = word
        else:
            raise UsageError(f"{word}: an option starts with --; {USAGE}")
    return options


def common(name: str, options: Options) -> dict[str, Any]:
    """The keys that every report has, taken before the run."""
    defaults = RaftConfig()
    runs = options.get("runs")
    return {
        "name": name,
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "python": platform.python_version()},
        "commit": commit(),
        "load_before": round(os.getloadavg()[0], 2),
        "runs": int(runs) if isinstance(runs, str) and runs.isdigit() else None,
        "heartbeat_ms": defaults.heartbeat_ms,
        "election_min_ms": defaults.election_min_ms,
    }


def cpu_model() -> str:
    """The processor's name as Linux tells it, else what Python knows of it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit that was measured, "-dirty" when files differ from it, None outside a checkout."""
    command = ("git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


if __name__ == "__main__":
    sys.exit(main())
