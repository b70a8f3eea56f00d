"""Ctrl-C and SIGTERM end a command as an exception does, so that what it holds is let go on the way out."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["Stopped", "signals_raise"]


class Stopped(KeyboardInterrupt):
    """Somebody wants this to end: `number` is the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """As a shell says it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


@contextmanager
def signals_raise() -> Iterator[None]:
    """Within this block both raise Stopped, in the main thread; a second one too, for whoever cannot wait."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {}
    # Only the main thread may say who hears signals; elsewhere this block is somebody's library call.
    with suppress(ValueError):
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
