"""What every actor may rely on, on both clocks."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pykka
import pytest

from raftyard.actors.system import (
    Actor,
    ActorCrashed,
    AskInHandler,
    AskTimeout,
    Live,
    MailboxFull,
    NameTaken,
    NoSuchActor,
    Probe,
    Promise,
    Restart,
    Statistics,
    System,
    SystemClosed,
    Terminated,
    Traced,
    Virtual,
)


@pytest.fixture(params=[Virtual, Live], ids=["virtual", "live"])
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    with request.param(seed=1) as system:
        yield system


class Say:
    """Tells a scripted actor what to do: each action is called with the actor."""

    def __init__(self, *actions: Callable[[Any], Any]) -> None:
        self.actions = actions


class Scripted(Actor):
    """Does what it is told, and notes what happens to it in a list outside."""

    def __init__(self, notes: list[Any] | None = None) -> None:
        self.notes = [] if notes is None else notes

    def on_start(self) -> None:
        self.note("start")

    def on_stop(self) -> None:
        self.note("stop")

    def on_failure(self, kind: Any, error: Any, trace: Any) -> None:
        self.note("failure")

    def note(self, what: Any) -> None:
        self.notes.append((self.context.name, what))

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Say):
            return [action(self) for action in message.actions][-1]
        self.note(message)
        return message


def fail(_: Any) -> None:
    raise ValueError("planned")


def settle(system: System, name: str) -> None:
    """Wait until the actor has handled what waits now."""
    system.ask(name, Statistics())


def gone(system: System, name: str) -> None:
    probe = Probe(system, f"watch of {name}")
    probe.watch(name)
    while probe.expect(Terminated).reason == "crashed":
        pass


# -- messages


def test_an_ask_is_answered_with_what_the_handler_returns(system: System) -> None:
    system.spawn(Scripted, "a")
    assert system.ask("a", 7) == 7


def test_messages_of_a_pair_keep_their_order(system: System) -> None:
    notes: list[Any] = []
    system.spawn(Scripted, "to", notes)
    system.spawn(Scripted, "from")
    system.ask("from", Say(lambda a: [a.context.send("to", i) for i in range(500)]))
    settle(system, "to")
    assert notes == [("to", "start"), *(("to", i) for i in range(500))]


def test_a_message_to_nobody_is_counted_and_does_not_trouble_the_sender(system: System) -> None:
    seen: list[Any] = []
    system.dead_letter_watchers.append(lambda *letter: seen.append(letter))
    system.spawn(Scripted, "a")
    system.ask("a", Say(lambda a: a.context.send("nobody", "hello")))
    assert system.dead_letters == {"dead": 1}
    assert seen == [("dead", "nobody", "hello")]


def test_asking_nobody_says_so(system: System) -> None:
    with pytest.raises(NoSuchActor, match="no actor named 'nobody'"):
        system.ask("nobody", 1)


def test_an_ask_without_an_answer_ends_in_time(system: System) -> None:
    system.spawn(Scripted, "a")
    with pytest.raises(AskTimeout, match="'a' did not answer Say"):
        system.ask("a", Say(lambda a: a.context.promise()), timeout_s=0.02)


@pytest.mark.parametrize("timeout_s", [-1.0, -0.5, 0.0])
def test_an_ask_with_no_time_left_does_not_wait(system: System, timeout_s: float) -> None:
    probe = Probe(system)
    system.spawn(Scripted, "a")
    probe.do(lambda context: context.after(0.001, "time goes on"))
    probe.expect(str)
    before_ns = system.now_ns
    probe.do(lambda context: context.after(1000.0, "something is left to happen"))
    with pytest.raises(AskTimeout):
        system.ask("a", Say(lambda a: a.context.promise()), timeout_s=timeout_s)
    assert system.now_ns >= before_ns


def test_an_ask_may_have_all_the_time_there_is(system: System) -> None:
    system.spawn(Scripted, "a")
    assert system.ask("a", 7, timeout_s=float("inf")) == 7


def test_a_promise_answers_the_ask_later(system: System) -> None:
    system.spawn(Scripted, "a")

    def later(actor: Scripted) -> Promise:
        promise = actor.context.promise()
        actor.context.after(0.01, Say(lambda _: promise.keep("now")))
        return promise

    assert system.ask("a", Say(later)) == "now"


def test_a_failed_promise_raises_its_error_and_crashes_nobody(system: System) -> None:
    system.spawn(Scripted, "a")

    def refuse(actor: Scripted) -> Promise:
        promise = actor.context.promise()
        assert promise.fail(LookupError("no such service"))
        assert not promise.keep(1)
        return promise

    with pytest.raises(LookupError, match="no such service"):
        system.ask("a", Say(refuse))
    assert system.ask("a", Statistics())["crashes"] == 0


def test_a_promise_of_an_actor_that_crashes_fails(system: System) -> None:
    system.spawn(Scripted, "a")

    def promise_and_crash(actor: Scripted) -> Promise:
        actor.context.after(0.01, Say(fail))
        return actor.context.promise()

    with pytest.raises(ActorCrashed):
        system.ask("a", Say(promise_and_crash))


def test_waiting_in_a_handler_is_an_error(system: System) -> None:
    system.spawn(Scripted, "a")
    system.spawn(Scripted, "b")
    for wait in (
        lambda _: system.ask("b", 1),
        lambda _: system.ref("b").ask(1),
        lambda _: system.close(),
    ):
        with pytest.raises(ActorCrashed) as caught:
            system.ask("a", Say(wait))
        assert isinstance(caught.value.error, AskInHandler)
        system.kill("a")
        gone(system, "a")
        system.stop("watch of a")
        settle_gone(system, "watch of a")
        system.spawn(Scripted, "a")


def settle_gone(system: System, name: str) -> None:
    try:
        system.ask(name, Statistics())
    except (NoSuchActor, AskTimeout):
        pass


def test_an_asyncio_caller_gets_its_answer(system: System) -> None:
    system.spawn(Scripted, "a")

    async def main() -> list[Any]:
        return await asyncio.gather(*(system.ask_async("a", i) for i in range(5)))

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


# -- time


def test_timers_come_in_order_of_time_and_a_cancelled_one_does_not_come(system: System) -> None:
    probe = Probe(system)

    def arm(context: Any) -> None:
        context.after(0.03, "third")
        context.after(0.01, "first")
        context.after(0.02, "never").cancel()
        context.after_ns(20_000_000, "second")

    probe.do(arm)
    assert [probe.expect(str) for _ in range(3)] == ["first", "second", "third"]


def test_a_timer_cancelled_while_it_lies_in_the_mailbox_is_not_handled(system: System) -> None:
    notes: list[Any] = []
    system.spawn(Scripted, "a", notes)

    def arm_and_cancel(actor: Scripted) -> None:
        timer = actor.context.after(0, "at once")  # in the mailbox already
        actor.context.after(0, "the other")
        timer.cancel()

    system.ask("a", Say(arm_and_cancel))
    settle(system, "a")
    assert notes == [("a", "start"), ("a", "the other")]


def test_a_dead_incarnations_timer_never_reaches_the_next_one(system: System) -> None:
    notes: list[Any] = []
    system.spawn(Scripted, "a", notes)
    probe = Probe(system)
    with pytest.raises(ActorCrashed):
        system.ask(
            "a", Say(lambda a: a.context.after(0.01, "old"), lambda a: a.context.after(0, "old"), fail)
        )
    probe.do(lambda context: context.after(0.03, "later"))
    probe.expect(str)
    settle(system, "a")
    assert notes == [("a", "start"), ("a", "failure"), ("a", "start")]
    assert system.dead_letters["stale-timer"] == 2


def test_delivery_takes_its_delay_and_is_void_if_the_wire_was_cut_meanwhile(system: System) -> None:
    probe = Probe(system, "to")
    system.spawn(Scripted, "link")
    system.ask(
        "link",
        Say(
            lambda a: a.context.deliver(20_000_000, "to", "late", lambda: True),
            lambda a: a.context.deliver(10_000_000, "to", "cut", lambda: False),
            lambda a: a.context.deliver(0, "to", "cut at once", lambda: False),
            lambda a: a.context.deliver(0, "to", "at once"),
        ),
    )
    assert [probe.expect(str), probe.expect(str)] == ["at once", "late"]
    assert system.dead_letters == {"link-cut": 2}


def test_time_goes_forward(system: System) -> None:
    system.spawn(Scripted, "a")
    first, now = system.ask("a", Say(lambda a: (a.context.now_ns(), a.context.now())))
    assert 0 <= first <= now * 1e9 + 1e6
    assert first <= system.now_ns


def test_each_actor_has_its_own_random_stream(system: System) -> None:
    draw = Say(lambda a: a.context.random.random())
    for name in ("a", "b"):
        system.spawn(Scripted, name)
    a, b = system.ask("a", draw), system.ask("b", draw)
    assert a != b
    with type(system)(seed=1) as other:  # type: ignore[call-arg]
        other.spawn(Scripted, "b")
        assert other.ask("b", draw) == b


# -- supervision


@pytest.mark.parametrize("asked", [False, True], ids=["told", "asked"])
def test_an_exception_is_a_crash_whether_told_or_asked(
    system: System, asked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    notes: list[Any] = []
    system.spawn(Scripted, "a", notes)
    probe = Probe(system)
    probe.watch("a")
    settle(system, "probe")
    if asked:
        with pytest.raises(ActorCrashed, match="ValueError: planned"):
            system.ask("a", Say(fail))
    else:
        system.send("a", Say(fail))
    assert probe.expect(Terminated) == Terminated(name="a", incarnation=1, reason="crashed")
    statistics = system.ask("a", Statistics())
    assert (statistics["incarnation"], statistics["crashes"]) == (2, 1)
    assert notes == [("a", "start"), ("a", "failure"), ("a", "start")]
    crashes = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(crashes) == 1 and crashes[0].exc_info is not None


def test_an_ask_that_waits_in_the_mailbox_of_a_crashing_actor_fails(system: System) -> None:
    waiting: list[Promise] = []

    def be_asked_and_crash(_: Scripted) -> None:
        waiting.append(system._post_ask("a", 1))  # what an ask from another thread does, at this very moment
        raise ValueError("planned")

    system.spawn(Scripted, "a")
    with pytest.raises(ActorCrashed):
        system.ask("a", Say(be_asked_and_crash))
    with pytest.raises(ActorCrashed):
        waiting[0].result()


def test_a_restarted_actor_is_made_anew_with_the_same_arguments_and_an_empty_mailbox(system: System) -> None:
    notes: list[Any] = []
    system.spawn(Scripted, "a", notes)
    probe = Probe(system)
    probe.watch("a")
    settle(system, "probe")

    def send_all(actor: Scripted) -> None:
        for message in ("before", Say(fail), "lost"):
            actor.context.send("a", message)

    def hold(actor: Scripted) -> None:
        send_all(actor)  # to itself: they wait until this handler ends

    system.ask("a", Say(hold))
    probe.expect(Terminated)
    settle(system, "a")
    assert notes == [("a", "start"), ("a", "before"), ("a", "failure"), ("a", "start")]
    assert system.dead_letters == {"dead": 1}


def test_too_many_crashes_give_an_actor_up_and_crash_its_parent(system: System) -> None:
    notes: list[Any] = []
    system.spawn(Scripted, "parent", notes)
    system.spawn(Scripted, "child", parent="parent", restart=Restart(limit=2))
    probe = Probe(system)
    probe.watch("child")
    probe.watch("parent")
    settle(system, "probe")
    for _ in range(3):
        with pytest.raises(ActorCrashed):
            system.ask("child", Say(fail))
    ends = [probe.expect(Terminated) for _ in range(4)]
    assert [(e.name, e.reason) for e in ends] == [
        *[("child", "crashed")] * 2,
        ("child", "gave-up"),
        ("parent", "crashed"),
    ]
    assert not system.is_alive("child")
    assert system.ask("parent", Statistics())["incarnation"] == 2


def test_an_actor_that_is_never_restarted_does_not_crash_its_parent(system: System) -> None:
    system.spawn(Scripted, "parent")
    system.spawn(Scripted, "child", parent="parent", restart=Restart.never())
    with pytest.raises(ActorCrashed):
        system.ask("child", Say(fail))
    with pytest.raises(NoSuchActor):
        system.ask("child", 1)
    assert system.ask("parent", Statistics())["crashes"] == 0


def test_a_restart_waits_for_its_delay_and_meanwhile_the_actor_is_dead(system: System) -> None:
    probe = Probe(system)
    system.spawn(Scripted, "a", restart=Restart(delay_s=0.3))
    with pytest.raises(ActorCrashed):
        system.ask("a", Say(fail))
    with pytest.raises(ActorCrashed):
        system.ask("a", 1)
    assert "a" in system.names()
    assert not probe.wait_for(lambda: system.is_alive("a"), 0.0)
    probe.do(lambda context: context.after(0.4, "later"))
    probe.expect(str)
    assert system.ask("a", Statistics())["incarnation"] == 2


def test_a_restart_ends_the_children_first(system: System) -> None:
    notes: list[Any] = []

    class Parent(Scripted):
        def on_start(self) -> None:
            super().on_start()
            self.context.spawn(Child, "child", self.notes)

    class Child(Scripted):
        def on_start(self) -> None:
            super().on_start()
            self.context.send("probe", "child started")

    probe = Probe(system)
    system.spawn(Parent, "parent", notes)
    probe.expect(str)
    with pytest.raises(ActorCrashed):
        system.ask("parent", Say(fail))
    probe.expect(str)
    assert [n for n in notes if n[1] != "failure"] == [
        ("parent", "start"),
        ("child", "start"),
        ("child", "stop"),
        ("parent", "start"),
        ("child", "start"),
    ]
    assert system.ask("parent", Statistics())["crashes"] == 1


def test_a_class_that_fails_when_made_anew_is_given_up_after_its_limit(system: System) -> None:
    made: list[int] = []

    class Fragile(Scripted):
        def __init__(self) -> None:
            super().__init__()
            made.append(1)
            if len(made) > 1:
                raise OSError("no disk")

    system.spawn(Fragile, "a")
    with pytest.raises(ActorCrashed):
        system.ask("a", Say(fail))
    gone(system, "a")
    assert len(made) == 4
    assert not system.is_alive("a")


def test_a_class_that_cannot_be_made_raises_in_spawn_and_takes_no_name(system: System) -> None:
    with pytest.raises(TypeError):
        system.spawn(Scripted, "a", 1, 2, 3)
    system.spawn(Scripted, "a")
    with pytest.raises(NameTaken, match="'a' is running already"):
        system.spawn(Scripted, "a")
    with pytest.raises(NoSuchActor):
        system.spawn(Scripted, "b", parent="nobody")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exception_that_ends_programs_ends_one_actor_only(
    system: System, kind: type[BaseException]
) -> None:
    def interrupt(_: Any) -> None:
        raise kind

    system.spawn(Scripted, "a")
    system.spawn(Scripted, "b")
    with pytest.raises((ActorCrashed, KeyboardInterrupt)):
        system.ask("a", Say(interrupt))
    probe = Probe(system)
    probe.watch("a")
    settle(system, "probe")
    system.send("a", Say(interrupt))
    try:
        settle(system, "b")
        assert probe.expect(Terminated).reason == "crashed"
    except KeyboardInterrupt:  # virtual: this thread is the one that was interrupted
        assert isinstance(system, Virtual)
    assert system.ask("b", 1) == 1
    assert system.ask("a", Statistics())["incarnation"] == 3


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_such_an_exception_ends_no_more_in_on_failure_or_when_the_actor_is_made_anew(
    system: System, kind: type[BaseException]
) -> None:
    made: list[int] = []

    class Exiting(Scripted):
        def __init__(self) -> None:
            super().__init__()
            made.append(1)
            if len(made) == 2:
                raise kind

        def on_failure(self, *_: Any) -> None:
            raise kind

    system.spawn(Exiting, "a")
    with pytest.raises(ActorCrashed):
        system.ask("a", Say(fail))
    statistics = system.ask("a", Statistics())
    assert (statistics["incarnation"], statistics["crashes"], len(made)) == (2, 2, 3)


def test_an_actor_can_be_crashed_and_killed_on_purpose(system: System) -> None:
    probe = Probe(system)
    system.spawn(Scripted, "a")
    probe.watch("a")
    settle(system, "probe")
    system.crash("a")
    assert probe.expect(Terminated).reason == "crashed"
    system.kill("a")
    assert probe.expect(Terminated).reason == "gave-up"
    with pytest.raises(NoSuchActor):
        system.crash("a")


def test_an_actor_that_waits_for_its_restart_can_be_killed_and_stays_dead(system: System) -> None:
    probe = Probe(system)
    system.spawn(Scripted, "a", restart=Restart(delay_s=1000.0))
    probe.watch("a")
    settle(system, "probe")
    system.crash("a")
    assert probe.expect(Terminated).reason == "crashed"
    system.kill("a")
    assert probe.expect(Terminated) == Terminated(name="a", incarnation=1, reason="gave-up")
    assert system.names() == ("probe",)


# -- stopping and watching


def test_stopping_stops_the_children_first_in_reverse_order_of_start(system: System) -> None:
    notes: list[Any] = []
    system.spawn(Scripted, "parent", notes)
    for name in ("one", "two"):
        system.ask("parent", Say(lambda a, name=name: a.context.spawn(Scripted, name, notes)))
    system.spawn(Scripted, "grandchild", notes, parent="two")
    for name in ("one", "two", "grandchild"):
        settle(system, name)
    probe = Probe(system)
    probe.watch("parent")
    settle(system, "probe")
    system.stop("parent")
    assert probe.expect(Terminated).reason == "stopped"
    assert [n[0] for n in notes if n[1] == "stop"] == ["grandchild", "two", "one", "parent"]
    with pytest.raises(NoSuchActor):
        system.stop("parent")


def test_nothing_is_started_under_an_actor_that_stops(system: System) -> None:
    caught: list[BaseException] = []

    class Parent(Scripted):
        def on_stop(self) -> None:
            try:
                self.context.spawn(Scripted, "child")
            except NoSuchActor as error:
                caught.append(error)

    system.spawn(Parent, "parent")
    system.stop("parent")
    gone(system, "parent")
    assert [str(error) for error in caught] == [
        "there is no actor named 'parent'; it is about to end, and nothing is started under it"
    ]
    assert system.names() == ("watch of parent",)


def test_what_a_child_starts_under_its_stopping_parent_ends_with_it(system: System) -> None:
    notes: list[Any] = []

    class Child(Scripted):
        def on_stop(self) -> None:
            super().on_stop()
            self.context.spawn(Scripted, "late", notes, parent="parent")

    system.spawn(Scripted, "parent", notes)
    system.spawn(Child, "child", notes, parent="parent")
    system.stop("parent")
    gone(system, "parent")
    assert [name for name, what in notes if what == "stop"] == ["child", "late", "parent"]


def test_messages_sent_before_a_stop_are_handled_and_later_ones_are_dead_letters(system: System) -> None:
    notes: list[Any] = []
    system.spawn(Scripted, "a", notes)
    system.ask(
        "a",
        Say(
            lambda a: a.context.send("a", "before"),
            lambda a: a.context.stop(),
            lambda a: a.context.send("a", "after"),
        ),
    )
    gone(system, "a")
    assert notes == [("a", "start"), ("a", "before"), ("a", "stop")]
    assert system.dead_letters == {"dead": 1}


def test_watching_nobody_is_answered(system: System) -> None:
    probe = Probe(system)
    probe.watch("nobody")
    assert probe.expect(Terminated) == Terminated(name="nobody", incarnation=0, reason="never-existed")


def test_a_name_used_again_does_not_watch_what_its_last_one_watched(system: System) -> None:
    notes: list[Any] = []
    system.spawn(Scripted, "a")
    system.spawn(Scripted, "watcher")
    system.ask("watcher", Say(lambda a: a.context.watch("a")))
    system.stop("watcher")
    gone(system, "watcher")
    system.spawn(Scripted, "watcher", notes)
    system.stop("a")
    gone(system, "a")
    settle(system, "watcher")
    assert notes == [("watcher", "start")]


def test_neither_watchers_nor_the_watched_are_remembered_when_they_have_ended(system: System) -> None:
    system.spawn(Scripted, "a")
    system.spawn(Scripted, "b")
    system.ask("a", Say(lambda a: a.context.watch("b")))
    system.ask("b", Say(lambda b: b.context.watch("a")))
    system.stop("b")
    gone(system, "b")
    assert not system._cells["a"].watchers and not system._cells["a"].watching


def test_a_name_used_again_has_a_new_incarnation(system: System) -> None:
    system.spawn(Scripted, "a")
    system.stop("a")
    gone(system, "a")
    system.spawn(Scripted, "a")
    assert system.ask("a", Say(lambda a: a.context.incarnation)) == 2


def test_a_failing_on_stop_still_ends_the_actor(system: System) -> None:
    class Stubborn(Scripted):
        def on_stop(self) -> None:
            raise OSError("still open")

    system.spawn(Stubborn, "a")
    system.stop("a")
    gone(system, "a")
    assert system.names() == ("watch of a",)


def test_a_crash_in_on_start_follows_the_same_rules(system: System) -> None:
    class NoStart(Scripted):
        def on_start(self) -> None:
            raise OSError("no port")

    probe, watch = Probe(system), Probe(system, "watch")
    watch.watch("probe")
    settle(system, "watch")
    probe.do(lambda c: (c.spawn(NoStart, "a", restart=Restart(limit=1)), c.watch("a")))
    ends = [probe.expect(Terminated)]
    while ends[-1].reason == "crashed":
        ends.append(probe.expect(Terminated))
    assert ends[-1].reason in ("gave-up", "never-existed")
    assert not system.is_alive("a")
    assert watch.expect(Terminated).reason == "crashed"  # the parent, in its turn


def test_a_thousand_crashes_in_a_row_are_no_deep_recursion(system: System) -> None:
    class NoStart(Scripted):
        def on_start(self) -> None:
            raise OSError("no port")

    logging.disable(logging.ERROR)
    try:
        system.spawn(NoStart, "a", restart=Restart(limit=1_000))
        gone(system, "a")
        assert not system.is_alive("a")
    finally:
        logging.disable(logging.NOTSET)


def test_close_stops_everything_in_reverse_and_a_closed_system_says_so(system: System) -> None:
    notes: list[Any] = []
    for name in ("a", "b", "c"):
        system.spawn(Scripted, name, notes)
        settle(system, name)
    system.close()
    system.close()
    assert [n[0] for n in notes if n[1] == "stop"] == ["c", "b", "a"]
    assert system.names() == ()
    system.send("a", 1)
    with pytest.raises(SystemClosed):
        system.ask("a", 1)
    with pytest.raises(SystemClosed):
        system.spawn(Scripted, "a")
    assert not [t for t in threading.enumerate() if t.name.startswith("raftyard")]


def test_several_systems_live_side_by_side(system: System) -> None:
    with type(system)(seed=2) as other:  # type: ignore[call-arg]
        system.spawn(Scripted, "a")
        other.spawn(Scripted, "a")
        assert system.ask("a", 1) == other.ask("a", 1)
        other.stop("a")
    assert system.ask("a", 2) == 2
    assert pykka.ActorRegistry.get_all() == []


# -- mailboxes


class Small(Scripted):
    mailbox_capacity = 3


class SmallNewest(Small):
    overflow = "drop_old"


def overfill(actor: Scripted) -> None:
    actor.context.after(0, "timer")  # first in the mailbox, and not to be dropped
    for i in range(6):
        actor.context.send(actor.context.name, i)
    actor.context.after(0, Say(lambda a: a.context.send("probe", "done")))


@pytest.mark.parametrize(("cls", "kept"), [(Small, [0, 1]), (SmallNewest, [4, 5])], ids=["new", "old"])
def test_a_full_mailbox_drops_and_counts_but_timers_pass(
    system: System, cls: type[Small], kept: list[int]
) -> None:
    notes: list[Any] = []
    probe = Probe(system)
    system.spawn(cls, "a", notes)
    system.ask("a", Say(overfill))
    probe.expect(str)
    statistics = system.ask("a", Statistics())
    assert notes == [("a", "start"), ("a", "timer"), *(("a", i) for i in kept)]
    assert statistics["dropped"] == 4
    assert system.dead_letters == {"mailbox-full": 4}


def test_control_passes_a_full_mailbox(system: System) -> None:
    system.spawn(Small, "a")
    system.spawn(Scripted, "b")
    probe = Probe(system)
    probe.watch("a")
    settle(system, "probe")

    def overfill_and_stop(actor: Scripted) -> None:
        overfill(actor)
        actor.context.stop()

    system.ask("a", Say(overfill_and_stop))
    assert probe.expect(Terminated).reason == "stopped"


def test_asking_an_actor_whose_mailbox_is_full_fails_at_once(system: System) -> None:
    caught: list[BaseException] = []
    system.spawn(Small, "a")

    def overfill_then_be_asked(actor: Scripted) -> None:
        overfill(actor)
        try:
            system._post_ask("a", 1)  # what an ask from outside does, at a moment that is surely full
        except MailboxFull as error:
            caught.append(error)

    system.ask("a", Say(overfill_then_be_asked))
    assert [str(e) for e in caught] == [
        "'a' has 3 messages waiting, as many as it may; try again in a moment"
    ]


# -- intake


class Wire(Actor):
    """Consumes even numbers while they are sent, and queues the rest."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.queued: list[Any] = []

    def intake(self, message: Any) -> bool:
        if message == "break":
            raise RuntimeError("broken wire")
        if not isinstance(message, int) or message % 2:
            return False
        self.taken.append(message)
        self.context.deliver(0, "probe", message)
        return True

    def on_receive(self, message: Any) -> Any:
        if message == "report":
            return tuple(self.taken), tuple(self.queued)
        if isinstance(message, tuple):
            self.context.send(*message)
        self.queued.append(message)
        return None


