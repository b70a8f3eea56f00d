"""One web server for many ports: a loop, a pool of threads, and ports that open and close while requests run.

    server = Server(app, "127.0.0.1")
    server.start()
    server.open(8000)                                   # raises PortInUse
    server.open(8001, NodePort("0", "localhost:8001"))  # what came in there has this tag in its environ
    server.close(8001)
    server.stop(grace_s=5)

Waitress gives each server a loop and a pool of its own, which is a thread dozen a port. Here all listeners share one
map, one dispatcher and one trigger (the pipe that wakes the loop), so that 200 ports cost 200 sockets and no thread.
This module and channels.py alone know waitress' insides (3.0): TcpWSGIServer, HTTPChannel, WSGITask,
ThreadedTaskDispatcher, trigger, and wasyncore's map. Two lessons are built in:

- A listener closes its trigger with itself, while a worker that finishes a request on it still writes there: the file
  descriptor may be another's by then. Hence the shared trigger, which only `stop` closes.
- A bind that fails leaves a half-built listener in the map, and ends the loop. Hence we bind the socket ourselves.
"""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from waitress import wasyncore  # type: ignore[import-untyped]
from waitress.adjustments import Adjustments  # type: ignore[import-untyped]
from waitress.server import TcpWSGIServer  # type: ignore[import-untyped]
from waitress.task import ThreadedTaskDispatcher  # type: ignore[import-untyped]
from waitress.trigger import trigger as Trigger  # type: ignore[import-untyped]

from .channels import Channel, with_streams
from .environ import EXTRA_THREAD, TAG
from .ports import Conflict, PortInUse, Unavailable

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

T = TypeVar("T")

MAX_BODY_BYTES = 1 << 20
MAX_HEADER_BYTES = 32 << 10
# Waitress counts every listener and the trigger as a connection, too.
MAX_CONNECTIONS = 20_000
MAX_EXTRA_THREADS = 256
BACKLOG = 1024
IDLE_TIMEOUT_S = 60
# The loop looks at the clock this often when nothing happens; work wakes it at once through the trigger.
LOOP_TIMEOUT_S = 1
POLL_INTERVAL_S = 0.005
# Even when all the grace is used up, threads that have nothing to do get so long to notice the end.
IDLE_THREADS_END_S = 0.1
# So long an answer may take that waits for nothing any more.
RELEASED_S = 1.0


