"""A million replicas on five thousand nodes, two million on six thousand, and what such a cluster costs to keep.

Everything is the product, on the virtual clock, with all nodes in this one process: requests to the front door, the
replicated log of five voters, the control loop, thousands of workers with their agents. CPU seconds are of all of it.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from raftyard.actors.messages import LinkPolicy, node_actor
from raftyard.actors.node import Node

from . import Options, UsageError, number, talk
from ._scale_plot import check_drawing, draw
from ._yard import Handlers, LargeCluster, peak_rss_mb

REPLICAS = 1_000
"""A service."""
SLOTS = 1_000
"""A node has: what runs out first is none of its resources."""
ON_A_NODE = 200
STEADY_S = 10.0
SIZES = ((250, 50), (500, 100), (1_000, 200), (2_500, 500), (5_000, 1_000), (6_100, 2_000))
"""Nodes and services of the picture."""
PARTS = ("c1m", "c2m", "steady", "node_loss", "handlers")


def run(options: Options) -> dict[str, Any]:
    """`--parts c1m,steady`: some of c1m, c2m, steady, node_loss, handlers. `--shrink 100`: a hundredth of all sizes.
    `--plot FILE`: the cost by size, also as a picture."""
    shrink = number(options, "shrink", 1)
    named = options.get("parts", ",".join(PARTS))
    wanted = named.split(",") if isinstance(named, str) else []
    for part in wanted:
        if part not in PARTS:
            raise UsageError(f"--parts {part}: there are {', '.join(PARTS)}")
    plot = options.get("plot")
    if plot is not None:
        if not isinstance(plot, str):
            raise UsageError("--plot: expected a file, such as --plot docs/scale.png")
        check_drawing()
    if not wanted:
        raise UsageError("--parts: expected names with commas, such as --parts c1m,steady")
    report: dict[str, Any] = {"runs": 1} | dict.fromkeys(PARTS)
    for part in wanted:
        report[part] = in_fresh_process(_measured(part), shrink)
        talk(f"scale: {part} {report[part]}")
    if plot is not None:
        report["by_size"] = by_size(shrink)
        draw(report["by_size"], plot)
    return report


def by_size(shrink: int) -> list[dict[str, Any]]:
    """The same shape in other sizes, 200 replicas a node and five voters each, and C2M's."""
    found = []
    for nodes, services in SIZES:
        measured = in_fresh_process(partial(placed, nodes // shrink, services // shrink), REPLICAS)
        found.append({"nodes": nodes // shrink} | measured)
        talk(f"scale: by size {found[-1]}")
    return found


def in_fresh_process(measure: Callable[[int], Any], shrink: int) -> Any:
    """What `measure` returns in a process that has done nothing before."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, shrink).result()


def _measured(part: str) -> Callable[[int], Any]:
    found = {"c1m": c1m, "c2m": c2m, "steady": steady, "node_loss": node_loss, "handlers": handlers}
    return found[part]


def c1m(shrink: int = 1) -> dict[str, Any]:
    """1,000 services of 1,000 replicas on 5,000 nodes."""
    return placed(5_000 // shrink, 1_000 // shrink, REPLICAS)


def c2m(shrink: int = 1) -> dict[str, Any]:
    """2,000 services of 1,000 replicas on 6,100 nodes."""
    return placed(6_100 // shrink, 2_000 // shrink, REPLICAS)


def placed(nodes: int, services: int, replicas: int) -> dict[str, Any]:
    """The time ends when every task stands on every voter and is reported to run, and its event is in the event log."""
    cluster = LargeCluster(nodes, SLOTS)
    _settle()
    before, cpu, wall = cluster.placed_told, time.process_time(), time.perf_counter()
    cluster.put(services, replicas)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "placed": cluster.placed_told - before,
        "cpu_s": round(cpu, 2),
        "wall_s": round(wall, 1),
        "peak_rss_mb": peak_rss_mb(),
    }


def steady(shrink: int = 1) -> dict[str, Any]:
    """5,000 nodes with 150,000 tasks, for ten simulated seconds."""
    nodes, services = 5_000 // shrink, 150 // min(shrink, 150)
    cluster = LargeCluster(nodes, SLOTS)
    cluster.put(services, REPLICAS)
    cpu = time.process_time()
    cluster.system.run(STEADY_S)
    cpu = time.process_time() - cpu
    tasks = cluster.leader.state.statistics()["tasks"]
    return {
        "nodes": nodes,
        "tasks": tasks,
        "peak_rss_mb": peak_rss_mb(),
        "cpu_ms_a_sim_s": round(1_000 * cpu / STEADY_S),
    }


def node_loss(shrink: int = 1) -> dict[str, Any]:
    """A node of 200 tasks ends without a word, where a million run; links take half a millisecond.

    `sim_s` is from the entry that declares it down until the last replacement is reported to run on every voter.
    `cpu_ms` is the leader's until it has all of them placed: its control loop and its applying. `voters_cpu_ms` is that
    of all five until each has them; `running_cpu_ms` goes on until all run: telling nodes, hearing their reports.
    """
    nodes = 5_000 // shrink
    cluster = LargeCluster(nodes, SLOTS, LinkPolicy(delay_s=0.0005))
    wanted = nodes * ON_A_NODE // REPLICAS * REPLICAS
    cluster.put(wanted // REPLICAS, REPLICAS)
    _settle()
    voters = {node_actor("0", voter.node): voter for voter in cluster.voters}
    leader = node_actor("0", cluster.leader.node)
    lost = next(f"node_{n}" for n in range(nodes) if node_actor("0", f"node_{n}") not in voters)
    tasks = len(cluster.leader.state.tasks_of(lost))
    placed_ms: dict[str, float] = {}

    def look(name: str) -> None:
        voter = voters.get(name)
        if voter is not None and name not in placed_ms and is_down(voter, lost) and not voter.state.unsettled():
            placed_ms[name] = seen.cpu_ms([name])

    cluster.system.kill(node_actor("0", lost))
    cluster.until(lambda: is_down(cluster.leader, lost), within_s=5, step_s=0.0005)
    with Handlers(cluster.system, look) as seen:
        began = cluster.system.now_ns
        cluster.until(lambda: cluster.runs(wanted), within_s=5, step_s=0.0005)
        return {
            "tasks": tasks,
            "cpu_ms": round(placed_ms[leader], 1),
            "sim_s": round((cluster.system.now_ns - began) / 1e9, 4),
            "voters_cpu_ms": round(sum(placed_ms.values()), 1),
            "running_cpu_ms": round(seen.cpu_ms(list(voters)), 1),
        }


def is_down(voter: Node, lost: str) -> bool:
    """Whether a voter has heard that this node is down."""
    record = voter.state.node(lost)
    return record is not None and record.status == "down"


def handlers(shrink: int = 1) -> dict[str, Any]:
    """The longest that any handler of a node took while a million replicas were placed on 5,000 nodes, by message."""
    cluster = LargeCluster(5_000 // shrink, SLOTS)
    _settle()
    with Handlers(cluster.system) as seen:
        cluster.put(1_000 // shrink, REPLICAS)
    slowest = sorted(seen.slowest_ns.items(), key=lambda item: -item[1])
    of_nodes = {message: round(ns / 1e6, 1) for (actor, message), ns in slowest if actor == "cluster/0/node"}
    return {
        "slowest_ms": max(of_nodes.values()),
        "by_message_ms": dict(list(of_nodes.items())[:8]),
        "longest_collection_ms": round(seen.longest_collection_ns / 1e6, 1),
    }


def _settle() -> None:
    """What was made to get here is no garbage: a collection in the measured time need not go through it, as in a
    program that has run for long."""
    gc.collect()
    gc.freeze()
