"""Service calls in line: worked one at a time, merged while they wait, remembered when they are done."""

from __future__ import annotations

import msgspec

from .commands import ServiceCall
from .records import CallRecord, CallStatus

FINISHED_KEPT = 1_000
"""Finished calls that can still be asked for, and whose ids and idempotency keys are still known."""

SHARES_KEPT = 250_000
"""(node, replicas) pairs kept in all finished calls together; older calls lose their distribution first."""


class QueuedCall(msgspec.Struct, kw_only=True, array_like=True):
    """A call while it waits and after; `absorbed` are the older calls that are carried out with it."""

    call: ServiceCall
    log_index: int
    status: CallStatus = "spreading pending"
    executed_index: int | None = None
    merged_into: str | None = None
    absorbed: tuple[str, ...] = ()
    placed: int = 0
    pending: int = 0
    reason: str = ""
    shares: tuple[tuple[str, int], ...] = ()

    def is_for(self, call: ServiceCall) -> bool:
        """Whether it asks for the same; the order of a body's fields says nothing."""
        if self.call.body == call.body:
            return True
        try:
            return bool(msgspec.json.decode(self.call.body) == msgspec.json.decode(call.body))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False

    def names(self) -> frozenset[str]:
        return frozenset(request.name for request in self.call.services)

    def record(self) -> CallRecord:
        call = self.call
        return CallRecord(
            id=call.id,
            status=self.status,
            services=call.services,
            body=call.body,
            received_ms=call.received_ms,
            idempotency_key=call.idempotency_key,
            log_index=self.log_index,
            executed_index=self.executed_index,
            merged_into=self.merged_into,
            absorbed=self.absorbed,
            placed=self.placed,
            pending=self.pending,
            reason=self.reason,
            load_distribution=self.shares,
        )


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a call ended."""

    status: CallStatus
    index: int
    placed: int = 0
    pending: int = 0
    reason: str = ""
    shares: tuple[tuple[str, int], ...] = ()


class CallQueue:
    """The first call in line is the one being worked on (`spreading`); it is never merged."""

    def __init__(self, known: tuple[QueuedCall, ...] = ()) -> None:
        self._known: dict[str, QueuedCall] = {}
        self._line: dict[str, None] = {}
        self._finished: dict[str, None] = {}
        self._keys: dict[str, str] = {}
        self._waiting_for: dict[str, dict[str, None]] = {}
        self._newest: dict[str, str] = {}
        self._shares = 0
        self._last: str | None = None
        for queued in known:
            self._remember(queued)

    def _remember(self, queued: QueuedCall) -> None:
        id = queued.call.id
        self._known[id] = queued
        if queued.call.idempotency_key is not None:
            self._keys[queued.call.idempotency_key] = id
        if self._last is None or queued.log_index >= self._known[self._last].log_index:
            self._last = id
        for name in sorted(queued.names()):
            newest = self._newest.get(name)
            if newest is None or self._known[newest].log_index < queued.log_index:
                self._newest[name] = id
        if queued.executed_index is not None:
            self._finished[id] = None
            self._shares += len(queued.shares)
        elif queued.merged_into is None:
            self._line[id] = None
            for name in sorted(queued.names()):
                self._waiting_for.setdefault(name, {})[id] = None

    # reading

    def __len__(self) -> int:
        """Calls that are not finished, merged ones included."""
        return len(self._known) - len(self._finished)

    def head(self) -> QueuedCall | None:
        return self._known[next(iter(self._line))] if self._line else None

    def find(self, id: str) -> QueuedCall | None:
        return self._known.get(id)

    def find_same(self, call: ServiceCall) -> QueuedCall | None:
        """The call that this one repeats: the same id, or the same idempotency key."""
        if call.id in self._known:
            return self._known[call.id]
        id = None if call.idempotency_key is None else self._keys.get(call.idempotency_key)
        return None if id is None else self._known[id]

    def last(self) -> QueuedCall | None:
        """The call that was submitted last."""
        return None if self._last is None else self._known[self._last]

    def newest(self) -> dict[str, QueuedCall]:
        """The newest call for each service that a call is known for."""
        return {name: self._known[id] for name, id in self._newest.items()}

    def unfinished(self) -> tuple[QueuedCall, ...]:
        """In order of submission."""
        return tuple(queued for queued in self._known.values() if queued.executed_index is None)

    def finished(self) -> tuple[QueuedCall, ...]:
        """In order of their ends."""
        return tuple(self._known[id] for id in self._finished)

    def dump(self) -> tuple[QueuedCall, ...]:
        """Everything, in an order from which `CallQueue` makes the same queue."""
        return self.finished() + self.unfinished()

    # changing

    def submit(self, call: ServiceCall, index: int) -> QueuedCall:
        """Put a call in line. Waiting calls whose services it all sets anew are merged into it."""
        queued = QueuedCall(call=call, log_index=index)
        queued.absorbed = self._merge_into(queued)
        self._remember(queued)
        self._mark_head()
        return queued

    def _merge_into(self, newer: QueuedCall) -> tuple[str, ...]:
        names, head = newer.names(), self.head()
        rivals = {id: None for name in sorted(names) for id in self._waiting_for.get(name, ())}
        merged: list[str] = []
        for id in rivals:
            older = self._known[id]
            if older is not head and older.names() <= names and _says_as_much(newer.call, older.call):
                self._leave_line(older)
                merged += (*older.absorbed, id)
                older.absorbed = ()
        for id in merged:
            self._known[id].merged_into = newer.call.id
        return tuple(sorted(merged, key=lambda id: self._known[id].log_index))

    def _leave_line(self, queued: QueuedCall) -> None:
        del self._line[queued.call.id]
        for name in sorted(queued.names()):
            waiting = self._waiting_for[name]
            del waiting[queued.call.id]
            if not waiting:
                del self._waiting_for[name]

    def _mark_head(self) -> None:
        head = self.head()
        if head is not None:
            head.status = "spreading"

    def finish(self, result: Result) -> QueuedCall:
        """The head is done, and every call merged into it."""
        head = self.head()
        assert head is not None, "no call is in line"
        self._leave_line(head)
        for id in (*head.absorbed, head.call.id):
            self._end(self._known[id], result)
        self._mark_head()
        self._forget_old()
        return head

    def _end(self, queued: QueuedCall, result: Result) -> None:
        queued.status, queued.executed_index = result.status, result.index
        queued.placed, queued.pending, queued.reason = result.placed, result.pending, result.reason
        queued.shares = result.shares
        self._shares += len(result.shares)
        # Finished calls go to the end, so that a snapshot lists them in the order of their ends.
        self._finished[queued.call.id] = None

    def _forget_old(self) -> None:
        while len(self._finished) > FINISHED_KEPT:
            id = next(iter(self._finished))
            del self._finished[id]
            self._forget(self._known.pop(id))
        for id in self._finished:
            if self._shares <= SHARES_KEPT:
                break
            self._shares -= len(self._known[id].shares)
            self._known[id].shares = ()

    def _forget(self, queued: QueuedCall) -> None:
        self._shares -= len(queued.shares)
        key = queued.call.idempotency_key
        if key is not None and self._keys.get(key) == queued.call.id:
            del self._keys[key]
        for name in sorted(queued.names()):
            if self._newest[name] == queued.call.id:
                del self._newest[name]
        if self._last == queued.call.id:
            self._last = None


def _says_as_much(newer: ServiceCall, older: ServiceCall) -> bool:
    """Whether nothing is lost that only the older call says, of services which both name."""
    said = {request.name: request for request in older.services}
    for request in newer.services:
        before = said.get(request.name)
        if before is None or not request.keeps_unsaid:
            continue
        if before.says_slots > request.says_slots or bool(before.description) > bool(request.description):
            return False
        if before.cluster is not None and request.cluster is None:
            return False
    return True
