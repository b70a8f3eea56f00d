"""What only threads can get wrong: blocking, exclusion, order, and ending. Tests wait for events, never for time."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from raftyard.actors.system import (
    Actor,
    AskTimeout,
    Live,
    NoSuchActor,
    Probe,
    Promise,
    Statistics,
    Terminated,
    live,
)


class Blocking(Actor):
    """Waits in its handler until the test lets it go."""

    def __init__(self, entered: threading.Event, release: threading.Event) -> None:
        self.entered = entered
        self.release = release

    def on_receive(self, message: Any) -> Any:
        if message == "block":
            self.entered.set()
            self.release.wait(10)
        return threading.current_thread().name


class OwnThread(Blocking):
    dedicated_thread = True


@pytest.fixture
def gates() -> tuple[threading.Event, threading.Event]:
    return threading.Event(), threading.Event()


def test_a_blocked_handler_does_not_hold_up_the_other_actors(gates: Any) -> None:
    with Live(threads=2) as system:
        system.spawn(Blocking, "blocked", *gates)
        system.spawn(Blocking, "free", *gates)
        system.send("blocked", "block")
        assert gates[0].wait(5)
        assert system.ask("free", 1).startswith("raftyard-worker")
        gates[1].set()


def test_an_actor_that_blocks_has_a_thread_of_its_own_over_restarts(gates: Any) -> None:
    with Live(threads=1) as system:
        system.spawn(OwnThread, "disk", *gates)
        system.spawn(Blocking, "free", *gates)
        probe = Probe(system)
        system.send("disk", "block")
        assert gates[0].wait(5)
        assert system.ask("free", 1) == "raftyard-worker-0"
        gates[1].set()
        assert system.ask("disk", 1) == "raftyard-disk"
        probe.watch("disk")
        system.ask("probe", Statistics())
        system.crash("disk")
        probe.expect(object)
        assert system.ask("disk", 1) == "raftyard-disk"
        system.kill("disk")
        probe.expect(object)
        for thread in threading.enumerate():
            if thread.name == "raftyard-disk":
                thread.join(5)
                assert not thread.is_alive()


def test_an_ask_that_finds_an_actor_with_its_own_thread_just_before_its_end_is_refused(gates: Any) -> None:
    with Live() as system:
        system.spawn(OwnThread, "disk", *gates)
        cell = system._cells["disk"]
        probe = Probe(system)
        probe.watch("disk")
        system.ask("probe", Statistics())
        system.stop("disk")
        probe.expect(Terminated)
        asked, settled = Promise(), threading.Event()
        asked.on_settled(lambda _: settled.set())
        # What an ask from another thread does, when it comes too late.
        cell.mailbox.append((1, None, None, asked))
        system._wake(cell)
        assert settled.wait(5)
        assert isinstance(asked.error, NoSuchActor)


def test_many_actors_share_few_threads() -> None:
    before = threading.active_count()
    with Live(threads=2) as system:
        for i in range(2_000):
            system.spawn(Blocking, f"actor_{i}", threading.Event(), threading.Event())
        assert threading.active_count() - before == 3  # two workers and the timers
        assert {system.ask(f"actor_{i}", 1) for i in range(0, 2_000, 500)} <= {
            "raftyard-worker-0",
            "raftyard-worker-1",
        }
    assert threading.active_count() == before


def test_closing_names_an_actor_that_does_not_end_and_stops_the_others(
    gates: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stopped: list[str] = []

    class Noting(Blocking):
        def on_stop(self) -> None:
            stopped.append(self.context.name)

    system = Live(threads=2)
    system.spawn(Noting, "old", *gates)
    system.spawn(Noting, "stuck", *gates)
    system.send("stuck", "block")
    assert gates[0].wait(5)
    system.close(timeout_s=0.4)
    assert stopped == ["old"]
    assert "actor does not stop, its handler has not ended name=stuck" in caplog.text
    gates[1].set()


def test_closing_waits_for_a_slow_handler_for_most_of_its_time(
    gates: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []
    clock = [0.0]

    class Noting(OwnThread):
        def on_stop(self) -> None:
            stopped.append(self.context.name)

    class Waiting(threading.Event):
        """Takes no time, except that the handler ends after three seconds of the test's clock."""

        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            clock[0] += timeout
            if clock[0] < 3.0:
                return False
            gates[1].set()
            return super().wait(10)

    system = Live()
    for name in ("old", "disk"):
        system.spawn(Noting, name, *gates)
    system.send("disk", "block")
    assert gates[0].wait(5)
    monkeypatch.setattr(live, "Event", Waiting)
    monkeypatch.setattr(live, "monotonic", lambda: clock[0])
    system.close(timeout_s=5.0)
    assert stopped == ["disk", "old"]
    assert "does not stop" not in caplog.text


