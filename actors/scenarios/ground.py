"""What a scenario stands on: a system of one clock or the other, how time passes on it, and how it is looked at."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Protocol

from ..messages import DescribeCluster, cluster_actor
from ..system import ActorError, Event, Live, System, Virtual
from .inside import Inside
from .picture import Picture
from .views import View

__all__ = ["Ground", "LiveGround", "Recorder", "VirtualGround"]

SLICE_NS = 100_000_000
"""Virtual time passes in such steps, so that a broken promise ends the run soon."""
POLL_S = 0.02
EVENTS = sys.maxsize
"""The log keeps every event, as the Recorder does: a run ends, and `system.events.lines()` is all of it."""
MOST_NODES = 1000
"""So many are looked at from outside."""


class Recorder:
    """Every event of a run, and the SHA-256 of its lines: equal seeds give equal digests."""

    def __init__(self, system: System) -> None:
        self.events: list[Event] = []
        self.kinds: dict[str, int] = {}
        self._sha = sha256()
        system.events.subscribe(self._heard)

    def _heard(self, event: Event) -> None:
        self.events.append(event)
        self.kinds[event.kind] = self.kinds.get(event.kind, 0) + 1
        self._sha.update(event.line() + b"\n")

    def digest(self) -> str:
        return self._sha.hexdigest()


class Ground(Protocol):
    """A system and its clock."""

    system: System
    recorder: Recorder

    def run(self, until_ns: int, stop: Callable[[], bool] | None) -> bool:
        """Let time pass until a point of it, or until `stop()`, asked whenever something may have changed. Whether it
        was `stop` that ended it."""

    def view(self, cluster: str = "0") -> View:
        """A cluster now."""

    def close(self) -> None: ...


class VirtualGround:
    """One thread, one seed: nothing happens but while `run` is called."""

    def __init__(self, seed: int, alarm: Callable[[], bool], **options: Any) -> None:
        self.system: System = (
            virtual := Virtual(seed=seed, raise_crashes=True, with_digest=False, events=EVENTS, **options)
        )
        self._virtual = virtual
        self.recorder = Recorder(virtual)
        self._insides: dict[str, Inside] = {}
        self._alarm = alarm

    def run(self, until_ns: int, stop: Callable[[], bool] | None) -> bool:
        """See Ground.run; ends early on an alarm too."""
        virtual, alarm = self._virtual, self._alarm
        if stop is not None:
            stopped = False

            def has_ended() -> bool:
                nonlocal stopped
                stopped = stopped or stop()
                return stopped or alarm()

            virtual.run_until(has_ended, (until_ns - virtual.now_ns) / 1e9)
            return stopped
        while not alarm():
            virtual.run(until_ns=min(until_ns, virtual.now_ns + SLICE_NS))
            if virtual.now_ns >= until_ns:
                break
        return False

    def view(self, cluster: str = "0") -> View:
        if cluster not in self._insides:
            self._insides[cluster] = Inside(self._virtual, cluster, kinds=self.recorder.kinds)
        return self._insides[cluster]

    def close(self) -> None:
        self.system.close()


class LiveGround:
    """Real time; the cluster is seen through its front door."""

    def __init__(self, seed: int, alarm: Callable[[], bool]) -> None:
        self.system: System = Live(seed=seed, events=EVENTS)
        self.recorder = Recorder(self.system)
        self._alarm = alarm
        self._changed = threading.Event()
        self.system.events.subscribe(lambda _: self._changed.set())

    def run(self, until_ns: int, stop: Callable[[], bool] | None) -> bool:
        """See Ground.run; what is not in the event log is noticed within 20 ms."""
        while self.system.now_ns < until_ns and not self._alarm():
            if stop is not None and stop():
                return True
            left_s = (until_ns - self.system.now_ns) / 1e9
            self._changed.clear()
            self._changed.wait(max(0.0, min(POLL_S, left_s)))
        return stop is not None and stop()

    def view(self, cluster: str = "0") -> View:
        """What the front door answers; while it does not, a cluster in which nobody answers."""
        nothing: dict[str, Any] = {"nodes": [], "leader": None, "services": [], "connections": {}}
        try:
            answer = self.system.ask(cluster_actor(cluster), DescribeCluster(limit=MOST_NODES), 5.0)
        except ActorError:
            answer = nothing
        return Picture(answer, self.system.now_ns / 1e9, self.recorder.kinds)

    def close(self) -> None:
        self.system.close()
