"""Small clusters, all orders of a few events: no path breaks a promise, and a planted bug is found on a short one."""

import os

import pytest
from raft_exploration import Contradiction, Exploration, Limits
from raft_mutants import planted

FULL = os.environ.get("RAFTYARD_CAMPAIGN") == "full"
FEW = Limits(timeouts=2, crashes=1, doubles=0, proposals=1, heartbeats=0)
BARE = Limits(timeouts=2, crashes=1, doubles=0, proposals=0, heartbeats=0)
LATE = Limits(timeouts=3, crashes=1, doubles=0, proposals=1, heartbeats=0)
DOUBLED = Limits(timeouts=2, crashes=1, doubles=1, proposals=1, heartbeats=0)
BEATING = Limits(timeouts=2, crashes=1, doubles=0, proposals=1, heartbeats=1)
MANY = Limits(timeouts=3, crashes=2, doubles=1, proposals=2, heartbeats=1)


def explore(
    exploration: Exploration, depth: int, most_states: int = 10**9, after_election: bool = False
) -> None:
    done = exploration.run(depth, most_states, exploration.elected() if after_election else None)
    print(f"depth {done} of {depth}: {exploration.states} states, {exploration.steps} steps")
    assert exploration.leaders_seen and exploration.commits_seen, "it never came to anything"
    assert done == depth or exploration.states == most_states


@pytest.mark.parametrize(("size", "depth", "sync"), [(2, 12, True), (2, 10, False), (3, 6, True)])
def test_no_order_of_a_few_events_breaks_a_promise(size: int, depth: int, sync: bool) -> None:
    """`sync`: a write is done at once; else when the exploration says so."""
    explore(Exploration(size, FEW, sync=sync), depth)


@pytest.mark.parametrize("cautious", [False, True])
def test_no_order_of_a_few_events_after_an_election_breaks_a_promise(cautious: bool) -> None:
    """`cautious`: with pre-vote and check-quorum."""
    explore(Exploration(3, FEW, pre_vote=cautious, check_quorum=cautious), 5, after_election=True)


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("size", "sync", "cautious", "after_election", "limits"),
    [
        (2, True, False, False, LATE),
        (2, True, False, False, DOUBLED),
        (2, False, False, False, BEATING),
        (3, True, False, False, FEW),
        (3, True, False, True, MANY),
        (3, True, True, True, MANY),
        (3, False, False, True, FEW),
    ],
)
def test_no_order_of_more_events_breaks_a_promise(
    size: int, sync: bool, cautious: bool, after_election: bool, limits: Limits
) -> None:
    """Up to twelve events, as far as so many states carry: a minute and a half of CPU in the slice, six in full."""
    exploration = Exploration(size, limits, sync=sync, pre_vote=cautious, check_quorum=cautious)
    explore(exploration, 12, 100_000 if FULL else 25_000, after_election)


@pytest.mark.parametrize(
    ("mutant", "size", "sync", "depth", "after_election"),
    [
        ("votes twice in a term", 3, True, 6, False),
        ("counts refusals as votes", 3, True, 6, False),
        ("commits on one member too few", 2, True, 8, False),
        ("counts one vote too few", 2, True, 8, False),
        ("acknowledges entries at once", 2, False, 12, False),
        ("does not truncate", 3, True, 6, True),
    ],
)
def test_a_planted_bug_is_found(mutant: str, size: int, sync: bool, depth: int, after_election: bool) -> None:
    exploration = Exploration(size, FEW if after_election else BARE, sync=sync)
    with planted(mutant), pytest.raises((Contradiction, AssertionError)) as caught:
        exploration.run(depth, 100_000, exploration.elected() if after_election else None)
    print(f"{exploration.steps} steps: {caught.value}")
