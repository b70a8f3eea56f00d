"""A response that goes on: its body is written as things happen, and holds no thread while nothing does."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Protocol

__all__ = ["Line", "Stream"]


class Line(Protocol):
    """The client's end of a stream. No method blocks; all are called by one thread at a time."""

    def send(self, data: bytes) -> bool:
        """Write; False when the client has gone."""

    def unsent(self) -> int:
        """Bytes that were written and that the client has not taken yet."""

    def end(self) -> None:
        """Nothing more will come."""


class Stream:
    """A WSGI body that our server hands a Line to; any other server iterates over it, in a thread of its own.

    The server calls `attach` once, after the headers, then `closed` when the client has gone, or `stop` when the port
    closes: the stream then ends its line soon.
    """

    def attach(self, line: Line) -> None:
        """Begin to write."""
        raise NotImplementedError

    def closed(self) -> None:
        """The client has gone. May be called more than once, and before `attach` has returned."""
        raise NotImplementedError

    def stop(self) -> None:
        """Say what is left to say, and end the line."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[bytes]:
        line = _QueueLine()
        self.attach(line)
        try:
            while (data := line.written.get()) is not None:
                yield data
        finally:
            self.closed()


class _QueueLine:
    def __init__(self) -> None:
        self.written: SimpleQueue[bytes | None] = SimpleQueue()

    def send(self, data: bytes) -> bool:
        self.written.put(data)
        return True

    def unsent(self) -> int:
        return 0

    def end(self) -> None:
        self.written.put(None)
