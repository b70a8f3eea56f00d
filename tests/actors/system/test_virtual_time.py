"""Virtual time: exact, repeatable, and open to those who want to look or to shuffle."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from raftyard.actors.system import Actor, AskInHandler, AskTimeout, Probe, Restart, Virtual


class Gossip(Actor):
    """Sends numbers around at random, on timers, and now and then crashes: much of what a system can do."""

    def __init__(self, peers: tuple[str, ...]) -> None:
        self.peers = peers

    def on_start(self) -> None:
        self.arm()

    def arm(self) -> None:
        self.timer = self.context.after(self.context.random.uniform(0.001, 0.01), "tick")

    def on_receive(self, message: Any) -> None:
        draw = self.context.random.random()
        if message == "tick":
            self.arm()
            self.context.send(self.context.random.choice(self.peers), 3)
        elif draw < 0.02:
            self.context.emit("crash", node=self.context.name, at=message)
            raise RuntimeError("planned")
        elif message > 0:
            self.timer.cancel()
            self.arm()
            if draw > 0.8:
                self.context.emit("heard", node=self.context.name, at=message)
            to = self.context.random.choice(self.peers)
            self.context.deliver(int(draw * 1e6), to, message - 1)
            self.context.send(to, message - 1)


def gossip(seed: int, shuffle_seed: int | None = None, **settings: Any) -> Virtual:
    system = Virtual(seed, shuffle_seed=shuffle_seed, **settings)
    names = tuple(f"node_{i}" for i in range(5))
    for name in names:
        system.spawn(Gossip, name, names, restart=Restart(limit=1_000))
    return system


def digest_of(seed: int, shuffle_seed: int | None = None) -> str:
    with gossip(seed, shuffle_seed) as system:
        system.run(2)
        return system.digest()


IN_ANOTHER_PROCESS = """
import logging, sys
sys.path.insert(0, sys.argv[1])
logging.disable()
from test_virtual_time import digest_of
print(digest_of(1), digest_of(1, 9))
"""


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_equal_seeds_give_equal_runs_in_any_process(hash_seed: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, os.path.dirname(__file__)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == [digest_of(1), digest_of(1, 9)]


def test_another_seed_or_another_shuffle_gives_another_run() -> None:
    assert len({digest_of(1), digest_of(2), digest_of(1, 1), digest_of(1, 2)}) == 4


def test_the_written_out_loop_does_what_the_complete_one_does() -> None:
    with gossip(3) as plain, gossip(3) as observed:
        seen: list[tuple[str, Any]] = []
        observed.observers.append(lambda name, message: seen.append((name, message)))
        plain.run(2)
        observed.run(2)
        assert plain.statistics() == observed.statistics()
        assert plain.digest() == observed.digest()
        assert plain.events.lines() == observed.events.lines()
        assert len({event.cause for event in plain.events.since(0)}) > 100
        assert len(seen) == observed.statistics()["handled"]


def test_running_in_steps_is_the_same_as_running_at_once() -> None:
    with gossip(4) as once, gossip(4) as in_parts:
        once.run(1)
        for part in range(1, 11):
            in_parts.run(until_ns=part * 100_000_000)
        assert once.digest() == in_parts.digest()


def test_the_digest_covers_the_event_log() -> None:
    with Virtual() as one, Virtual() as same, Virtual() as other:
        for system, term in ((one, 1), (same, 1), (other, 2)):
            system.events.emit("leader-elected", term=term)
        assert one.digest() == same.digest() != other.digest()


class Listener(Actor):
    def __init__(self, heard: list[Any]) -> None:
        self.heard = heard

    def on_receive(self, message: Any) -> Any:
        self.heard.append((self.context.name, message))
        return message


def test_a_shuffle_permutes_actors_but_keeps_each_ones_order() -> None:
    def heard(shuffle_seed: int | None) -> list[Any]:
        notes: list[Any] = []
        with Virtual(shuffle_seed=shuffle_seed) as system:
            for name in ("a", "b", "c"):
                system.spawn(Listener, name, notes)
            for i in range(5):
                for name in ("a", "b", "c"):
                    system.send(name, i)
            system.run(0)
        return notes

    in_order = heard(None)
    orders = [heard(seed) for seed in range(5)]
    assert in_order == [(name, i) for i in range(5) for name in ("a", "b", "c")]
    assert len({tuple(order) for order in orders}) == 5
    for order in orders:
        for name in ("a", "b", "c"):
            assert [i for n, i in order if n == name] == [0, 1, 2, 3, 4]


def test_times_are_exact_and_rounded_once() -> None:
    with Virtual() as system:
        probe = Probe(system)
        times: list[int] = []
        system.observers.append(lambda name, message: times.append(system.now_ns))
        probe.do(lambda c: [c.after(0.1 * i, i) for i in range(1, 4)])
        system.run(1.5)
        assert times == [0, 100_000_000, 200_000_000, 300_000_000]
        assert system.now_ns == 1_500_000_000
        with pytest.raises(TypeError):
            system.run()


def test_what_is_due_at_the_end_of_a_run_belongs_to_it() -> None:
    with Virtual() as system:
        probe = Probe(system)
        probe.do(lambda c: (c.after(1.0, "in"), c.after_ns(1_000_000_001, "out")))
        system.run(1.0)
        assert probe.received == ("in",)


def test_run_until_stops_at_the_very_message() -> None:
    with Virtual() as system:
        probe = Probe(system)
        probe.do(lambda c: [c.after(0.01 * i, i) for i in range(1, 10)])
        assert system.run_until(lambda: len(probe.received) == 3, within_s=1)
        assert (probe.received, system.now_ns) == ((1, 2, 3), 30_000_000)
        assert not system.run_until(lambda: len(probe.received) == 99, within_s=1)
        assert system.now_ns == 1_030_000_000


def test_step_handles_one_message() -> None:
    with Virtual() as system:
        heard: list[Any] = []
        system.spawn(Listener, "a", heard)
        system.send("a", 1)
        system.send("a", 2)
        assert system.step() and system.step()  # the start, the first message
        assert heard == [("a", 1)]
        assert system.step() and not system.step()


def test_an_ask_runs_the_system_no_further_than_its_answer() -> None:
    with Virtual() as system:
        heard: list[Any] = []
        system.spawn(Listener, "a", heard)
        system.send("a", 1)
        assert system.ask("a", 2) == 2
        system.send("a", 3)
        assert heard == [("a", 1), ("a", 2)]


class Silent(Actor):
    def on_receive(self, message: Any) -> Any:
        if message == "tick":
            self.context.after(0.3, "tick")
        return self.context.promise()


def test_an_ask_that_nothing_can_answer_is_called_a_deadlock() -> None:
    with Virtual() as system:
        system.spawn(Silent, "a")
        with pytest.raises(
            AskTimeout, match="'a' did not answer int and nothing is left to happen: a deadlock"
        ):
            system.ask("a", 1)
        system.send("a", "tick")
        with pytest.raises(AskTimeout, match="within 2 s of virtual time"):
            system.ask("a", 1, timeout_s=2)
        assert system.now_ns == 2_000_000_000


def test_nobody_runs_the_system_from_inside_it() -> None:
    with Virtual() as system:
        probe = Probe(system)
        caught: list[Exception] = []

        def run_inside(_: Any) -> None:
            for inside in (system.step, lambda: system.run(1), lambda: system.ask("probe", 1)):
                try:
                    inside()
                except AskInHandler as error:
                    caught.append(error)

        probe.do(run_inside)
        system.run(1)
        assert len(caught) == 3
        assert probe.received == ()


class Load(msgspec.Struct, frozen=True, kw_only=True):
    replicas: tuple[int, ...]


def test_the_codec_check_hands_over_copies_so_that_nothing_is_shared() -> None:
    with Virtual(codec_check=True) as system:
        probe = Probe(system)
        sent = Load(replicas=(1, 2))
        system.send("probe", sent)
        probe.do(lambda c: c.after(0.1, sent))
        system.run(1)
        assert probe.received == (sent, sent)
        assert probe.received[0] is not sent and probe.received[1] is not sent


class Leaky(msgspec.Struct, frozen=True, kw_only=True):
    replicas: Any


def test_the_codec_check_refuses_what_could_not_travel() -> None:
    with Virtual(codec_check=True) as system:
        Probe(system)
        system.send("probe", Leaky(replicas=object()))
        with pytest.raises(TypeError):
            system.run(1)


def test_crashes_can_surface_in_the_test_after_the_supervision_did_its_work() -> None:
    with Virtual(raise_crashes=True) as system:
        probe = Probe(system)
        probe.do(lambda c: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            system.run(1)
        system.crash("probe")  # asked for: no surprise
        system.run(1)
        assert system.is_alive("probe")


def test_a_crash_on_purpose_has_happened_when_the_call_returns() -> None:
    with Virtual() as system:
        heard: list[Any] = []
        system.spawn(Listener, "a", heard)
        system.send("a", "waits")
        system.kill("a")
        assert not system.is_alive("a") and system.names() == ()
        system.run(1)
        assert heard == []


def test_cancelled_timers_do_not_pile_up() -> None:
    with Virtual() as system:
        probe = Probe(system)

        def rearm(context: Any) -> None:
            for _ in range(10_000):
                context.after(3600, "never").cancel()
            context.after(1, "once")

        probe.do(rearm)
        system.run(0.5)
        assert len(system.heap) < 2_000
        system.run(1)
        assert probe.received == ("once",)


def test_cancelled_timers_do_not_make_time_pass() -> None:
    with Virtual() as system:
        probe = Probe(system)
        probe.do(lambda c: c.after(10, "never").cancel())
        while system.step():
            pass
        assert system.now_ns == 0


class Noting(Actor):
    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def on_stop(self) -> None:
        self.notes.append(self.context.name)


def test_closing_ends_those_who_are_just_stopping_or_restarting() -> None:
    notes: list[str] = []
    system = Virtual()
    system.spawn(Noting, "parent", notes)
    system.spawn(Noting, "child", notes, parent="parent")
    system.spawn(Noting, "late", notes, restart=Restart(delay_s=5))
    system.run(0)
    system.stop("parent")
    assert system.step()  # the parent begins to wait for its child
    system.crash("late")
    system.close()
    assert system.names() == ()
    assert notes == ["child", "parent"]


def test_an_observer_that_raises_ends_the_run_where_it_stands() -> None:
    with Virtual() as system:
        probe = Probe(system)

        def broken_promise(name: str, message: Any) -> None:
            assert message != 2, "two is not allowed"

        system.observers.append(broken_promise)
        for i in range(1, 4):
            system.send("probe", i)
        with pytest.raises(AssertionError, match="two is not allowed"):
            system.run(1)
        system.run(1)
        assert probe.received == (1, 2, 3)
