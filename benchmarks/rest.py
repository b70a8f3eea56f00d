"""What a REST request costs the server: CPU time of its process, all threads, not that of the load's client.

The server is `raftyard serve` as a user starts it, with five nodes. `get_cpu_ms` is GET /clusters/0/service (the last
service call, read linearizably from the leader); `get_node_cpu_ms` is GET / on a node's port, which shows the newest 20
entries of its log; `get_stats_cpu_ms` is GET /clusters/0/stats, which asks all five nodes. `post_cpu_ms` is a service
call with ?wait=executed that changes the number of replicas, all five nodes' work included; calls that follow quickly
without the wait are merged and cost less. One connection, one request at a time; `requests_per_s` are GETs over 8
connections.

`watchers500_p99_ms` is real time, not CPU time: 500 clients follow the events of two kinds, a link is cut and restored,
and each client's time runs from the moment before the request that does so to the moment when it has read the event.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import Options, number, sample, talk

SERVICE = "/clusters/0/service"
CONNECTIONS = 8
PORTS = 6
WATCHERS = 500
WATCHED_EVENTS = 10
Response = tuple[int, bytes]


class Connection:
    """One connection that is kept open; requests are bytes made once, so that the client costs little."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def send(self, request: bytes) -> None:
        """Send without waiting."""
        self._socket.sendall(request)

    def receive(self) -> Response:
        """(status, body) of the oldest request that is not answered yet."""
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head = data[:end].lower()
        body = end + 4
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        while len(data) < body + length:
            data += self._more()
        self._rest = data[body + length :]
        return int(head[9:12]), data[body : body + length]

    def ask(self, request: bytes) -> Response:
        """Send, and wait. Raises RuntimeError for anything but a success."""
        self.send(request)
        status, body = self.receive()
        if status >= 300:
            raise RuntimeError(f"the server answered {status}: {body.decode()}")
        return status, body

    def _more(self) -> bytes:
        data = self._socket.recv(65_536)
        if not data:
            raise RuntimeError("the server closed the connection")
        return data


def get(path: str, port: int) -> bytes:
    """A GET request's bytes."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()


def post(path: str, port: int, body: Any) -> bytes:
    """A POST request's bytes."""
    return _with_body("POST", path, port, body)


def put(path: str, port: int, body: Any) -> bytes:
    """A PUT request's bytes."""
    return _with_body("PUT", path, port, body)


def _with_body(method: str, path: str, port: int, body: Any) -> bytes:
    data = json.dumps(body)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n{data}".encode()


