"""Clusters of more nodes than one slice of applied entries adds."""

from raftyard.actors import OrchestratorSettings, Statistics, Virtual, start_orchestrator
from raftyard.actors.member import APPLY_SLICE
from raftyard.actors.messages import node_actor

NODES = APPLY_SLICE + 10


def test_no_node_is_stopped_while_a_large_cluster_starts() -> None:
    with Virtual(seed=1, raise_crashes=True) as system:
        start_orchestrator(system, OrchestratorSettings(nodes=NODES))
        system.run(3.0)
        names = [node_actor("0", f"node_{number}") for number in range(NODES)]
        assert [name for name in names if system.ask(name, Statistics())["incarnation"] != 1] == []
