"""A promise: an answer that an actor gives later than in the handler that was asked."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any


class Promise:
    """An answer to come. `keep` or `fail` settles it, from any thread; the first one wins, later ones are ignored.

    A handler that returns a promise answers the ask when the promise is settled.
    """

    __slots__ = ("_callbacks", "_lock", "error", "kept", "value")

    def __init__(self) -> None:
        self.kept = False  # settled, one way or the other
        self.value: Any = None
        self.error: BaseException | None = None
        self._lock = Lock()
        self._callbacks: list[Callable[[Promise], object]] = []

    def keep(self, value: Any = None) -> bool:
        """Give the answer. False: it was settled before, and this changed nothing."""
        return self._settle(value, None)

    def fail(self, error: BaseException) -> bool:
        """Answer with an error, which `ask` raises. This is no crash of the actor."""
        return self._settle(None, error)

    def on_settled(self, callback: Callable[[Promise], object]) -> None:
        """Call `callback` with this promise once it is settled; at once if it is."""
        with self._lock:
            if not self.kept:
                self._callbacks.append(callback)
                return
        callback(self)

    def follow(self, other: Promise) -> None:
        """Settle as `other` is settled."""
        other.on_settled(lambda done: self._settle(done.value, done.error))

    def result(self) -> Any:
        """The value, or the error raised. Only for a settled promise."""
        assert self.kept, "a promise has no result before it is settled"
        if self.error is not None:
            raise self.error
        return self.value

    def _settle(self, value: Any, error: BaseException | None) -> bool:
        with self._lock:
            if self.kept:
                return False
            self.value, self.error, self.kept = value, error, True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)
        return True
