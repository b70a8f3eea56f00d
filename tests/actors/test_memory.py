"""P34: who is offered 1 GB while nothing can be committed takes a bounded part of it, and refuses the rest at once.

Each runs in a process of its own, whose largest size in memory is what the system measured.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from yard import Yard

from raftyard.actors.errors import QueueFull
from raftyard.actors.frontdoor.courier import QUEUE_BYTES
from raftyard.actors.messages import Outcome, Submit, SubmitServiceCall, node_actor
from raftyard.actors.raft.config import RaftConfig
from raftyard.actors.system import Probe

MIB = 1 << 20
OFFERED = 1024
"""Times 1 MiB."""
CALLS = 32
"""Service calls of 1 MiB each; in the campaign as many as make 1 GB, of which reading alone takes 20 CPU-seconds."""
LIMIT = RaftConfig().max_uncommitted_bytes


def largest() -> int:
    """The most bytes that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def isolated_leader(at_once: int) -> dict[str, Any]:
    """So many commands come in one moment, over and over; some more when it has noticed that nobody answers it."""
    with Yard(seed=1, nodes=3, checked=False) as yard:
        yard.settle()
        leader = yard.leader()
        yard.cut(*yard.around(leader))
        probe = Probe(yard.system, "client")
        began, term = largest(), yard.node(leader).raft.term
        logs = []
        for number in range(1, OFFERED + 1):
            command = (b"%08d" % number) * (MIB // 8)
            session = f"client-{number}"
            submit = Submit(session=session, sequence=1, acknowledged=0, command=command, reply_to="client")
            probe.send(node_actor("0", leader), submit)
            if number % at_once == 0:
                yard.run(0.0)
                logs.append(yard.node(leader).raft.uncommitted_bytes)
                if number == OFFERED // 2:
                    yard.run(2.0)
        outcomes = Counter(
            message.refused for message in probe.received if isinstance(message, Outcome) and message.refused
        )
        core = yard.node(leader).raft
        kept = sum(map(len, core.entries(core.first_index, core.last_index + 1)[1]))
        assert not core.is_leader and core.term == term
        result = {"grown": largest() - began, "kept": kept, "most": max(logs), "outcomes": outcomes}
        yard.heal()
        yard.settle()
        assert yard.submit(wait_s=10, web=3)["status"] == "executed", "it serves again"
    return result


def front_door_without_a_leader(calls: int) -> dict[str, Any]:
    """Service calls of nearly 1 MiB each, the most that REST lets in."""
    with Yard(seed=1, nodes=3, checked=False) as yard:
        yard.settle()
        for name in yard.names():
            yard.cut(*yard.around(name))
        yard.run(2.0)
        began, outcomes = largest(), Counter[str]()
        for number in range(calls):
            names = (f"web-{number:04d}-{part:04d}-{'x' * 180}" for part in range(4_700))
            body = {"containers": [{"name": name, "replicas": 1} for name in names]}
            try:
                yard.ask(SubmitServiceCall(body=body, wait_s=None))
                outcomes["taken"] += 1
            except QueueFull as error:
                outcomes[str(error).partition(" wait ")[2]] += 1
        waiting = yard.front()._courier._bytes
        return {"grown": largest() - began, "kept": waiting, "outcomes": outcomes}


STORIES: dict[str, Callable[[], dict[str, Any]]] = {
    "one at a time": lambda: isolated_leader(at_once=1),
    "many at once": lambda: isolated_leader(at_once=128),
    "front door": lambda: front_door_without_a_leader(CALLS),
    "front door, 1 GB": lambda: front_door_without_a_leader(OFFERED),
}


def told(story: str) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    ran = subprocess.run(
        [sys.executable, __file__, story], capture_output=True, text=True, check=False, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    print(ran.stdout)
    return dict(json.loads(ran.stdout))


@pytest.mark.parametrize("at_once", ["one at a time", "many at once"])
def test_p34_an_isolated_leader_that_is_offered_1_gb_stays_bounded_and_refuses(at_once: str) -> None:
    """What comes at once is in memory at once, and a copy of what is taken; the rest is gone when it is refused."""
    found = told(at_once)
    assert LIMIT // 2 < found["kept"] <= LIMIT + 1000
    assert found["most"] <= LIMIT
    coming = (1 if at_once == "one at a time" else 128) * MIB
    assert found["grown"] < LIMIT + 2 * coming + 50 * MIB, f"{found['grown'] // MIB} MiB"
    refused = found["outcomes"]
    assert refused["too many uncommitted"] == OFFERED // 2 - LIMIT // MIB + 1
    assert refused["no leader"] == OFFERED // 2


@pytest.mark.parametrize("story", ["front door", pytest.param("front door, 1 GB", marks=pytest.mark.campaign)])
def test_p34_a_front_door_without_a_leader_takes_no_more_than_its_queue_and_refuses(story: str) -> None:
    found = told(story)
    assert QUEUE_BYTES // 2 < found["kept"] <= QUEUE_BYTES
    assert found["grown"] < 8 * QUEUE_BYTES, f"{found['grown'] // MIB} MiB"
    assert 5 <= found["outcomes"].pop("taken") <= 16
    assert list(found["outcomes"]) == ["for a leader of cluster 0, which is all that its queue holds"]


if __name__ == "__main__":
    print(json.dumps(STORIES[sys.argv[1]]()))