def test_intake_consumes_a_message_while_it_is_sent(system: System) -> None:
    probe = Probe(system)
    system.spawn(Wire, "wire")
    system.spawn(Scripted, "a")
    system.ask("a", Say(lambda a: [a.context.send("wire", i) for i in range(4)]))
    assert system.ask("wire", "report") == ((0, 2), (1, 3))
    settle(system, "probe")
    assert probe.received == (0, 2)


def test_a_crash_in_intake_is_a_crash_of_its_actor_not_of_the_sender(system: System) -> None:
    system.spawn(Wire, "wire")
    system.spawn(Scripted, "a")
    probe = Probe(system)
    probe.watch("wire")
    settle(system, "probe")
    system.ask("a", Say(lambda a: a.context.send("wire", "break")))
    assert probe.expect(Terminated).reason == "crashed"
    assert system.ask("wire", Statistics())["incarnation"] == 2
    assert system.ask("a", Statistics())["crashes"] == 0


def test_two_wires_that_send_to_each_other_do_not_lock_each_other(system: System) -> None:
    Probe(system)
    for name in ("wire", "other"):
        system.spawn(Wire, name)
    for _ in range(200):
        system.send("wire", ("other", 2))
        system.send("other", ("wire", 2))
    settle(system, "wire")
    settle(system, "other")
    assert len(system.ask("wire", "report")[0]) == len(system.ask("other", "report")[0]) == 200


