"""What clients asked of a cluster, and what they heard: the material of the checkers that judge from outside."""

from __future__ import annotations

from threading import Lock
from typing import Any

import msgspec

__all__ = ["History", "Operation"]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What one client asked about one key. `end` None: it never heard how it went, so `result` means nothing."""

    client: str
    key: str
    kind: str
    argument: Any = None
    result: Any = None
    start: float
    end: float | None = None

    def __str__(self) -> str:
        asked = f"{self.kind} {self.key}" + ("" if self.argument is None else f" {self.argument!r}")
        heard = "?" if self.end is None else repr(self.result)
        until = "" if self.end is None else f"{self.end:g}"
        return f"[{self.start:g} .. {until}] {self.client}: {asked} -> {heard}"


class History:
    """Everything that was asked in one run, in order of the answers."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        """Reads and writes; a read without an answer tells nothing and is left out."""
        self.accepted: dict[str, Any] = {}
        """Service calls that were taken, by id, with their bodies."""
        self.executed: dict[str, None] = {}
        """Those of them of which somebody heard that they are executed."""
        self.open_calls = 0
        """Calls that nobody has answered yet: they may be executed, by ids that are not known here."""
        self._last = -1.0
        # Live, answers come on threads of their own.
        self._lock = Lock()

    def note(self, operation: Operation) -> int:
        """Add an operation; its place, for `settle`."""
        with self._lock:
            self.operations.append(operation)
            return len(self.operations) - 1

    def settle(self, at: int, end: float) -> None:
        """The operation at that place was answered then."""
        self.operations[at] = msgspec.structs.replace(self.operations[at], end=end)

    def call_made(self) -> None:
        """A service call is on its way."""
        with self._lock:
            self.open_calls += 1

    def call_answered(self, call: str, body: Any, *, executed: bool) -> None:
        """It was taken, under this id. At no moment is it neither open nor accepted."""
        with self._lock:
            self.accepted[call] = body
            if executed:
                self.executed[call] = None
            self.open_calls -= 1

    def moment(self, now: float) -> float:
        """The time, in seconds, but always later than before: virtual time stands still between two calls, and yet one
        was over when the other began."""
        with self._lock:
            self._last = max(now, self._last + 1e-9)
            return self._last
