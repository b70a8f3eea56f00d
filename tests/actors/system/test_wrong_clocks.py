"""An actor whose clock is wrong measures wrong times; nobody else does."""

from __future__ import annotations

from typing import Any

import pytest

from raftyard.actors.system import Actor, Live, System, Virtual

MAKE = pytest.mark.parametrize("make", [lambda: Virtual(seed=1), lambda: Live(seed=1)], ids=["virtual", "live"])


class Watchmaker(Actor):
    """Says what time it is, and when a timer rang."""

    def on_receive(self, message: Any) -> Any:
        match message:
            case "now":
                return self.context.now()
            case ("ring", after_s):
                promise = self.context.promise()
                self.context.after(after_s, ("rang", promise))
                return promise
            case ("rang", promise):
                promise.keep(self.context.system.now_ns / 1e9)
        return None


@MAKE
def test_a_clock_that_leaps_shows_a_later_time_and_the_others_do_not(make: Any) -> None:
    with make() as system:
        system.spawn(Watchmaker, "wrong")
        system.spawn(Watchmaker, "right")
        system.set_clock("wrong", leap_ns=60_000_000_000)
        apart = system.ask("wrong", "now") - system.ask("right", "now")
        assert apart == pytest.approx(60, abs=1)
        system.set_clock("wrong", leap_ns=60_000_000_000)
        assert system.ask("wrong", "now") - system.ask("right", "now") == pytest.approx(120, abs=1)


@MAKE
def test_a_timer_goes_by_its_actors_clock(make: Any) -> None:
    with make() as system:
        system.spawn(Watchmaker, "fast")
        system.set_clock("fast", rate=100.0)
        began = system.now_ns / 1e9
        assert 0.099 < system.ask("fast", ("ring", 10.0)) - began < 5


def test_a_clock_that_is_set_right_goes_on_from_where_it_is() -> None:
    with Virtual(seed=1) as system:
        system.spawn(Watchmaker, "wrong")
        system.set_clock("wrong", rate=2.0)
        system.run(for_s=10)
        assert system.ask("wrong", "now") == 20
        system.set_clock("wrong")
        system.run(for_s=10)
        assert system.ask("wrong", "now") == 30


def test_a_fast_clock_does_not_ring_before_its_time_by_rounding() -> None:
    with Virtual(seed=1) as system:
        system.spawn(Watchmaker, "fast")
        system.set_clock("fast", rate=3.0)
        assert system.ask("fast", ("ring", 1e-9)) == 1e-9


def test_the_next_incarnation_and_an_actor_of_later_have_the_same_clock() -> None:
    def apart(system: System) -> float:
        return float(system.ask("wrong", "now")) - system.now_ns / 1e9

    with Virtual(seed=1) as system:
        system.set_clock("wrong", leap_ns=1_000_000_000)
        system.spawn(Watchmaker, "wrong")
        assert apart(system) == 1
        system.crash("wrong")
        assert apart(system) == 1


def test_a_clock_never_goes_back() -> None:
    with Virtual() as system:
        for wrong in ({"leap_ns": -1}, {"rate": 0.0}, {"rate": -1.0}):
            with pytest.raises(ValueError, match="never goes back"):
                system.set_clock("any", **wrong)