# -- looking on


def test_every_actor_answers_with_its_statistics(system: System) -> None:
    class Counting(Scripted):
        def statistics(self) -> dict[str, int | float | str]:
            return {"notes": len(self.notes)}

    system.spawn(Counting, "a")
    system.ask("a", 1)
    assert system.ask("a", Statistics()) == {
        "class": "Counting",
        "incarnation": 1,
        "waiting": 0,
        "handled": 2,
        "dropped": 0,
        "crashes": 0,
        "slow_handlers": 0,
        "notes": 2,
    }
    assert system.statistics()["handled"] == 2


def test_a_trace_says_who_sent_what_to_whom_and_which_message_caused_it(system: System) -> None:
    seen: list[Traced] = []
    system.spawn(Scripted, "a")
    system.spawn(Scripted, "b")
    system.trace(seen.append)
    system.ask("a", Say(lambda a: a.context.send("b", "hello")))
    settle(system, "b")
    system.trace(None)
    system.ask("a", 1)
    hello = next(t for t in seen if t.message == "hello")
    cause = next(t for t in seen if t.number == hello.caused_by)
    assert (hello.sender, hello.to, cause.to, cause.sender) == ("a", "b", "a", None)
    assert not [t for t in seen if t.message == 1]


def test_a_trace_sink_that_fails_takes_no_message_away(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_to_write(_: Traced) -> None:
        raise OSError("no space left")

    system.spawn(Scripted, "a")
    system.trace(fail_to_write)
    assert system.ask("a", 1) == 1
    assert "a trace sink failed name=a" in caplog.text


def test_a_trace_follows_a_message_through_an_intake(system: System) -> None:
    seen: list[Traced] = []
    probe = Probe(system)
    system.spawn(Wire, "wire")
    system.spawn(Scripted, "a")
    system.trace(seen.append)
    system.ask("a", Say(lambda a: a.context.send("wire", 2)))
    probe.expect(int)
    system.trace(None)
    arrived = next(t for t in seen if t.to == "probe")
    cause = next(t for t in seen if t.number == arrived.caused_by)
    assert (arrived.sender, cause.to) == ("wire", "a")


def test_an_event_names_the_event_that_led_to_it_through_messages_and_timers(system: System) -> None:
    probe = Probe(system)
    system.spawn(Scripted, "a")
    system.spawn(Scripted, "b")
    end = Say(lambda b: b.context.emit("end", node="b"), lambda b: b.context.send("probe", "done"))
    middle = Say(lambda b: b.context.after(0.001, end))
    begin = Say(lambda a: a.context.emit("begin", term=3, why="test"), lambda a: a.context.send("b", middle))
    system.ask("a", begin)
    probe.expect(str)
    first, second = system.events.since(0)
    assert (first.kind, first.cause, first.term, first.data) == ("begin", None, 3, {"why": "test"})
    assert (second.kind, second.cause, second.node) == ("end", first.seq, "b")
    assert system.events.since(1) == (second,)
    assert first.line().startswith(b'{"cause":null,"cluster":null,"data":{"why":"test"},"kind":"begin"')


def test_events_can_be_subscribed_to_and_the_ring_forgets(system: System) -> None:
    with type(system)(events=3) as small:  # type: ignore[call-arg]
        seen: list[int] = []
        end = small.events.subscribe(lambda event: seen.append(event.seq))
        for _ in range(4):
            small.events.emit("tick")
        end()
        small.events.emit("tick")
        assert seen == [1, 2, 3, 4]
        assert [e.seq for e in small.events.since(0)] == [3, 4, 5]
        assert small.events.since(5) == small.events.since(99) == ()


# -- Pykka


def test_pykka_references_and_proxies_reach_our_actors(system: System) -> None:
    notes: list[Any] = []
    system.spawn(Scripted, "a", notes)
    ref = system.ref("a")
    assert ref.actor_urn == "a" and ref.is_alive()
    ref.tell("told")
    assert ref.ask("asked") == "asked"
    assert ref.proxy().on_receive("called").get() == "called"
    ref.stop()
    assert not ref.is_alive()
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("late")
    assert [n[1] for n in notes] == ["start", "told", "asked", "called", "stop"]


def test_starting_an_actor_as_pykka_does_says_what_to_do_instead() -> None:
    with pytest.raises(TypeError, match="start Scripted with spawn"):
        Scripted.start()
