"""How many random seeds it takes to notice each deliberate bug: what the simulations' checks are worth."""

import importlib
import logging
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from . import Options, number, talk

TESTS = Path(__file__).parent.parent / "tests"


def run(options: Options) -> dict[str, Any]:
    """`mutants` of BENCHMARKS.md: each bug by itself, for up to `--seeds` runs of what is to notice it (`by`).

    What a test notices has no seeds, and counts as killed alone.
    """
    # The bugs are tests' own: nothing installed can reach them.
    sys.path[:0] = [str(TESTS / "actors" / "raft"), str(TESTS)]
    bugs = importlib.import_module("raft_mutants")
    seeds = number(options, "seeds", 500)
    table = []
    for name in bugs.MUTANTS:
        begin = time.process_time()
        by, _ = bugs.noticed_by(name)
        logging.disable(logging.CRITICAL)  # members crash on purpose, and for the bug
        took = bugs.seeds_to_kill(name, seeds)
        logging.disable(logging.NOTSET)
        spent_s = round(time.process_time() - begin, 3)
        drawn = None if name in bugs.GUARDED else took
        table.append({"name": name, "by": by, "killed": took is not None, "seeds": drawn, "cpu_s": spent_s})
        talk(f"{'survived' if took is None else drawn or 'test':>8}  {name}{'' if by == 'chaos' else f' ({by})'}")
    found = [row["seeds"] for row in table if row["seeds"] is not None]
    killed = sum(row["killed"] for row in table)
    return {
        "runs": 1,
        "mutants": table,
        "survived": len(table) - killed,
        "killed": killed,
        "killed_by_a_test_alone": killed - len(found),
        "median_seeds": statistics.median(found) if found else None,
        "max_seeds": max(found, default=None),
        "seeds_tried_at_most": seeds,
    }
