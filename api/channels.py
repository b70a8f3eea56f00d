"""One connection to a port: it ends when its port closes, and a response may go on without a thread.

A response whose body is a `Stream` is handed over: the thread that took the request writes the headers and goes back
to the pool, and whoever feeds the stream writes to the connection until it ends. Waitress itself gives every response
a thread for as long as it lasts, and 500 watchers would be 500 threads.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
from waitress.channel import ClientDisconnected, HTTPChannel  # type: ignore[import-untyped]
from waitress.task import ErrorTask, WSGITask  # type: ignore[import-untyped]

from .streams import Stream

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["Channel", "with_streams"]

STREAM = "raftyard.stream"
HINTS = {
    413: "a body may have 1 MiB at most",
    431: "headers may have 32 KiB at most",
}


def with_streams(app: WSGIApplication) -> WSGIApplication:
    """`app`, with a Stream that it answers laid aside for the connection to take up."""

    def laid_aside(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = app(environ, start_response)
        if not isinstance(body, Stream):
            return body
        environ[STREAM] = body
        return ()

    return laid_aside


class _Task(WSGITask):  # type: ignore[misc]
    """Answers one request; tells the client that the connection ends with it when the port is being closed."""

    def build_response_header(self) -> bytes:
        if self.channel.server.is_draining:
            self.set_close_on_finish()
        header: bytes = super().build_response_header()
        return header

    def finish(self) -> None:
        stream = self.get_environment().get(STREAM)
        if stream is None:
            super().finish()
            return
        if not self.wrote_header:
            self.write(b"")
        self.channel.hand_over(stream, _Line(self))
        # The connection ends with the stream, not with the request.
        self.close_on_finish = False


class _Line:
    """streams.Line: the client's end of a stream, whose headers are written."""

    def __init__(self, task: _Task) -> None:
        self._task = task
        self._channel = task.channel

    def send(self, data: bytes) -> bool:
        try:
            self._task.write(data)
        except ClientDisconnected:
            return False
        return True

    def unsent(self) -> int:
        return int(self._channel.total_outbufs_len)

    def end(self) -> None:
        try:
            if self._task.chunked_response:
                self._channel.write_soon(b"0\r\n\r\n")
        except ClientDisconnected:
            return
        self._channel.close_when_flushed = True
        self._channel.server.pull_trigger()


class _ProblemTask(ErrorTask):  # type: ignore[misc]
    """Answers a request that waitress cannot read, in the same shape as every other error."""

    def execute(self) -> None:
        error = self.request.error
        problem = {
            "type": "/problems/unreadable",
            "title": error.reason,
            "status": error.code,
            "detail": error.body,
            "hint": HINTS.get(error.code, "send HTTP/1.1"),
        }
        body = msgspec.json.encode(problem)
        self.status = f"{error.code} {error.reason}"
        self.content_length = len(body)
        self.response_headers.append(("Content-Type", "application/problem+json"))
        self.set_close_on_finish()
        self.write(body)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that ends when its port closes, but never in the middle of a request."""

    task_class = _Task
    error_task_class = _ProblemTask
    _stream: Stream | None = None
    _line: _Line | None = None

    def service(self) -> None:
        super().service()
        stream, line, self._line = self._stream, self._line, None
        if stream is not None and line is not None:
            stream.attach(line)
        # The answer's header may have left before the port began to close.
        if self.server.is_draining:
            self._end_soon()
            self.server.pull_trigger()

    def hand_over(self, stream: Stream, line: _Line) -> None:
        """From now on this connection is the stream's; what the client sends is read and forgotten."""
        with self.requests_lock:
            del self.requests[1:]
            self.request = None
        self._stream, self._line = stream, line

    def finish(self) -> None:
        """End, unless a request is being served or has arrived; then with its answer."""
        if self._stream is None and self.readable() and self._has_unread():
            self.handle_read()
        self._end_soon()

    def received(self, data: bytes) -> bool:
        if self._stream is not None:
            return False
        was_taken: bool = super().received(data)
        return was_taken

    def handle_write(self) -> None:
        if self._stream is None:
            super().handle_write()
            return
        # Waitress takes no lock where no request is being served, but here the stream's thread may be writing.
        with self.outbuf_lock:
            super().handle_write()

    def handle_close(self) -> None:
        super().handle_close()
        if self._stream is not None:
            self._stream.closed()

    def _has_unread(self) -> bool:
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _end_soon(self) -> None:
        if self._stream is not None:
            self._stream.stop()
            return
        with self.requests_lock:
            if not self.requests and self.request is None:
                self.close_when_flushed = True
