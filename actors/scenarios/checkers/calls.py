"""Service calls happen once: the log, applied anew from its first entry, executes each accepted call once."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from ...raft import sessions
from ...raft.core import Raft
from ...raft.events import Ready, is_application
from ...state import commands
from ...state.machine import ClusterState
from ..histories import History
from ..inside import Inside
from .base import Checker

__all__ = ["CallsExecutedOnce", "Retold"]


class Retold:
    """The agreed log of a cluster, applied anew from its first entry: what really happened, and how often."""

    def __init__(self, entries: Iterable[tuple[int, bytes]]) -> None:
        self.state = ClusterState()
        self.executed: dict[str, int] = {}
        """How often each call was executed, by itself or with the one that absorbed it."""
        self._term = 0
        machine = sessions.Sessions(self)
        for index, (term, payload) in enumerate(entries, start=1):
            self._term = term
            if is_application(payload):
                machine.apply(index, payload)
        self.digest = sha256(machine.snapshot()).digest()

    def apply(self, index: int, command: bytes) -> dict[str, Any]:
        """As a node's machine, but counting."""
        outcome = self.state.apply(index, self._term, commands.decode(command))
        if outcome.ok and outcome.call is not None and outcome.call.executed_index == index:
            for call in (outcome.call.id, *outcome.call.absorbed):
                self.executed[call] = self.executed.get(call, 0) + 1
        is_finished = outcome.call is not None and outcome.call.executed_index is not None
        return {
            "ok": outcome.ok,
            "code": outcome.code,
            "reason": outcome.reason,
            "version": outcome.version,
            "is_finished": is_finished,
        }

    def snapshot(self) -> bytes:
        return self.state.snapshot()

    def restore(self, data: bytes) -> None:
        raise NotImplementedError("a log is only retold from its start")


class CallsExecutedOnce(Checker):
    """No call twice; of those of which somebody heard that they are executed, none is missing; no call by nobody."""

    name = "calls-executed-once"
    promise = "a service call is executed once at most, and one that was reported as executed is"
    for_live_too = True

    def __init__(self, inside: Inside, history: History) -> None:
        super().__init__(inside, history)
        self._entries: dict[int, tuple[int, bytes]] = {}

    def stepped(self, core: Raft, event: Any, ready: Ready) -> None:
        if ready.apply is None or core.cluster != self.inside.cluster:
            return
        first = ready.apply.first_index
        for index, entry in enumerate(zip(ready.apply.terms, ready.apply.payloads, strict=True), first):
            self._entries.setdefault(index, entry)

    def ended(self) -> None:
        # Live, calls go on being executed while this is retold: what was heard before comes before what was applied.
        has_open_calls = self.history.open_calls > 0
        executed = list(self.history.executed)
        known = len(self._entries)
        if any(index not in self._entries for index in range(1, known + 1)):
            return  # Nobody has applied all entries: the log before a snapshot was not watched.
        retold = Retold(self._entries[index] for index in range(1, known + 1))
        for call, times in retold.executed.items():
            self.demand(times == 1, f"call {call} was executed {times} times")
            made = has_open_calls or call in self.history.accepted
            self.demand(made, f"call {call} was executed, and nobody made it")
        for call in executed:
            self.demand(
                call in retold.executed, f"call {call} was reported as executed, and is not in the agreed log"
            )
