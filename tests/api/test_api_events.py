"""Events over REST: as a list, as an answer that waits, and as a stream that a client resumes where it was cut off."""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest
from fake_clusters import FakeClusters

from raftyard.actors.system import EventLog
from raftyard.api import create_server
from raftyard.api.watching import (
    BATCH,
    MAX_UNSENT_BYTES,
    Dropped,
    EventQuery,
    EventStream,
    Wanted,
    Watchers,
    read,
)

SSE = {"Accept": "text/event-stream"}
EVERYTHING = Wanted()


@pytest.fixture
def server(clusters):
    server = create_server(clusters)
    server.start()
    server.port = server.open(0)
    yield server
    server.stop()


def elect(clusters: FakeClusters, count: int = 1, cluster: str = "0", kind: str = "leader-elected") -> None:
    for _ in range(count):
        clusters.log.emit(kind, cluster=cluster, node="node_1", term=3)


def until(holds) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


@contextmanager
def watching(port: int, path: str = "/events", **headers: str):
    """The response of a client that is connected and has read the greeting."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers=SSE | headers)
        response = connection.getresponse()
        assert response.status == 200
        assert response.getheader("Content-Type") == "text/event-stream"
        block(response)
        yield response
        # The response keeps the socket, the connection has let go of it.
        response.close()
    finally:
        connection.close()


def block(response: http.client.HTTPResponse) -> dict[str, str]:
    """The fields of the next block, {} at the end of the stream."""
    fields: dict[str, str] = {}
    while (line := response.readline()) not in (b"\n", b""):
        name, _, value = line.decode().rstrip("\n").partition(": ")
        fields[name] = value
    return fields


# -- lists -------------------------------------------------------------------------------------------------------


def test_without_since_the_newest_events_are_listed(ask, clusters):
    elect(clusters, 5)

    answer = ask("GET", "/events", params={"limit": 2}).json

    assert [event["seq"] for event in answer["results"]] == [4, 5]
    assert answer["metadata"] == {"count": 2, "last_seq": 5, "dropped": None}


def test_an_event_is_said_with_sorted_keys(ask, clusters):
    clusters.log.emit("link-cut", cluster="0", node="node_1", source="node_1", target="node_2")

    assert ask("GET", "/events").text.endswith(
        '"results":[{"cause":null,"cluster":"0","data":{"source":"node_1","target":"node_2"},'
        '"kind":"link-cut","node":"node_1","seq":1,"t_ns":7,"term":null}]}\n'
    )


def test_pages_of_a_filter_follow_each_other_without_a_gap(ask, clusters):
    for _ in range(5):
        elect(clusters, kind="link-cut")
        elect(clusters)

    seen, since = [], 0
    while True:
        answer = ask("GET", "/events", params={"since": since, "limit": 2, "kinds": "leader-elected"}).json
        seen += [event["seq"] for event in answer["results"]]
        since = answer["metadata"]["last_seq"]
        if not answer["results"]:
            break
    assert seen == [2, 4, 6, 8, 10]


def test_a_clusters_events_are_its_own(ask, clusters):
    elect(clusters)
    elect(clusters, cluster="7")

    assert [event["seq"] for event in ask("GET", "/clusters/0/events").json["results"]] == [1]
    assert ask("GET", "/clusters/7/events").status_code == 404


def test_what_the_log_has_forgotten_is_told(ask, clusters):
    elect(clusters, 120)

    answer = ask("GET", "/events", params={"since": 5}).json

    assert answer["metadata"]["dropped"] == {"from": 6, "to": 20}
    assert answer["results"][0]["seq"] == 21


def test_a_position_from_before_a_restart_is_told_and_goes_on_from_the_beginning(ask, clusters):
    elect(clusters, 2)

    answer = ask("GET", "/events", params={"since": 900}).json

    assert answer["metadata"]["dropped"] == {"from": 901, "to": None}
    assert [event["seq"] for event in answer["results"]] == [1, 2]


@pytest.mark.parametrize(
    ("query", "detail", "hint"),
    [
        ({"since": "x"}, "since=x is not a number", "since=100"),
        ({"sinze": "1"}, "unknown query parameter sinze", "since"),
        ({"limit": "0"}, "limit=0 is out of range", "from 1 to 1000"),
        ({"kinds": "link-cutt"}, "there is no kind of event link-cutt", "link-cut"),
        ({"kinds": ""}, "kinds names no kind of event", "kinds=link-cut"),
        ({"kinds": ","}, "kinds names no kind of event", "leave it out for all"),
        ({"wait": "10"}, "wait=10 is not a duration", "wait=10s"),
        ({"wait": "61s"}, "wait=61s is too long", "60s at most"),
    ],
)
def test_a_wrong_query_is_named_with_what_is_right(ask, query, detail, hint):
    answer = ask("GET", "/events", params=query)

    assert answer.status_code == 400
    assert detail in answer.json["detail"]
    assert hint in answer.json["hint"]


# -- answers that wait -------------------------------------------------------------------------------------------


def test_a_query_that_waits_is_answered_at_once_when_there_is_something(ask, clusters):
    elect(clusters, 3)

    answer = ask("GET", "/events", params={"since": 1, "limit": 1, "wait": "60s"}).json

    assert [event["seq"] for event in answer["results"]] == [2]
    assert answer["metadata"]["last_seq"] == 2


def test_a_query_that_waits_is_empty_when_the_time_is_up(ask, clusters):
    elect(clusters, 3, cluster="7")

    answer = ask("GET", "/clusters/0/events", params={"since": 0, "wait": "1ms"}).json

    assert answer == {"metadata": {"count": 0, "last_seq": 3, "dropped": None}, "results": []}


def test_a_query_waits_for_the_next_event(server, clusters):
    answers: list[bytes] = []
    elect(clusters)
    waiting = threading.Thread(target=lambda: answers.append(fetch(server.port, {"wait": "20s"})))
    waiting.start()
    until(lambda: clusters.log._subscribers)
    elect(clusters, kind="link-cut")
    waiting.join(20)

    assert [event["seq"] for event in json.loads(answers[0])["results"]] == [2]


def fetch(port: int, query: dict[str, str]) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", f"/events?{urlencode(query)}")
        return connection.getresponse().read()
    finally:
        connection.close()


# -- streams -----------------------------------------------------------------------------------------------------


def test_a_stream_tells_what_happens_from_now_on(server, clusters):
    elect(clusters, 3)
    with watching(server.port) as response:
        elect(clusters, kind="link-cut")

        event = block(response)

    assert event["id"] == "4"
    assert json.loads(event["data"])["kind"] == "link-cut"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/events?since=2", {}),
        ("/events", {"Last-Event-ID": "2"}),
        ("/events?since=1", {"Last-Event-ID": "2"}),
    ],
)
def test_a_stream_goes_on_where_it_was_cut_off(server, clusters, path, headers):
    elect(clusters, 4)

    with watching(server.port, path, **headers) as response:
        assert [block(response)["id"] for _ in range(2)] == ["3", "4"]


def test_a_stream_tells_a_gap_first(server, clusters):
    elect(clusters, 120)

    with watching(server.port, "/events?since=5") as response:
        gap, first = block(response), block(response)

    assert gap == {"event": "events-dropped", "data": '{"from":6,"to":20}'}
    assert first["id"] == "21"


def test_a_stream_tells_one_cluster_and_some_kinds_only(server, clusters):
    with watching(server.port, "/clusters/0/events?kinds=link-cut,link-restored") as response:
        elect(clusters)
        elect(clusters, cluster="7", kind="link-cut")
        elect(clusters, kind="link-cut")

        assert block(response)["id"] == "3"


def test_a_stream_ends_at_once_when_the_server_stops(server):
    with watching(server.port) as response:
        begin = time.monotonic()
        server.stop(grace_s=20)

        assert block(response) == {}
        assert response.isclosed()
    assert time.monotonic() - begin < 10


def test_a_query_that_waits_is_answered_when_the_server_stops(server, clusters):
    answers: list[bytes] = []
    waiting = threading.Thread(target=lambda: answers.append(fetch(server.port, {"wait": "60s"})))
    waiting.start()
    until(lambda: clusters.log._subscribers)
    server.stop(grace_s=20)
    waiting.join(20)

    assert json.loads(answers[0])["results"] == []


def test_watchers_hold_no_threads_and_leave_nothing_behind(server, clusters):
    with watching(server.port) as first:
        elect(clusters)
        assert block(first)["id"] == "1"
        before = threading.active_count()
        others = [watching(server.port) for _ in range(30)]
        responses = [other.__enter__() for other in others]
        elect(clusters)

        assert [block(response)["id"] for response in responses] == ["2"] * 30
        assert threading.active_count() == before
        for other in others:
            other.__exit__(None, None, None)
    until(lambda: not clusters.log._subscribers)
    until(lambda: server._open_channels() == 0)


def test_what_a_client_says_while_it_watches_is_not_a_request(server, clusters):
    with watching(server.port) as response:
        sock = response.fp.raw._sock
        sock.sendall(b"GET /clusters HTTP/1.1\r\nHost: localhost\r\n\r\n")
        elect(clusters, 2)

        assert [block(response)["id"] for _ in range(2)] == ["1", "2"]


def test_a_stream_that_is_asked_to_wait_is_refused(ask):
    assert ask("GET", "/events?wait=5s", headers=SSE).json["detail"] == "a stream waits for good"


def test_a_last_event_id_that_is_no_number_is_refused(ask):
    assert ask("GET", "/events", headers=SSE | {"Last-Event-ID": "abc"}).status_code == 400


def test_a_head_request_watches_nothing(ask, clusters):
    assert ask("HEAD", "/events", headers=SSE).status_code == 200
    assert not clusters.log._subscribers


# -- turns -------------------------------------------------------------------------------------------------------


class StillWatchers(Watchers):
    """Gives no turns: the test does. The clock stands still, too."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(lambda: log, heartbeat_s=15, now=lambda: self.time_s)
        self.time_s = 0.0

    def add(self, watcher) -> None:
        pass


