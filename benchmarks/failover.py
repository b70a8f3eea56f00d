"""How long a cluster of five nodes is without a leader, in real time at the default timeouts.

What is waited for is a user's service call, carried out: it is posted at the moment of the fault. `start_to_leader_s`
is from the start of the orchestrator to the first leader; `transfer_s` from the order to hand over to the new leader.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from raftyard.actors import Live, OrchestratorSettings, start_orchestrator
from raftyard.actors.messages import (
    DescribeCluster,
    SetConnections,
    SubmitServiceCall,
    TransferRequest,
    cluster_actor,
    node_actor,
)

from . import Options, number, spread, talk

CLUSTER = cluster_actor("0")
CALL = {"container": {"id": 5, "replicas": 25}}
PATIENCE_S = 20.0


class Nodes:
    """A whole orchestrator on the live clock, from its start to its first service call."""

    def __init__(self, system: Live) -> None:
        self._system = system
        self._elected = threading.Event()
        self._leader = ""
        system.events.subscribe(self._look)
        begin = time.monotonic()
        start_orchestrator(system, OrchestratorSettings())
        self._wait()
        self.start_to_leader_s = time.monotonic() - begin
        self.call()

    def _look(self, event: Any) -> None:
        if event.kind == "leader-elected":
            self._leader = event.node
            self._elected.set()

    def _wait(self) -> None:
        if not self._elected.wait(PATIENCE_S):
            raise RuntimeError(f"no leader within {PATIENCE_S:g} s; the machine is too busy to measure")

    def call(self) -> None:
        """A service call, until it is executed."""
        call = SubmitServiceCall(body=CALL, wait_s=PATIENCE_S)
        answer = self._system.ask(CLUSTER, call, timeout_s=PATIENCE_S + 5)
        if answer["status"] != "executed":
            raise RuntimeError(
                f"a service call is {answer['status']} after {PATIENCE_S:g} s; expected executed"
            )

    def transfer_s(self) -> float:
        """The leader hands over to another."""
        self._elected.clear()
        begin = time.monotonic()
        self._system.ask(CLUSTER, TransferRequest())
        self._wait()
        return time.monotonic() - begin

    def isolated_s(self) -> float:
        """All links of the leader are cut, both ways."""
        others = [name for name in self._names() if name != self._leader]
        matrix = {name: {self._leader: 0} for name in others} | {self._leader: dict.fromkeys(others, 0)}
        begin = time.monotonic()
        self._system.ask(CLUSTER, SetConnections(matrix=matrix))
        self.call()
        return time.monotonic() - begin

    def killed_s(self) -> float:
        """The leader's actor ends, and does not come back."""
        begin = time.monotonic()
        self._system.kill(node_actor("0", self._leader))
        self.call()
        return time.monotonic() - begin

    def _names(self) -> list[str]:
        shown = self._system.ask(CLUSTER, DescribeCluster())
        return [node["address"] for node in shown["nodes"]]


def run(options: Options) -> dict[str, Any]:
    """`--runs 20 --kills 20`; every run has a fresh cluster."""
    runs = number(options, "runs", 20)
    kills = number(options, "kills", 50 if options.get("long") else runs)
    started, transferred, isolated, killed = [], [], [], []
    logging.getLogger("raftyard").setLevel(logging.CRITICAL)  # the crashes are ours
    for turn in range(max(runs, kills)):
        if turn < runs:
            with Live() as system:
                nodes = Nodes(system)
                started.append(nodes.start_to_leader_s)
                transferred.append(nodes.transfer_s())
                isolated.append(nodes.isolated_s())
        if turn < kills:
            with Live() as system:
                killed.append(Nodes(system).killed_s())
        talk(f"failover: run {turn + 1} of {max(runs, kills)}")
    return {
        "runs": runs,
        "kills": kills,
        "start_to_leader_s": spread(started),
        "isolated_to_commit_s": spread(isolated),
        "killed_to_commit_s": spread(killed),
        "transfer_s": spread(transferred),
    }
