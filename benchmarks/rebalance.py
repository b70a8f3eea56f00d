"""How close rebalancing comes to the best known answers of Google's machine reassignment challenge in 30 CPU-s."""

import random
import time
from typing import Any

import numpy as np

from raftyard.actors.scheduling.rebalance import rebalance

from . import Options, UsageError, number, talk
from ._roadef import BEST_KNOWN, find, fleet_of, judged_breaches, judged_cost, parse

CPU_S = 28
"""What the search may take of an instance's 30 s; reading and judging take the rest."""


def run(options: Options) -> dict[str, Any]:
    """`rebalance` of BENCHMARKS.md. `--data DIR`, `--cpu-s` of search an instance, `--seed`, `--only a1_1,a1_4`."""
    files = find(str(options.get("data", ".")))
    only = str(options.get("only", ",".join(files))).split(",")
    unknown = [name for name in only if name not in files]
    if unknown:
        raise UsageError(f"--only {','.join(unknown)}: there are {', '.join(files)}")
    cpu_s, seed = number(options, "cpu_s", CPU_S), number(options, "seed", 1)
    report: dict[str, Any] = {"runs": 1}
    for name in only:
        model, assignment = files[name]
        report[name] = one(name, model.read_text("ascii"), assignment.read_text("ascii"), cpu_s, seed)
    return report


def one(name: str, model: str, assignment: str, cpu_s: float, seed: int) -> dict[str, Any]:
    """One instance from its text to an answer that the judge accepts. Raises RuntimeError when it does not."""
    begin = time.process_time()
    instance = parse(model, assignment)
    answer = rebalance(
        fleet_of(instance), random.Random(seed), lambda: (time.process_time() - begin) / cpu_s
    ).tolist()
    initial_cost, cost = judged_cost(instance, instance.initial), judged_cost(instance, answer)
    breaches = judged_breaches(instance, answer)
    if breaches or cost > initial_cost:
        raise RuntimeError(
            f"{name}: {cost} after {initial_cost}, breaks {breaches[:3]}; this is a bug, please report it"
        )
    taken_s = time.process_time() - begin
    best = BEST_KNOWN.get(name)
    gap = "no best known" if best is None else f"{100 * (cost / best - 1):+.4f} % from the best known {best}"
    talk(f"{name}: {initial_cost} -> {cost}, {gap}; {taken_s:.1f} CPU-s")
    moves = int((np.array(answer) != np.array(instance.initial)).sum())
    return {
        "initial_cost": initial_cost,
        "cost": cost,
        "best_known": best,
        "cpu_s": round(taken_s, 2),
        "moves": moves,
    }
