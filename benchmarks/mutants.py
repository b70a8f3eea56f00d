"""How many random seeds it takes to notice each deliberate bug: what the simulations' checks are worth."""

import importlib
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from . import Options, number, talk

TESTS = Path(__file__).parent.parent / "tests"


def run(options: Options) -> dict[str, Any]:
    """`mutants` of BENCHMARKS.md: each bug by itself, for up to `--seeds` runs of the simulation."""
    # The bugs are tests' own: nothing installed can reach them.
    sys.path[:0] = [str(TESTS / "actors" / "raft"), str(TESTS)]
    bugs = importlib.import_module("raft_mutants")
    seeds = number(options, "seeds", 500)
    table = []
    for name in bugs.MUTANTS:
        begin = time.process_time()
        took = bugs.seeds_to_kill(name, seeds)
        spent_s = round(time.process_time() - begin, 3)
        table.append({"name": name, "killed": took is not None, "seeds": took, "cpu_s": spent_s})
        talk(f"{'survived' if took is None else took:>8}  {name}")
    found = [row["seeds"] for row in table if row["seeds"] is not None]
    return {
        "runs": 1,
        "mutants": table,
        "survived": len(table) - len(found),
        "killed": len(found),
        "median_seeds": statistics.median(found) if found else None,
        "max_seeds": max(found, default=None),
        "seeds_tried_at_most": seeds,
    }
