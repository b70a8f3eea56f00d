"""The event log: what happened, one line an event, the source of every report."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(order="sorted").encode


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened.

    `t_ns` is nanoseconds since the system started. `cause` is the `seq` of the event that led to this one through the
    messages between, or None when it came from outside or from nothing that was logged.
    """

    seq: int
    t_ns: int
    kind: str
    cluster: str | None = None
    node: str | None = None
    term: int | None = None
    cause: int | None = None
    data: dict[str, Any]

    def line(self) -> bytes:
        """One line of JSON without its line end, keys sorted: equal events are equal bytes."""
        return _encode(self)


class EventLog:
    """The newest events, in order, and those who want to hear of new ones. Safe from any thread."""

    def __init__(self, clock: Callable[[], int], capacity: int = 10_000) -> None:
        self._clock = clock
        self._ring: deque[Event] = deque(maxlen=capacity)
        self._subscribers: tuple[Callable[[Event], None], ...] = ()
        self._lock = RLock()  # held while subscribers are called, so that each of them sees the order of seq
        self.last_seq = 0

    def emit(
        self,
        kind: str,
        *,
        cluster: str | None = None,
        node: str | None = None,
        term: int | None = None,
        cause: int | None = None,
        **data: Any,
    ) -> int:
        """Log an event and return its seq (from 1, no gaps)."""
        with self._lock:
            self.last_seq += 1
            event = Event(
                seq=self.last_seq,
                t_ns=self._clock(),
                kind=kind,
                cluster=cluster,
                node=node,
                term=term,
                cause=cause,
                data=data,
            )
            self._ring.append(event)
            for subscriber in self._subscribers:
                subscriber(event)
            return event.seq

    def since(self, seq: int = 0) -> tuple[Event, ...]:
        """Events after `seq`, oldest first. The ring forgets: compare the first one's seq with `seq + 1`."""
        with self._lock:
            missing = self.last_seq - seq
            newest = len(self._ring)
            if missing >= newest:
                return tuple(self._ring)
            return tuple(self._ring[i] for i in range(newest - max(missing, 0), newest))

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` for every new event, in order, in the thread that emits; it must be quick.

        Returns the function that ends it.
        """
        with self._lock:
            self._subscribers += (callback,)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = tuple(s for s in self._subscribers if s is not callback)

        return unsubscribe

    def lines(self, since: int = 0) -> bytes:
        """The events as JSON lines."""
        return b"".join(event.line() + b"\n" for event in self.since(since))