class PaperLine:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.left = 0
        self.is_ended = False
        self.is_open = True

    def send(self, data: bytes) -> bool:
        self.written.append(data)
        return self.is_open

    def unsent(self) -> int:
        return self.left

    def end(self) -> None:
        self.is_ended = True


@pytest.fixture
def log() -> EventLog:
    return EventLog(clock=lambda: 7, capacity=5000)


def stream_of(log: EventLog, wanted: Wanted = EVERYTHING, since: int = 0):
    watchers, line = StillWatchers(log), PaperLine()
    stream = EventStream(watchers, wanted, since)
    stream.attach(line)
    line.written.clear()
    return watchers, stream, line


def test_a_heartbeat_comes_when_nothing_did_and_carries_the_position(log):
    watchers, stream, line = stream_of(log, Wanted(kinds=frozenset({"link-cut"})))
    log.emit("leader-elected")

    assert stream.turn() == 15
    assert line.written == []
    watchers.time_s = 15
    watchers._said.clear()
    assert stream.turn() == 30
    assert line.written == [b": heartbeat\nid: 1\n\n"]


def test_a_client_that_does_not_read_is_left_alone_and_then_told_what_it_missed(log):
    _, stream, line = stream_of(log)
    line.left = MAX_UNSENT_BYTES + 1
    log.emit("leader-elected")

    assert stream.turn() == pytest.approx(0.05)
    assert line.written == []
    line.left = 0
    stream.turn()
    assert b"id: 1\n" in line.written[0]


