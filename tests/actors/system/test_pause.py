"""A paused actor handles nothing until it is resumed, and then everything, in order; on both clocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from test_contract import Say, Scripted, gone

from raftyard.actors.system import (
    ActorCrashed,
    Live,
    MailboxFull,
    NoSuchActor,
    Restart,
    Statistics,
    System,
    Virtual,
)


@pytest.fixture(params=[Virtual, Live], ids=["virtual", "live"])
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    with request.param(seed=1) as system:
        yield system


@pytest.fixture
def notes(system: System) -> list[Any]:
    """What the paused actor `a` has noted; `b` runs."""
    notes: list[Any] = []
    system.spawn(Scripted, "a", notes, restart=Restart(limit=3, within_s=1000.0))
    system.spawn(Scripted, "b")
    system.ask("a", Statistics())
    notes.clear()
    system.pause("a")
    system.ask("b", "so that the pause is in force on the live clock too")
    return notes


def said(notes: list[Any]) -> list[Any]:
    return [what for _, what in notes]


def test_what_comes_to_a_paused_actor_waits_and_is_handled_in_its_order(system: System, notes: list[Any]):
    system.send("a", 1)
    asked = system.ask_later("a", 2)
    system.send("a", 3)
    system.ask("b", "anything")
    assert said(notes) == [] and not asked.kept and system.is_alive("a")
    system.resume("a")
    assert system.ask("a", 4) == 4
    assert said(notes) == [1, 2, 3, 4] and asked.result() == 2


def test_what_comes_in_the_very_moment_of_resuming_is_neither_lost_nor_refused():
    notes: list[Any] = []
    asked: list[Any] = []
    with Virtual(seed=1) as system:

        class Held(list[Any]):
            """Puts what another thread could do on the live clock into the midst of resuming."""

            def __reversed__(self) -> Iterator[Any]:
                system.send("a", 2)
                asked.append(system.ask_later("a", 3))
                return super().__reversed__()

        system.spawn(Scripted, "a", notes)
        system.run(0.001)
        system.pause("a")
        system._cells["a"].held = Held()
        system.send("a", 1)
        system.resume("a")
        system.run(0.001)
        assert said(notes) == ["start", 1, 2, 3] and asked[0].result() == 3
        assert system.dead_letters == {}


def test_a_timer_of_a_paused_actor_waits_too_and_can_still_be_cancelled():
    notes: list[Any] = []
    timers: list[Any] = []
    with Virtual(seed=1) as system:
        system.spawn(Scripted, "a", notes)
        for what in ("first", "second"):
            system.ask("a", Say(lambda actor, what=what: timers.append(actor.context.after(0.01, what))))
        system.pause("a")
        system.run(1.0)
        assert said(notes) == ["start"]
        timers[1].cancel()
        system.resume("a")
        system.run(0.001)
        assert said(notes) == ["start", "first"]


def test_a_second_pause_changes_nothing_and_so_does_resuming_who_runs(system: System, notes: list[Any]):
    system.send("a", 1)
    system.pause("a")
    system.send("a", 2)
    system.resume("a")
    system.resume("a")
    system.ask("a", 3)
    assert said(notes) == [1, 2, 3]


def test_a_paused_actor_that_crashes_starts_again_without_what_waited(system: System, notes: list[Any]):
    asked = system.ask_later("a", "lost")
    system.crash("a")
    while not asked.kept:
        system.ask("b", "anything")
    assert system.ask("a", "new") == "new"
    assert said(notes) == ["failure", "start", "new"]
    with pytest.raises(ActorCrashed):
        asked.result()


def test_a_paused_actor_can_be_stopped(system: System, notes: list[Any]):
    system.send("a", "lost")
    system.stop("a")
    gone(system, "a")
    assert said(notes) == ["stop"]
    with pytest.raises(NoSuchActor):
        system.pause("a")


class Small(Scripted):
    mailbox_capacity = 3


class SmallNewest(Small):
    overflow = "drop_old"


@pytest.mark.parametrize("step_s", [0.0, 0.001], ids=["at once", "one by one"])
@pytest.mark.parametrize(("cls", "kept"), [(Small, [0, 1, 2]), (SmallNewest, [7, 8, 9])], ids=["new", "old"])
def test_no_more_waits_than_the_mailbox_holds(cls: type[Small], kept: list[int], step_s: float):
    notes: list[Any] = []
    with Virtual(seed=1) as system:
        system.spawn(cls, "a", notes)
        system.ask("a", "running")
        system.pause("a")
        for number in range(10):
            system.send("a", number)
            if step_s:
                system.run(step_s)
        assert system.statistics()["waiting"] == 3
        system.resume("a")
        system.run(0.001)
        assert said(notes) == ["start", "running", *kept]
        assert system.dead_letters == {"mailbox-full": 7}
        assert system.statistics()["dropped"] == 7


@pytest.mark.parametrize("cls", [Small, SmallNewest], ids=["new", "old"])
def test_no_more_asks_wait_than_the_mailbox_holds(cls: type[Small]):
    with Virtual(seed=1) as system:
        system.spawn(cls, "a")
        system.pause("a")
        asked = []
        for number in range(3):
            asked.append(system.ask_later("a", number))
            system.run(0.001)
        with pytest.raises(MailboxFull):
            system.ask_later("a", 3)
        system.resume("a")
        system.run(0.001)
        assert [promise.result() for promise in asked] == [0, 1, 2]


def test_an_actor_can_be_looked_at_without_a_message(system: System, notes: list[Any]):
    actor = system.peek("b")
    assert isinstance(actor, Scripted) and actor.context.name == "b"
    assert system.peek("a") is not None, "paused, and still there"
    assert system.peek("nobody") is None