class Counting(Actor):
    """Both its intake and its handler change one number in two steps, which overlapping runs would spoil."""

    def __init__(self) -> None:
        self.inside = 0
        self.overlaps = 0
        self.taken = 0

    def enter(self) -> None:
        self.inside += 1
        for _ in range(20):  # long enough to be interrupted
            self.overlaps += self.inside - 1
        self.taken += 1
        self.inside -= 1

    def intake(self, message: Any) -> bool:
        self.enter()
        return bool(message % 2)

    def on_receive(self, message: Any) -> Any:
        if message is None:
            return self.taken, self.overlaps
        self.enter()
        return None


@pytest.fixture
def hectic() -> Iterator[None]:
    """Threads take turns as often as Python can, so that what may overlap does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Chatty(Actor):
    """Sends to another of its kind while it handles, and both have an intake."""

    def __init__(self, other: str) -> None:
        self.other = other
        self.taken = 0

    def intake(self, message: Any) -> bool:
        self.taken += message == "taken"
        return bool(message == "taken")

    def on_receive(self, message: Any) -> Any:
        if message == "report":
            return self.taken
        self.context.send(self.other, "taken")
        return None


@pytest.mark.usefixtures("hectic")
def test_two_actors_with_intakes_that_send_to_each_other_do_not_lock_each_other() -> None:
    with Live(threads=2) as system:
        system.spawn(Chatty, "a", "b")
        system.spawn(Chatty, "b", "a")
        from_threads(2, lambda i: [system.send("ab"[i], "go") for _ in range(2_000)])
        for name in ("a", "b", "a", "b"):
            taken = system.ask(name, "report")
        assert taken == 2_000


def from_threads(count: int, work: Any) -> None:
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("hectic")
def test_intake_and_handlers_of_one_actor_never_overlap() -> None:
    with Live(threads=2) as system:
        system.spawn(Counting, "link")
        from_threads(4, lambda _: [system.send("link", i) for i in range(1_000)])
        taken, overlaps = system.ask("link", None)
        assert (taken, overlaps) == (4_000 + 2_000, 0)


@pytest.mark.usefixtures("hectic")
def test_nothing_is_lost_or_reordered_among_many_senders() -> None:
    with Live(threads=3) as system:
        probe = Probe(system)
        from_threads(4, lambda sender: [system.send("probe", (sender, i)) for i in range(2_000)])
        system.ask("probe", Statistics())
        assert len(probe.received) == 8_000
        for sender in range(4):
            assert [i for s, i in probe.received if s == sender] == list(range(2_000))


def test_a_slow_handler_is_counted_and_told_to_those_who_debug(
    gates: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "raftyard")
    with Live() as system:
        system.spawn(Blocking, "a", *gates)
        system.send("a", "block")
        gates[0].wait(5)
        with pytest.raises(AskTimeout):  # 20 ms in which the handler does not end
            system.ask("a", 1, timeout_s=0.02)
        gates[1].set()
        assert system.ask("a", Statistics())["slow_handlers"] == 1
    assert "slow handler name=a message=str" in caplog.text


def test_a_delivery_check_that_raises_does_not_end_the_timers(caplog: pytest.LogCaptureFixture) -> None:
    with Live() as system:
        probe = Probe(system)

        def deliver(context: Any) -> None:
            context.deliver(1_000, "probe", 1, lambda: 1 / 0)
            context.after(0.005, "still running")

        probe.do(deliver)
        assert probe.expect(str) == "still running"
    assert "a delivery failed" in caplog.text
