"""Tells watchers what happens: one thread reads the event log and writes to all of them.

    Watchers ── one thread: woken by the log, and when a heartbeat or a deadline is due
    ├── EventStream   Server-Sent Events, until the client goes or the port closes
    └── EventQuery    one JSON answer, as soon as there is something to say or the time is up

A watcher is a position in the log and a Line to its client. Nothing is queued for it: a client that reads slowly is
left alone until it has taken what was sent, and then told what came after its position, or that it is gone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event as Flag, Lock, Thread
from typing import NamedTuple

import msgspec

from .ports import Event, EventLog, Unavailable
from .streams import Line, Stream

__all__ = ["Batch", "Dropped", "EventQuery", "EventStream", "Wanted", "Watchers", "as_json", "newest", "read"]

log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
RECONNECT_MS = 1000
MAX_WATCHERS = 2000
MAX_UNSENT_BYTES = 256 << 10
SLOW_CLIENT_S = 0.05
BATCH = 1000
_FAR_S = 3600.0


class Wanted(NamedTuple):
    """Which events: those of one cluster or of all (None), of some kinds or of all (None)."""

    cluster: str | None = None
    kinds: frozenset[str] | None = None

    def takes(self, event: Event) -> bool:
        """Whether that event is wanted."""
        return (self.cluster is None or event.cluster == self.cluster) and (
            self.kinds is None or event.kind in self.kinds
        )


class Dropped(NamedTuple):
    """A gap, by seq, both ends included: the log has forgotten these. No `to`: the program was started since then,
    and its log counts from 1 again."""

    first: int
    last: int | None

    def as_json(self) -> bytes:
        """`{"from":1,"to":20}`"""
        return msgspec.json.encode({"from": self.first, "to": self.last})


class Batch(NamedTuple):
    """Events in order; `last_seq` is the last one that was looked at, wanted or not: go on from there."""

    events: list[Event]
    last_seq: int
    dropped: Dropped | None
    is_all: bool


def read(events: EventLog, since: int, wanted: Wanted, limit: int) -> Batch:
    """The first `limit` wanted events after `since`."""
    dropped = None
    if since > events.last_seq:
        dropped, since = Dropped(since + 1, None), 0
    later = events.since(since)
    if later and later[0].seq > since + 1 and dropped is None:
        dropped = Dropped(since + 1, later[0].seq - 1)
    found: list[Event] = []
    last_seq = since
    for event in later:
        if len(found) == limit:
            return Batch(found, last_seq, dropped, is_all=False)
        last_seq = event.seq
        if wanted.takes(event):
            found.append(event)
    return Batch(found, last_seq, dropped, is_all=True)


def newest(events: EventLog, wanted: Wanted, limit: int) -> Batch:
    """The last `limit` wanted events."""
    known = events.since(0)
    found = [event for event in known if wanted.takes(event)][-limit:]
    return Batch(found, known[-1].seq if known else 0, None, is_all=True)


def as_json(batch: Batch) -> bytes:
    """`{"metadata": {"count", "last_seq", "dropped"}, "results": [event, …]}`"""
    dropped = b"null" if batch.dropped is None else batch.dropped.as_json()
    head = b'{"metadata":{"count":%d,"last_seq":%d,"dropped":%s},"results":['
    lines = b",".join(event.line() for event in batch.events)
    return head % (len(batch.events), batch.last_seq, dropped) + lines + b"]}\n"


def as_sse(batch: Batch) -> bytes:
    """The same as Server-Sent Events; a gap is an event of its own."""
    blocks = [b"id: %d\ndata: %s\n\n" % (event.seq, event.line()) for event in batch.events]
    if batch.dropped is not None:
        blocks.insert(0, b"event: events-dropped\ndata: %s\n\n" % batch.dropped.as_json())
    return b"".join(blocks)


class Watchers:
    """Everybody who watches. While there is nobody, no thread runs and the log calls nobody."""

    def __init__(
        self,
        log_of_all: Callable[[], EventLog],
        heartbeat_s: float = HEARTBEAT_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.heartbeat_s = heartbeat_s
        self.now = now
        self._log_of_all = log_of_all
        self._watching: dict[Watcher, None] = {}
        self._lock = Lock()
        self._woken = Flag()
        self._is_running = False
        # Many watchers stand at the same place and want the same: it is read and written down once a round.
        self._said: dict[tuple[int, Wanted], tuple[Batch, bytes]] = {}

    def check_room(self) -> None:
        """Raise Unavailable when there are too many."""
        if len(self._watching) >= MAX_WATCHERS:
            raise Unavailable(
                f"{MAX_WATCHERS} clients watch already", "close some, or ask without waiting", retry_after_s=5
            )

    def add(self, watcher: Watcher) -> None:
        """From now on it has its turns."""
        with self._lock:
            self._watching[watcher] = None
            if not self._is_running:
                self._is_running = True
                Thread(target=self._run, name="raftyard-events", daemon=True).start()
        self._woken.set()

    def remove(self, watcher: Watcher) -> None:
        """It has no more turns; no harm when it had none."""
        with self._lock:
            self._watching.pop(watcher, None)
        self._woken.set()

    def wake(self) -> None:
        """Give everybody a turn."""
        self._woken.set()

    def read(self, since: int, wanted: Wanted) -> tuple[Batch, bytes]:
        """What is new, also as Server-Sent Events. For the watchers, in their turns."""
        key = (since, wanted)
        if key not in self._said:
            batch = read(self._log_of_all(), since, wanted, BATCH)
            self._said[key] = batch, as_sse(batch)
        return self._said[key]

    def _run(self) -> None:
        unsubscribe = self._log_of_all().subscribe(self._happened)
        try:
            while self._has_watchers():
                due = self._round()
                self._woken.wait(max(0.0, due - self.now()))
        finally:
            unsubscribe()

    def _happened(self, _event: Event) -> None:
        if not self._woken.is_set():
            self._woken.set()

    def _has_watchers(self) -> bool:
        with self._lock:
            self._is_running = bool(self._watching)
            return self._is_running

    def _round(self) -> float:
        """Everybody's turn. Returns when the next one is due, if nothing happens before."""
        self._woken.clear()
        self._said.clear()
        due = self.now() + _FAR_S
        with self._lock:
            watching = tuple(self._watching)
        for watcher in watching:
            next_turn = self._turn(watcher)
            if next_turn is None:
                self.remove(watcher)
            else:
                due = min(due, next_turn)
        return due

    def _turn(self, watcher: Watcher) -> float | None:
        try:
            return watcher.turn()
        except Exception:
            log.exception("an event watcher is dropped")
            watcher.line.end()
            return None