def test_a_long_past_is_told_in_turns(log):
    for _ in range(BATCH + 1):
        log.emit("leader-elected")
    watchers, stream, line = stream_of(log)

    assert stream.turn() == 0
    watchers._said.clear()
    assert stream.turn() == 15
    assert [data.count(b"id: ") for data in line.written] == [BATCH, 1]


def test_a_stream_whose_client_has_gone_has_no_more_turns(log):
    _, stream, line = stream_of(log)
    line.is_open = False
    log.emit("leader-elected")

    assert stream.turn() is None


def test_a_query_looks_on_from_what_it_did_not_want(log):
    watchers, line = StillWatchers(log), PaperLine()
    query = EventQuery(watchers, Wanted(kinds=frozenset({"link-cut"})), 0, 10, wait_s=5)
    query.attach(line)
    log.emit("leader-elected")

    assert query.turn() == 5
    watchers.time_s = 5
    assert query.turn() is None
    assert json.loads(line.written[0])["metadata"]["last_seq"] == 1
    assert line.is_ended


def test_a_gap_is_told_once(log):
    for _ in range(5001):
        log.emit("leader-elected")

    first = read(log, 0, Wanted(), 10)

    assert first.dropped == Dropped(1, 1)
    assert read(log, first.last_seq, Wanted(), 10).dropped is None
