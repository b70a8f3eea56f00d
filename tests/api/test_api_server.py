"""The web server on real sockets: ports that open and close while requests run, and a stop that leaves nothing."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from fake_clusters import FakeClusters

from raftyard.api import NodePort, PortInUse, Server, create_server
from raftyard.api.environ import TAG, room_to_wait
from raftyard.api.ports import Conflict

JSON = {"Content-Type": "application/json"}
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
BIG = b"x" * (12 << 20)
CALL = '{"container": {"id": 5, "replicas": 25}}'


class Gate:
    """A WSGI app that answers its port and tag, and on /slow only once it is let through."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            self.arrived.release()
            assert self.open.wait(20)
        if environ["PATH_INFO"] == "/wait":
            with room_to_wait(environ):
                self.arrived.release()
                assert self.open.wait(20)
        body = f"{environ['SERVER_PORT']} {environ[TAG]}".encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def server(gate):
    server = Server(gate)
    server.start()
    yield server
    gate.open.set()
    server.stop()


def get(port: int, path: str = "/") -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("waitress", "raftyard-http"))]


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


def test_each_port_answers_with_its_own_tag(server):
    first, second = server.open(0), server.open(0, "node_1")

    assert get(first) == f"{first} None"
    assert get(second) == f"{second} node_1"
    assert server.ports() == tuple(sorted((first, second)))


def test_a_closed_port_listens_no_more_and_can_be_opened_again(server):
    kept, port = server.open(0), server.open(0)
    server.close(port)

    assert not is_listening(port)
    assert server.open(port, "again") == port
    assert get(port) == f"{port} again"
    assert get(kept) == f"{kept} None"


def test_the_loop_begins_only_when_a_port_that_is_being_opened_is_open(gate, monkeypatch):
    """Else it finds a listener half made, and ends with it."""
    server = Server(gate)
    listen, is_in_the_middle, may_go_on = server._listen, threading.Event(), threading.Event()

    def slow_listen(sock, tag):
        is_in_the_middle.set()
        assert may_go_on.wait(20)
        return listen(sock, tag)

    monkeypatch.setattr(server, "_listen", slow_listen)
    with ThreadPoolExecutor() as others:
        opening = others.submit(server.open, 0, "a")
        assert is_in_the_middle.wait(20)
        starting = others.submit(server.start)
        assert not wait([starting], timeout=0.1).done, "the loop turns while a port is half open"
        may_go_on.set()
        port = opening.result(20)
        starting.result(20)
    assert get(port) == f"{port} a"
    server.stop()


def test_closing_a_port_that_is_not_open_does_nothing(server):
    server.close(1)


def test_a_port_that_another_program_has_is_in_use_and_the_server_goes_on(server):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {taken} on 127.0.0.1 is already in use") as caught:
            server.open(taken)
    assert (caught.value.status, caught.value.host, caught.value.port) == (409, "127.0.0.1", taken)
    assert get(server.open(0))


def test_a_port_that_the_server_has_already_is_in_use(server):
    port = server.open(0)

    with pytest.raises(PortInUse):
        server.open(port, "again")
    assert get(port) == f"{port} None"


def test_an_address_that_is_not_this_machines_is_a_conflict(gate):
    server = Server(gate, "192.0.2.1")
    with pytest.raises(Conflict, match="cannot listen on 192"):
        server.open(0)
    server.stop()


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_there_is_not_is_a_conflict(server, port):
    with pytest.raises(Conflict, match="there is no such port") as caught:
        server.open(port)
    assert "between 1024 and 65535" in caught.value.hint


def test_ports_open_and_close_while_requests_run(server):
    steady = server.open(0)
    done = threading.Event()

    def ask_steadily() -> int:
        asked = 0
        while not done.is_set():
            assert get(steady) == f"{steady} None"
            asked += 1
        return asked

    def come_and_go(name: int) -> None:
        for turn in range(25):
            port = server.open(0, f"{name}-{turn}")
            assert get(port) == f"{port} {name}-{turn}"
            server.close(port)
            assert not is_listening(port)

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask_steadily) for _ in range(2)]
        try:
            for changing in [pool.submit(come_and_go, name) for name in range(4)]:
                changing.result()
        finally:
            done.set()
        assert all(future.result() > 0 for future in asking)
    assert server.ports() == (steady,)