class Watcher(Stream):
    """A position in the log, and a line to somebody who wants to know what comes after."""

    line: Line

    def __init__(self, watchers: Watchers, wanted: Wanted, since: int) -> None:
        self._watchers = watchers
        self._wanted = wanted
        self._since = since
        self._is_stopping = False

    def attach(self, line: Line) -> None:
        """Begin."""
        self.line = line
        self._watchers.add(self)

    def closed(self) -> None:
        """The client has gone."""
        self._watchers.remove(self)

    def stop(self) -> None:
        """The port closes."""
        self._is_stopping = True
        self._watchers.wake()

    def turn(self) -> float | None:
        """Say what is new. Returns when to come again at the latest, None when there will be no more."""
        raise NotImplementedError


class EventStream(Watcher):
    """Server-Sent Events from `since` on."""

    def __init__(self, watchers: Watchers, wanted: Wanted, since: int) -> None:
        super().__init__(watchers, wanted, since)
        self._beat = 0.0

    def attach(self, line: Line) -> None:
        """Tell the client at once that it is connected, and how soon to come again when it is not."""
        line.send(b"retry: %d\n: events after %d\n\n" % (RECONNECT_MS, self._since))
        self._beat = self._watchers.now() + self._watchers.heartbeat_s
        super().attach(line)

    def turn(self) -> float | None:
        """Events, or a heartbeat."""
        now = self._watchers.now()
        if self._is_stopping:
            self.line.end()
            return None
        if self.line.unsent() > MAX_UNSENT_BYTES:
            return now + SLOW_CLIENT_S
        batch, data = self._watchers.read(self._since, self._wanted)
        self._since = batch.last_seq
        if not data and now >= self._beat:
            # The id without data moves the client's Last-Event-ID on past what it did not want to hear.
            data = b": heartbeat\nid: %d\n\n" % self._since
        if data:
            if not self.line.send(data):
                return None
            self._beat = now + self._watchers.heartbeat_s
        return self._beat if batch.is_all else now


class EventQuery(Watcher):
    """One answer: what came after `since`, or nothing after `wait_s`."""

    def __init__(self, watchers: Watchers, wanted: Wanted, since: int, limit: int, wait_s: float) -> None:
        super().__init__(watchers, wanted, since)
        self._limit = limit
        self._until = watchers.now() + wait_s

    def turn(self) -> float | None:
        """The answer, if it is time."""
        batch, _ = self._watchers.read(self._since, self._wanted)
        has_news = bool(batch.events) or batch.dropped is not None
        if not has_news and not self._is_stopping and self._watchers.now() < self._until:
            self._since = batch.last_seq
            return self._until
        self.line.send(as_json(_first(batch, self._limit)))
        self.line.end()
        return None


def _first(batch: Batch, limit: int) -> Batch:
    if len(batch.events) <= limit:
        return batch
    events = batch.events[:limit]
    return Batch(events, events[-1].seq, batch.dropped, is_all=False)
