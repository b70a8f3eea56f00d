"""The control loop looks when there may be something to do, and rests after entries that left the state as it was."""

from __future__ import annotations

from typing import Any

import pytest
from yard import Yard

from raftyard.actors.messages import Submit, node_actor
from raftyard.actors.state import commands


@pytest.fixture
def rounds(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the leader's loop goes a round."""
    found: list[float] = []
    loop = yard.node(yard.leader()).loop
    reconcile = loop.reconcile

    def counted() -> None:
        found.append(yard.now)
        reconcile()

    monkeypatch.setattr(loop, "reconcile", counted)
    return found


def submit(yard: Yard, *wanted: Any) -> None:
    """Commands from the outside to the leader, all at once: they are one proposal, and applied in one go."""
    leader = node_actor("0", yard.leader())
    for command in wanted:
        message = Submit(
            session="", sequence=1, acknowledged=0, command=commands.encode(command), reply_to="nobody"
        )
        yard.system.send(leader, message)


def status(yard: Yard, term: int | None = None) -> commands.SetNodeStatus:
    """That a follower is down; refused if it is not of the leader's term."""
    leader = yard.leader()
    follower = next(name for name in yard.names() if name != leader)
    term = yard.node(leader).raft.term if term is None else term
    return commands.SetNodeStatus(name=follower, status="down", term=term)


def test_refused_commands_cost_no_round_beyond_the_ticks(yard: Yard, rounds: list[float]):
    before = yard.node(yard.leader()).applied
    for _ in range(50):
        submit(yard, status(yard, term=0))
        yard.run(0.01)
    assert yard.node(yard.leader()).applied >= before + 49
    assert len(rounds) <= 6  # half a second has five ticks


def test_every_command_that_changes_something_is_looked_at_at_once(yard: Yard, rounds: list[float]):
    for _ in range(10):
        before = len(rounds)
        submit(yard, status(yard))  # it is heard, so the loop takes it back at once
        yard.run(0.01)
        assert len(rounds) > before


def test_a_refusal_does_not_hide_the_change_before_it(yard: Yard, rounds: list[float]):
    yard.run(0.05)
    before, node = len(rounds), yard.node(yard.leader())
    applied = node.applied
    submit(yard, status(yard), status(yard, term=0), status(yard, term=0))
    assert yard.system.run_until(lambda: node.applied > applied, 1.0)
    assert node.applied == applied + 3  # all in one go
    assert yard.system.run_until(lambda: len(rounds) > before, 0.001)