def test_many_ports_cost_one_file_each_and_no_thread(server):
    before = open_files(), len(threads())
    ports = [server.open(0, f"node_{i}") for i in range(150)]

    assert open_files() - before[0] == 150
    assert len(threads()) == before[1]
    assert get(ports[-1]) == f"{ports[-1]} node_149"

    for port in ports:
        server.close(port)
    # The connection of the get above may take a moment to be taken away.
    assert open_files() - before[0] <= 1


def test_a_request_in_flight_is_answered_when_its_port_closes(server, gate):
    port = server.open(0)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(get, port, "/slow")
        assert gate.arrived.acquire(timeout=10)
        server.close(port)
        assert not is_listening(port)
        gate.open.set()

        assert answer.result(10) == f"{port} None"


def test_a_connection_that_is_kept_alive_ends_with_its_port(server, gate):
    port = server.open(0)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().read()
    server.close(port)

    assert connection.sock.recv(1) == b""
    connection.close()


def test_an_answer_on_a_closing_port_says_that_the_connection_ends(server, gate):
    port = server.open(0)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/slow")
    assert gate.arrived.acquire(timeout=10)
    server.close(port)
    gate.open.set()

    assert connection.getresponse().headers["Connection"] == "close"
    connection.close()


def test_a_connection_whose_answer_has_begun_ends_with_it_when_its_port_closes():
    half, rest = threading.Event(), threading.Event()

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "10")])
        yield b"begin"
        half.set()
        assert rest.wait(10)
        yield b"-over"

    server = Server(app)
    server.start()
    port = server.open(0)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(REQUEST)
        assert half.wait(10)
        server.close(port)
        rest.set()
        answer = b""
        while more := client.recv(1000):
            answer += more

    assert answer.endswith(b"begin-over")
    assert b"Connection: close" not in answer
    server.stop()


def test_stop_lets_requests_in_flight_finish_and_leaves_nothing_running(gate):
    files = open_files()
    server = Server(gate)
    server.start()
    ports = [server.open(0) for _ in range(3)]
    idle = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=10)
    idle.request("GET", "/")
    idle.getresponse().read()
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(get, port, "/slow") for port in ports]
        for _ in ports:
            assert gate.arrived.acquire(timeout=10)
        stopping = pool.submit(server.stop, 10)
        while any(is_listening(port) for port in ports):
            assert not stopping.done()
        assert not any(answer.done() for answer in answers)
        gate.open.set()

        assert [answer.result(10) for answer in answers] == [f"{port} None" for port in ports]
        stopping.result(10)
    idle.close()
    assert threads() == []
    assert open_files() == files


def test_a_request_that_has_arrived_is_answered_though_nobody_had_read_it_yet():
    server = Server(lambda environ, start: [start("204 No Content", []), b""][1:])
    port = server.open(0)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(REQUEST)
        # Before start nobody accepts or reads.
        server.close(port)
        server.start()

        assert client.recv(100).startswith(b"HTTP/1.1 204 No Content")
    server.stop()


def test_stop_lets_a_slow_reader_have_the_whole_answer():
    answered = threading.Event()

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(BIG)))])
        answered.set()
        return [BIG]

    server = Server(app)
    server.start()
    with socket.create_connection(("127.0.0.1", server.open(0)), timeout=10) as client:
        client.sendall(REQUEST)
        assert answered.wait(10)
        with ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(server.stop, 10)
            wait([stopping], timeout=0.2)
            assert not stopping.done()
            answer = b""
            while more := client.recv(1 << 20):
                answer += more
            stopping.result(10)
    assert answer.endswith(BIG)


def test_stop_waits_no_longer_than_its_grace(gate):
    server = Server(gate)
    server.start()
    port = server.open(0)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(get, port, "/slow")
        assert gate.arrived.acquire(timeout=10)
        server.stop(grace_s=0.05)
        gate.open.set()

        with pytest.raises((OSError, http.client.HTTPException)):
            answer.result(10)