class Server:
    """Serves `app`, a WSGI callable, on any number of ports of one IPv4 address. Safe to use from any thread."""

    def __init__(self, app: WSGIApplication, host: str = "127.0.0.1", threads: int = 8) -> None:
        self.host = host
        self._app = app
        self._threads = threads
        self._settings = _settings(threads)
        # Every socket that the loop watches, by file descriptor. Touched by the loop's thread only, once it runs.
        self._map: dict[int, Any] = {}
        self._listeners: dict[int, _Listener] = {}
        self._lock = threading.Lock()
        self._dispatcher = _Pool()
        self._extra_threads = 0
        self._trigger = _Wakeup(self._map)
        # Two steps of the end: no more ports are opened; then the loop runs no more.
        self._is_closed = False
        self._has_ended = False
        self._loop_thread = threading.Thread(target=self._run, name="raftyard-http", daemon=True)

    def start(self) -> None:
        """Start to answer. Ports may be opened before; clients then wait."""
        self._dispatcher.set_thread_count(self._threads)
        # Whoever opens a port just now does it on a thread of its own: the loop must not see a listener half made.
        with self._lock:
            self._loop_thread.start()

    def open(self, port: int, tag: object = None) -> int:
        """Listen on `port` too; 0 takes a free one. Returns the port; requests to it carry `tag` in environ[TAG].

        Raises PortInUse, also when this server has it open, and Conflict when the system refuses otherwise.
        """
        if self._is_closed:
            raise RuntimeError("the server has been stopped; make a new one")
        sock = _bound_socket(self.host, port)
        actual_port = int(sock.getsockname()[1])
        listener = self._in_loop(lambda: self._listen(sock, tag))
        with self._lock:
            self._listeners[actual_port] = listener
        return actual_port

    def close(self, port: int) -> None:
        """Listen there no more. Requests in flight are finished and answered; kept-alive connections are closed."""
        with self._lock:
            listener = self._listeners.pop(port, None)
        if listener is not None:
            self._in_loop(listener.drain)

    def ports(self) -> tuple[int, ...]:
        """The ports that are open, in order."""
        with self._lock:
            return tuple(sorted(self._listeners))

    @contextmanager
    def extra_thread(self) -> Iterator[None]:
        """One thread more in the pool, for as long as a request holds one to itself (a stream, a long wait).

        Without it eight such requests would hold up every other.
        """
        self._resize(+1)
        try:
            yield
        finally:
            self._resize(-1)

    def stop(self, grace_s: float = 5.0, release: Callable[[], None] | None = None) -> None:
        """Close every port, let requests in flight finish for at most `grace_s`, end the threads. May be repeated.

        `release` is called when that time is over for some: it ends what they wait for, and they are answered.
        """
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        for port in self.ports():
            self.close(port)
        deadline = self._wait_for_answers(grace_s)
        if release is not None and self._open_channels():
            release()
            deadline = self._wait_for_answers(RELEASED_S)
        self._end(max(0.0, deadline - time.monotonic()))

    def _wait_for_answers(self, within_s: float) -> float:
        """Until no connection is open, or so long at most; when that would be."""
        deadline = time.monotonic() + within_s
        while self._open_channels() and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_S)
        return deadline

    def _end(self, grace_s: float) -> None:
        with self._lock:
            is_running = self._loop_thread.ident is not None
            self._has_ended = True
        if is_running:
            self._dispatcher.shutdown(timeout=max(grace_s, IDLE_THREADS_END_S))
            self._trigger.pull_trigger()
            self._loop_thread.join()
        for thing in tuple(self._map.values()):
            if isinstance(thing, Channel):
                # Unlike close, this wakes a worker that waits for room to write.
                thing.handle_close()
            else:
                thing.close()

    def _run(self) -> None:
        while not self._has_ended:
            wasyncore.loop(timeout=LOOP_TIMEOUT_S, use_poll=True, map=self._map, count=1)
        # What was asked of the loop while it turned for the last time.
        self._trigger.handle_read()

    def _listen(self, sock: socket.socket, tag: object) -> _Listener:
        return _Listener(self._tagged(tag), self._map, sock, self._dispatcher, self._settings, self._trigger)

    def _tagged(self, tag: object) -> WSGIApplication:
        app, extra_thread = with_streams(self._app), self.extra_thread

        def tagged(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            environ[TAG] = tag
            environ[EXTRA_THREAD] = extra_thread
            return app(environ, start_response)

        return tagged

    def _in_loop(self, work: Callable[[], T]) -> T:
        """Do `work` on the loop's thread, which owns the map, and hand back what it returns or raises."""
        with self._lock:
            if self._loop_thread.ident is None or self._has_ended:
                return work()
            done: Future[T] = Future()
            self._trigger.pull_trigger(lambda: _settle(done, work))
        return done.result()

    def _open_channels(self) -> int:
        return self._in_loop(lambda: sum(isinstance(thing, Channel) for thing in self._map.values()))

    def _resize(self, change: int) -> None:
        with self._lock:
            if self._extra_threads + change > MAX_EXTRA_THREADS:
                raise Unavailable(
                    f"{MAX_EXTRA_THREADS} requests are waiting already",
                    "wait for less, or later",
                    retry_after_s=1,
                )
            self._extra_threads += change
            if not self._has_ended:
                self._dispatcher.set_thread_count(self._threads + self._extra_threads)


class _Listener(TcpWSGIServer):  # type: ignore[misc]
    """A port: accepts connections for the shared loop, and hands requests to the shared pool."""

    is_draining = False
    trigger: Any

    def __init__(
        self,
        app: WSGIApplication,
        sockets: dict[int, Any],
        sock: socket.socket,
        dispatcher: ThreadedTaskDispatcher,
        settings: Adjustments,
        shared_trigger: _Wakeup,
    ) -> None:
        where = (sock.family, sock.type, sock.proto, sock.getsockname())
        super().__init__(app, sockets, False, sock, dispatcher, settings, sockinfo=where, bind_socket=False)
        self.trigger.close()
        self.trigger = shared_trigger
        self.channel_class = Channel
        self.accept_connections()

    def close(self) -> None:
        """Stop listening; the channels live on until they are done. The trigger is not ours to close."""
        wasyncore.dispatcher.close(self)

    def drain(self) -> None:
        """Take in whom the system has let in already, stop listening, let everybody finish."""
        for _ in range(BACKLOG):
            known = len(self.active_channels)
            self.handle_accept()
            if len(self.active_channels) == known:
                break
        self.is_draining = True
        self.close()
        for channel in tuple(self.active_channels.values()):
            channel.finish()


class _Wakeup(Trigger):  # type: ignore[misc]
    """Waitress' trigger, that a worker which outlives `stop` may pull: its pipe is gone, its number another's."""

    def __init__(self, sockets: dict[int, Any]) -> None:
        self._closing = threading.Lock()
        super().__init__(sockets)

    def close(self) -> None:
        with self._closing:
            super().close()

    def _physical_pull(self) -> None:
        with self._closing:
            if not self._closed:
                super()._physical_pull()


class _Pool(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Waitress' pool, that does not warn whenever a request waits for a thread."""

    queue_logger = logging.getLogger(f"{__name__}.queue")
    queue_logger.setLevel(logging.ERROR)


def _settle(done: Future[T], work: Callable[[], T]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:
        done.set_exception(error)


def _bound_socket(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        # Two sockets that do not listen yet can share a port; the second to listen is told.
        sock.listen(BACKLOG)
    except OverflowError:
        sock.close()
        hint = "choose a port between 1024 and 65535"
        raise Conflict(f"cannot listen on {host}:{port}: there is no such port", hint, port=port) from None
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host, port) from None
        hint = (
            f"{host} is no address of this machine; name one that it has"
            if error.errno == errno.EADDRNOTAVAIL
            else "choose a port between 1024 and 65535"
        )
        raise Conflict(f"cannot listen on {host}:{port}: {error.strerror}", hint, port=port) from error
    return sock


def _settings(threads: int) -> Adjustments:
    return Adjustments(
        listen="127.0.0.1:0",
        threads=threads,
        ident=None,
        backlog=BACKLOG,
        connection_limit=MAX_CONNECTIONS,
        max_request_body_size=MAX_BODY_BYTES,
        max_request_header_size=MAX_HEADER_BYTES,
        channel_timeout=IDLE_TIMEOUT_S,
        asyncore_use_poll=True,
    )
