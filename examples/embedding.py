"""A cluster inside your own program: the same story in virtual time and live.

A service is submitted, then every cable of the leader is cut, both ways. The others elect a new leader, which has the
lost replicas run elsewhere; when the cables are back there is one leader, and no replica runs twice. In virtual time
one seed decides everything, so that half prints the same lines every time.

    python examples/embedding.py
"""

import time
from typing import Any

from raftyard.actors import (
    DescribeCluster,
    Event,
    Live,
    SetConnections,
    SubmitServiceCall,
    System,
    Virtual,
    cluster_actor,
    start_orchestrator,
)

FRONT_DOOR = cluster_actor("0")


def story(system: System) -> None:
    """Submit a service, isolate the leader, heal the network; print what happened and when."""
    start_orchestrator(system)  # cluster 0: node_0 to node_4, of 100 slots each
    elected = wait_for(system, "leader-elected")
    say(elected, f"{elected.node} leads in term {elected.term}")

    body = {"container": {"name": "web", "replicas": 25}}
    call = system.ask(FRONT_DOOR, SubmitServiceCall(body=body, wait_s=5))
    executed = wait_for(system, "call-executed")
    say(executed, f"the service call is {call['status']}: {loads(system)}")

    set_cables(system, str(elected.node), 0)
    cut = wait_for(system, "link-cut")
    say(cut, f"every cable of {elected.node} is cut")
    second = wait_for(system, "leader-elected", after=cut)
    say(second, f"{second.node} leads in term {second.term}")
    moved = wait_for(system, "tasks-placed", after=second)
    say(moved, f"what {elected.node} ran runs elsewhere: {loads(system)}")

    set_cables(system, str(elected.node), 1)
    ready = wait_for(system, "node-ready", after=moved)
    say(ready, f"{elected.node} is back: {loads(system)}")
    for claim in ask(system)["leader_claims"]:
        say(ready, f"term {claim['term']}: {claim['address']} {'leads' if claim['current'] else 'led'}")


def ask(system: System) -> Any:
    """What the cluster says of itself: the same as GET /clusters/0/stats."""
    return system.ask(FRONT_DOOR, DescribeCluster())


def loads(system: System) -> dict[str, int]:
    """How many replicas of the first service each node runs."""
    spread: dict[str, int] = ask(system)["services"][0]["load_distribution"]
    return spread


def set_cables(system: System, node: str, up: int) -> None:
    """Cut (0) or restore (1) every link to and from a node; in force when this returns."""
    matrix = {
        source: {target: up for target in row if node in (source, target)}
        for source, row in ask(system)["connections"].items()
    }
    system.ask(FRONT_DOOR, SetConnections(matrix=matrix))


def wait_for(system: System, kind: str, after: Event | None = None) -> Event:
    """The first event of that kind, later than another; until it comes, time passes on the system's own clock."""
    found: list[Event] = []

    def has_come() -> bool:
        found.extend(event for event in system.events.since(after.seq if after else 0) if event.kind == kind)
        return bool(found)

    if isinstance(system, Virtual):
        system.run_until(has_come, within_s=10)
    else:
        patience = system.now_ns + 10_000_000_000
        while not has_come() and system.now_ns < patience:
            time.sleep(0.01)
    return found[0]


def say(event: Event, what: str) -> None:
    """Print it with the time of the event."""
    print(f"{event.t_ns / 1e9:6.2f} s  {what}", flush=True)


def main() -> None:
    """The story twice."""
    print("virtual")
    with Virtual(seed=7) as system:
        story(system)
    print("live")
    with Live() as system:
        story(system)


if __name__ == "__main__":
    main()
