"""Our virtual clock and SimPy's side by side: events a CPU second in three small worlds.

Timers of 2 and of 1,000 actors that each wake once a virtual second, and 1,000 actors in 500 pairs that send one
message to and fro (SimPy: through a Store each). An event is a wake-up or a message received.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Generator
from typing import Any

import msgspec

from raftyard.actors import Actor, Virtual

HAS_SIMPY = importlib.util.find_spec("simpy") is not None
PAIRS = 500

World = Callable[[int], tuple[int, float]]
"""Given about how many events to run, how many there were and the CPU seconds they took."""


class Wake(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """To itself, once a second."""


class Ball(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """To and fro."""


class Sleeper(Actor):
    """Wakes once a virtual second."""

    wakes = 0

    def on_start(self) -> None:
        """Go to sleep."""
        self.context.after(1.0, Wake())

    def on_receive(self, message: Any) -> None:
        """Count, and sleep again."""
        self.wakes += 1
        self.context.after(1.0, message)


class Player(Actor):
    """Sends every ball back until it has had enough."""

    def __init__(self, partner: str, serves: bool, catches: int) -> None:
        super().__init__()
        self._partner = partner
        self._serves = serves
        self._left = catches

    def on_start(self) -> None:
        """The first ball, half a second later, when everybody has started."""
        if self._serves:
            self.context.after(0.5, Ball())

    def on_receive(self, message: Any) -> None:
        """Send it back."""
        if self._left:
            self._left -= 1
            self.context.send(self._partner, message)


def our_timers(actors: int) -> World:
    """`actors` sleepers on the virtual clock."""

    def world(events: int) -> tuple[int, float]:
        with Virtual(seed=1) as system:
            for number in range(actors):
                system.spawn(Sleeper, f"sleeper{number}")
            system.run(0.5)
            rounds = max(1, events // actors)
            return actors * rounds, _cpu_s(lambda: system.run(float(rounds)))

    return world


def our_ping_pong(events: int) -> tuple[int, float]:
    """500 pairs on the virtual clock."""
    catches = max(1, events // (2 * PAIRS))
    with Virtual(seed=1) as system:
        for pair in range(PAIRS):
            system.spawn(Player, f"a{pair}", f"b{pair}", True, catches)
            system.spawn(Player, f"b{pair}", f"a{pair}", False, catches)
        system.run(0.25)
        return 2 * PAIRS * catches, _cpu_s(lambda: system.run(1.0))


def simpy_timers(actors: int) -> World:
    """`actors` processes that sleep."""
    import simpy

    def sleep(environment: Any) -> Generator[Any, Any, None]:
        while True:
            yield environment.timeout(1.0)

    def world(events: int) -> tuple[int, float]:
        environment = simpy.Environment()
        for _ in range(actors):
            environment.process(sleep(environment))
        environment.run(until=0.5)
        rounds = max(1, events // actors)
        return actors * rounds, _cpu_s(lambda: environment.run(until=0.5 + rounds))

    return world


def simpy_ping_pong(events: int) -> tuple[int, float]:
    """500 pairs of processes with a Store each."""
    import simpy

    catches = max(1, events // (2 * PAIRS))
    environment = simpy.Environment()

    def play(own: Any, partner: Any) -> Generator[Any, Any, None]:
        for _ in range(catches):
            ball = yield own.get()
            yield partner.put(ball)

    for _ in range(PAIRS):
        first, second = simpy.Store(environment), simpy.Store(environment)
        environment.process(play(first, second))
        environment.process(play(second, first))
        first.put("ball")
    return 2 * PAIRS * catches, _cpu_s(environment.run)


def ours() -> dict[str, World]:
    """Our three worlds by name."""
    return {"timers2": our_timers(2), "timers1000": our_timers(1000), "ping_pong1000": our_ping_pong}


def simpys() -> dict[str, World]:
    """SimPy's three worlds by name; empty when it is not installed."""
    if not HAS_SIMPY:
        return {}
    return {"timers2": simpy_timers(2), "timers1000": simpy_timers(1000), "ping_pong1000": simpy_ping_pong}


def rate(worlds: dict[str, World], events: int) -> float:
    """Events a CPU second, the geometric mean of the worlds."""
    rates = []
    for world in worlds.values():
        count, spent = world(events)
        rates.append(count / spent)
    return math.prod(rates) ** (1 / len(rates))


def _cpu_s(action: Callable[[], object]) -> float:
    begin = time.process_time()
    action()
    return time.process_time() - begin
