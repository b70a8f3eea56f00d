"""Watches the promises of a scenario while it is played, and remembers the first that was broken, with its moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import RLock
from typing import Any

import msgspec

from ..node import Node
from ..raft.core import Raft
from ..raft.events import Ready
from ..system import Event
from .checkers import CHECKERS, Checker, PromiseBroken
from .ground import Recorder
from .histories import History
from .inside import Inside

__all__ = ["Broken", "Watch"]

Condition = Callable[[], str | None]
"""Why it does not hold, None while it does."""


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A promise that did not hold: which, why, when, and how many events had been logged by then."""

    promise: str
    reason: str
    t_ns: int
    events: int


class Watch:
    """The checkers of one run. On the live clock (`is_live`) nobody looks into another's state; of a cluster of another
    program (`is_outside`) nothing is seen but its answers and its events."""

    def __init__(
        self,
        names: Iterable[str],
        inside: Inside,
        recorder: Recorder,
        history_of: Callable[[str], History],
        *,
        is_live: bool,
        is_outside: bool = False,
        forget: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.broken: Broken | None = None
        self.is_dirty = True
        """Whether anything may have changed since it was set to False."""
        self.not_watched: list[str] = []
        """Promises that cannot be watched on this clock, or from outside."""
        self._inside = inside
        self._recorder = recorder
        self._is_live = is_live
        self._lock = RLock()
        self._changed: dict[tuple[str, str], None] = {}
        self._conditions: dict[int, tuple[str, Condition, Condition | None]] = {}
        self._next = 0
        self._has_ended = False
        self.checkers: list[Checker] = []
        self._history_of = history_of
        self._forget = forget
        """Told of a nested cluster that is gone: one of its name has a history of its own."""
        self._names = list(names)
        self._insides = {inside.cluster: inside}
        for name in self._names:
            checker = CHECKERS[name]
            if (is_live and not checker.for_live_too) or (is_outside and not checker.from_outside_too):
                self.not_watched.append(name)
            else:
                self.checkers.append(CHECKERS[name](inside, history_of(inside.cluster)))
        self._wire()
        inside.system.events.subscribe(self._heard)

    def _wire(self) -> None:
        """Who is shown what, after the checkers have changed."""
        self._stepped = self._by_cluster("stepped")
        self._stepped_anywhere = self._those_with("stepped", [c for c in self.checkers if c.of_all_clusters])
        self._looked = self._by_cluster("looked")
        self._passed = self._those_with("passed", self.checkers)
        self._happened = self._those_with("happened", self.checkers)

    def _by_cluster(self, method: str) -> dict[str, list[Any]]:
        return {
            cluster: self._those_with(
                method, [c for c in self.checkers if c.of_all_clusters or c.inside.cluster == cluster]
            )
            for cluster in self._insides
        }

    def _those_with(self, method: str, checkers: list[Checker]) -> list[Any]:
        """The bound methods of those checkers that have one of their own."""
        return [
            getattr(checker, method)
            for checker in checkers
            if getattr(type(checker), method) is not getattr(Checker, method)
        ]

    def _follow_clusters(self, event: Event) -> None:
        """A nested cluster is watched from its start to its end, by checkers of its own."""
        cluster = event.cluster
        gone: list[Checker] = []
        if cluster is None or not cluster.startswith(f"{self._inside.cluster}."):
            return
        if event.kind == "cluster-started":
            inside = self._insides[cluster] = Inside(self._inside.system, cluster)
            self.checkers += [
                CHECKERS[name](inside, self._history_of(cluster))
                for name in self._names
                if name not in self.not_watched and not CHECKERS[name].of_all_clusters
            ]
        elif event.kind == "cluster-stopped":
            self._insides.pop(cluster, None)
            gone = [c for c in self.checkers if c.inside.cluster == cluster]
            self.checkers = [c for c in self.checkers if c.inside.cluster != cluster]
            self._forget(cluster)
            self._changed = {key: None for key in self._changed if key[0] != cluster}
        else:
            return
        self._wire()
        for checker in gone:
            checker.gone()

    @property
    def clusters(self) -> list[str]:
        """The cluster and those nested in it that are there now."""
        return list(self._insides)

    # -- what is seen

    def observe(self, core: Raft, event: Any, ready: Ready) -> None:
        """For `OrchestratorSettings.observe`: a member has stepped."""
        self.is_dirty = True
        if self.broken is not None or self._has_ended:
            return
        try:
            with self._lock:
                if not self._is_live:
                    self.look()
                for stepped in self._stepped.get(core.cluster, self._stepped_anywhere):
                    stepped(core, event, ready)
                if ready.apply is not None or ready.install is not None:
                    self._changed[core.cluster, core.member] = None
        except AssertionError as error:
            self.note(error)

    def look(self) -> None:
        """Look at the states that changed, and at the conditions. Raises PromiseBroken."""
        if self._changed and self._looked:
            for cluster, member in self._changed:
                inside = self._insides.get(cluster)
                node = None if inside is None else inside.member(member)
                if node is not None and node.applied:
                    self._look_at(node)
        self._changed = {}
        if not self._is_live:
            self._check_conditions()

    def _check_conditions(self) -> None:
        for name, condition, _ in tuple(self._conditions.values()):
            why = condition()
            if why is not None:
                raise PromiseBroken(name, why)

    def _look_at(self, node: Node) -> None:
        for looked in self._looked[node.cluster]:
            looked(node)

    def passed(self, t_ns: int) -> None:
        """Called between slices of time."""
        if self.broken is not None:
            return
        if self._is_live:
            # Not with the lock: what they look at is asked of the nodes, and those wait for it wherever they step.
            try:
                self._check_conditions()
            except AssertionError as error:
                self.note(error)
        try:
            with self._lock:
                if not self._is_live:
                    for passed in self._passed:
                        passed(t_ns)
                self.look()
        except AssertionError as error:
            self.note(error)

    def _heard(self, event: Event) -> None:
        self.is_dirty = True
        if self.broken is not None or self._has_ended:
            return
        try:
            with self._lock:
                self._follow_clusters(event)
                for happened in self._happened:
                    happened(event)
        except AssertionError as error:
            self.note(error)

    def end(self) -> None:
        """The last look; from now on nothing is watched: what stops in order breaks no promise."""
        if self.broken is None and not self._has_ended:
            try:
                if not self._is_live:
                    self.look()
                for checker in self.checkers:
                    checker.ended()
                for number in tuple(self._conditions):
                    self.release(number)
            except AssertionError as error:
                self.note(error)
        self._has_ended = True

    # -- conditions

    def demand(self, name: str, condition: Condition, *, at_last: Condition | None = None) -> int:
        """Watch a condition from now on, until `release` with this number; `at_last` is asked then, once."""
        self._next += 1
        self._conditions[self._next] = (name, condition, at_last)
        return self._next

    def release(self, number: int) -> None:
        """Watch it no more."""
        name, _, at_last = self._conditions.pop(number, ("", None, None))
        why = None if at_last is None else at_last()
        if why is not None:
            self.note(PromiseBroken(name, why))

    def note(self, error: AssertionError) -> None:
        """A promise is broken; the first one counts. Not to be called with the lock: who emits an event holds the log's
        lock and waits for this one, so what is emitted with this one may wait for ever."""
        promise, reason = (
            (error.promise, error.reason)
            if isinstance(error, PromiseBroken)
            else (type(error).__name__, str(error))
        )
        with self._lock:
            if self.broken is not None:
                return
            self.broken = Broken(
                promise=promise,
                reason=reason,
                t_ns=self._inside.system.now_ns,
                events=len(self._recorder.events),
            )
        self._inside.system.events.emit("promise-broken", cluster=self._inside.cluster, promise=promise, reason=reason)
