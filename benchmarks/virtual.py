"""How many seconds of a cluster's life one CPU second simulates, and how our engine compares with SimPy's.

The cluster is a whole orchestrator: front door, nodes, links, agents, control loop. All invariants of Raft are checked
after every step of every node. At 100 proposals a second each is a command to the leader that changes nothing.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from raftyard.actors import Actor, OrchestratorSettings, Virtual, start_orchestrator
from raftyard.actors.messages import DescribeCluster, Outcome, Submit, cluster_actor, node_actor
from raftyard.actors.raft.invariants import Invariants
from raftyard.actors.state import commands

from . import Options, number, sample, talk
from ._engines import HAS_SIMPY, ours, rate, simpys

CLUSTER = cluster_actor("0")
SETTLE_S = 5.0
EVERY_S = 0.01


class _Propose(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    pass


class Proposer(Actor):
    """Proposes 100 commands a virtual second to the leader."""

    def __init__(self, leader: str) -> None:
        super().__init__()
        self._leader = node_actor("0", leader)
        self._sequence = 0
        # Of no leader's term, so the state machine looks at it and lets it be.
        self._command = commands.encode(commands.SetNodeStatus(name=leader, status="ready", term=0))
        self.applied = 0

    def on_start(self) -> None:
        """Begin."""
        self.context.after(EVERY_S, _Propose())

    def on_receive(self, message: Any) -> int | None:
        """Time for the next one, or an answer; asked anything else it tells how many were applied."""
        kind = type(message)
        if kind is Outcome:
            self.applied += message.refused is None
            return None
        if kind is not _Propose:
            return self.applied
        self._sequence += 1
        self.context.send(
            self._leader,
            Submit(
                session="bench",
                sequence=self._sequence,
                acknowledged=self.applied,
                command=self._command,
                reply_to=self.context.name,
            ),
        )
        self.context.after(EVERY_S, message)
        return None


def sim_s_per_cpu_s(nodes: int, for_s: float, is_loaded: bool, seed: int) -> float:
    """One cluster, settled first."""
    invariants = Invariants()
    with Virtual(seed=seed, raise_crashes=True) as system:
        start_orchestrator(system, OrchestratorSettings(nodes=nodes, observe=invariants.check_step))
        system.run(SETTLE_S)
        if is_loaded:
            leader = system.ask(CLUSTER, DescribeCluster(limit=1))["leader"]
            system.spawn(Proposer, "proposer", leader)
        begin = time.process_time()
        system.run(for_s)
        spent = time.process_time() - begin
        if is_loaded:
            applied = system.ask("proposer", "applied")
            if applied < for_s / EVERY_S - 2:
                raise RuntimeError(f"only {applied} of {for_s / EVERY_S:g} proposals were applied")
    return for_s / spent


def run(options: Options) -> dict[str, Any]:
    """`--runs 5 --idle-s 100 --load-s 10 --nodes1000-s 3 --events 200000`, in virtual seconds; engines in turn."""
    runs = number(options, "runs", 5)
    idle_s, load_s = number(options, "idle_s", 100), number(options, "load_s", 10)
    many_s, events = number(options, "nodes1000_s", 3), number(options, "events", 200_000)
    idle, loaded, many, engine, simpy = [], [], [], [], []
    if not HAS_SIMPY:
        talk("simpy is not installed, so its figure is null: pip install -e '.[test]'")
    for seed in range(runs):
        idle.append(sim_s_per_cpu_s(5, idle_s, False, seed))
        loaded.append(sim_s_per_cpu_s(5, load_s, True, seed))
        many.append(sim_s_per_cpu_s(1000, many_s, False, seed))
        engine.append(rate(ours(), events))
        if HAS_SIMPY:
            simpy.append(rate(simpys(), events))
        talk(f"virtual: run {seed + 1} of {runs}")
    return {
        "runs": runs,
        "idle_sim_s_per_cpu_s": sample(idle),
        "load100_sim_s_per_cpu_s": sample(loaded),
        "nodes1000_sim_s_per_cpu_s": sample(many),
        "engine_events_per_cpu_s": sample(engine),
        "simpy_events_per_cpu_s": sample(simpy) if simpy else None,
    }