class Server:
    """A `raftyard serve` of our own, on free ports."""

    def __init__(self) -> None:
        self.port = _free_ports(PORTS)
        self._process = subprocess.Popen(
            [sys.executable, "run.py"],
            env={**os.environ, "PORT": str(self.port), "LOG_LEVEL": "ERROR"},
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )

    def wait(self) -> None:
        """Until it leads. Raises RuntimeError when it does not start."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "leads cluster 0" in line:
                return
        raise RuntimeError("the server did not start; its own words are above")

    def stop(self) -> None:
        """As Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=20)

    def cpu_s(self) -> float:
        """CPU seconds of the server so far, all its threads."""
        # The clock of another process's CPU time: Linux makes its id of the process's id (clock_getcpuclockid).
        return time.clock_gettime((~self._process.pid << 3) | 2)


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server that leads, with one service call executed."""
    server = Server()
    try:
        server.wait()
        calls_cpu_s(server, 1)
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def connected(port: int, count: int) -> Iterator[list[Connection]]:
    """Open connections."""
    connections = [Connection(port) for _ in range(count)]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def gets_cpu_s(server: Server, path: str, port: int, count: int) -> float:
    """CPU seconds of the server for GETs, one after the other."""
    with connected(port, 1) as (connection,):
        request = get(path, port)
        connection.ask(request)
        begin = server.cpu_s()
        for _ in range(count):
            connection.ask(request)
        return server.cpu_s() - begin


def calls_cpu_s(server: Server, count: int) -> float:
    """CPU seconds of the server for service calls, each executed before the next is posted."""
    with connected(server.port, 1) as (connection,):
        begin = server.cpu_s()
        for turn in range(count):
            body = {"container": {"id": 5, "replicas": 20 + turn % 10}}
            connection.ask(post(f"{SERVICE}?wait=executed&timeout=20s", server.port, body))
        return server.cpu_s() - begin


def requests_per_s(server: Server, count: int) -> float:
    """GETs a second of real time, over several connections at once."""
    with connected(server.port, CONNECTIONS) as connections:
        request = get(SERVICE, server.port)
        rounds = max(1, count // CONNECTIONS)
        begin = time.monotonic()
        for _ in range(rounds):
            _together(connections, request)
        return CONNECTIONS * rounds / (time.monotonic() - begin)


def watchers_p99_ms(server: Server) -> float:
    """How long an event takes to 500 clients, 99 of 100 times at most."""
    link = {f"localhost:{server.port + 1}": {f"localhost:{server.port + 2}": 0}}
    taken_ms: list[float] = []
    with contextlib.ExitStack() as stack:
        watchers = selectors.DefaultSelector()
        stack.callback(watchers.close)
        for _ in range(WATCHERS):
            watchers.register(stack.enter_context(_watcher(server.port)), selectors.EVENT_READ)
        (connection,) = stack.enter_context(connected(server.port, 1))
        for turn in range(WATCHED_EVENTS):
            for row in link.values():
                row.update(dict.fromkeys(row, turn % 2))
            begin = time.monotonic()
            connection.send(put("/clusters/0/connections", server.port, link))
            taken_ms += [(at - begin) * 1000 for at in _arrivals(watchers)]
            connection.receive()
    return sorted(taken_ms)[int(len(taken_ms) * 0.99)]


def _watcher(port: int) -> socket.socket:
    """A client that has read the greeting of its event stream."""
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    path = "/clusters/0/events?kinds=link-cut,link-restored"
    request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: text/event-stream\r\n\r\n"
    client.sendall(request.encode())
    greeting = b""
    while b": events after" not in greeting or not greeting.endswith(b"\r\n"):
        data = client.recv(65_536)
        if not data:
            raise RuntimeError(f"the server refused a watcher: {greeting.decode()}")
        greeting += data
    return client


def _arrivals(watchers: selectors.BaseSelector) -> list[float]:
    """When each watcher had read one whole event."""
    missing = {key.fd for key in watchers.get_map().values()}
    arrived: list[float] = []
    while missing:
        ready = watchers.select(timeout=30)
        if not ready:
            raise RuntimeError(f"{len(missing)} of {WATCHERS} watchers were told nothing within 30 s")
        for key, _ in ready:
            data = key.fileobj.recv(65_536)  # type: ignore[union-attr]
            if not data:
                raise RuntimeError("the server closed a watcher's connection")
            if key.fd in missing and b'"kind":"link-' in data:
                missing.discard(key.fd)
                arrived.append(time.monotonic())
    return arrived


def _together(connections: Sequence[Connection], request: bytes) -> None:
    for connection in connections:
        connection.send(request)
    for connection in connections:
        status, body = connection.receive()
        if status != 200:
            raise RuntimeError(f"the server answered {status}: {body.decode()}")


def run(options: Options) -> dict[str, Any]:
    """`--runs 5 --requests 1000`: a sample is that many requests; one server for all."""
    if sys.platform != "linux":
        raise RuntimeError("rest needs Linux: it reads the CPU time of another process")
    runs, count = number(options, "runs", 5), number(options, "requests", 1000)
    taken: dict[str, list[float]] = {}
    with serving() as server:
        for turn in range(runs + 1):
            for key, value in _one_run(server, count).items():
                if turn:  # the first one warms up
                    taken.setdefault(key, []).append(value)
            talk(f"rest: run {turn} of {runs}")
    return {"runs": runs} | {key: sample(values) for key, values in taken.items()}


def _one_run(server: Server, count: int) -> dict[str, float]:
    per_request = 1000 / count
    return {
        "get_cpu_ms": gets_cpu_s(server, SERVICE, server.port, count) * per_request,
        "get_node_cpu_ms": gets_cpu_s(server, "/", server.port + 1, count) * per_request,
        "get_stats_cpu_ms": gets_cpu_s(server, "/clusters/0/stats", server.port, count) * per_request,
        "post_cpu_ms": calls_cpu_s(server, count) * per_request,
        "requests_per_s": requests_per_s(server, count),
        "watchers500_p99_ms": watchers_p99_ms(server),
    }


def _free_ports(count: int) -> int:
    """The first of `count` ports in a row that are free now."""
    for first in range(18_000, 28_000, 50):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise RuntimeError("no six free ports in a row between 18000 and 28000; stop what listens there")