def test_who_still_waits_after_the_grace_is_answered_when_that_is_ended(gate):
    server = Server(gate)
    server.start()
    port = server.open(0)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(get, port, "/slow")
        assert gate.arrived.acquire(timeout=10)
        server.stop(grace_s=0.05, release=gate.open.set)
        assert answer.result(10) == f"{port} None"


def test_stop_may_be_repeated_and_come_before_start(gate):
    server = Server(gate)
    server.open(0)
    server.stop()
    server.stop()

    with pytest.raises(RuntimeError, match="stopped"):
        server.open(0)


def test_requests_that_wait_hold_up_nobody(gate):
    server = Server(gate, threads=2)
    server.start()
    port = server.open(0)
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(get, port, "/wait") for _ in range(20)]
        for _ in waiting:
            assert gate.arrived.acquire(timeout=10)

        assert get(port) == f"{port} None"
        gate.open.set()
        assert all(answer.result(10) for answer in waiting)
    server.stop()
    assert threads() == []


def test_more_waiting_requests_than_there_may_be_threads_for_are_told_to_come_again(live, monkeypatch):
    clusters, server = live
    monkeypatch.setattr("raftyard.api.server.MAX_EXTRA_THREADS", 1)
    port = server.open(0)
    clusters.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, port, "POST", "/clusters/0/service?wait=executed", CALL)
        assert clusters.arrived.wait(10)
        status, headers, _ = ask(port, "POST", "/clusters/0/service?wait=executed", CALL)
        clusters.gate.set()

        assert (status, headers["Retry-After"]) == (503, "1")
        assert first.result(10)[0] == 200


@pytest.fixture
def live():
    """The whole of REST on real ports: the orchestrator's, and those of two nodes."""
    clusters = FakeClusters()
    server = create_server(clusters)
    server.start()
    yield clusters, server
    clusters.gate.set()
    server.stop()


def ask(port: int, method: str, path: str, body: str | None = None, headers: dict[str, str] = JSON):
    connection = http.client.HTTPConnection("localhost", port, timeout=10)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_the_port_decides_who_answers(live):
    _, server = live
    orchestrator, node = server.open(0), server.open(0, NodePort("0", "localhost:8004"))

    assert ask(orchestrator, "GET", "/clusters")[0] == 200
    assert ask(orchestrator, "GET", "/connections")[0] == 404
    assert ask(node, "GET", "/clusters")[0] == 404
    assert ask(node, "POST", "/connections/", '{"localhost:8002": 0}')[0] == 200
    assert b'"port":8004' in ask(node, "GET", "/stats")[2]


def test_a_service_call_in_flight_is_answered_when_the_server_stops(live):
    clusters, server = live
    port = server.open(0)
    clusters.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(ask, port, "POST", "/clusters/0/service?wait=executed", CALL)
        assert clusters.arrived.wait(10)
        stopping = pool.submit(server.stop, 10)
        while is_listening(port):
            assert not stopping.done()
        clusters.gate.set()

        assert answer.result(10)[0] == 200
        stopping.result(10)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Length": str(2 << 20)}, 413),
        ({"X-Long": "x" * (40 << 10)}, 431),
        ({"Content-Length": "+5"}, 400),
    ],
)
def test_what_the_server_itself_refuses_is_a_problem_too(live, headers, status):
    _, server = live
    answer = ask(server.open(0), "POST", "/clusters", headers=headers)

    assert answer[0] == status
    assert answer[1]["Content-Type"] == "application/problem+json"
    assert b'"hint"' in answer[2]


def test_the_server_does_not_say_what_it_is(live):
    _, server = live

    assert "Server" not in ask(server.open(0), "GET", "/clusters")[1]


def test_head_over_a_socket_has_no_body(live):
    _, server = live
    status, headers, body = ask(server.open(0), "HEAD", "/clusters")

    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


def test_only_the_server_and_its_channels_know_waitress():
    folder = Path(__file__).parents[2] / "api"

    assert [path.name for path in folder.glob("*.py") if "import waitress" in path.read_text()] == []
    knowing = {path.name for path in folder.glob("*.py") if "from waitress" in path.read_text()}
    assert knowing == {"channels.py", "server.py"}
