"""Events of the real program, as a client sees that is cut off, comes again and outlives the program."""

import http.client
import json
from pathlib import Path

from program import Program, program

ELECTED = "/clusters/0/events?kinds=leader-elected&since=0"


def connect(it: Program, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("localhost", it.port, timeout=30)
    connection.request("GET", path, headers={"Accept": "text/event-stream"} | headers)
    response = connection.getresponse()
    assert response.status == 200
    return response


def data_of(response: http.client.HTTPResponse) -> tuple[str, dict[str, object]] | None:
    """The id and the data of the next event, None at the end of the stream."""
    number = ""
    while line := response.readline().decode():
        if line.startswith("id: "):
            number = line[4:].strip()
        if line.startswith("data: "):
            return number, json.loads(line[6:])
    return None


def leaders_links_deliver(it: Program, nodes: list[str]) -> bool:
    """Followers have nothing to say to each other, a leader has."""
    leader = it.call("GET", "/clusters/0/stats")[1]["leader"]
    links = (f"/clusters/0/links/{leader}/{node}" for node in nodes if leader not in (None, node))
    return any(it.call("GET", link)[1]["statistics"]["delivered"] for link in links)


def test_a_client_follows_the_program_through_a_cut_and_hears_its_end(tmp_path: Path) -> None:
    with program(tmp_path) as it:
        it.start()
        watcher = connect(it, ELECTED)
        told = data_of(watcher)
        assert told is not None
        number, elected = told
        assert (elected["kind"], elected["cluster"], elected["seq"]) == ("leader-elected", "0", int(number))
        watcher.close()

        it.call("POST", "/clusters/0/service?wait=executed", {"container": {"name": "web", "replicas": 6}})
        again = connect(it, "/events?kinds=call-executed", **{"Last-Event-ID": number})
        executed = data_of(again)
        assert executed is not None
        assert executed[1]["data"]["placed"] == 6  # type: ignore[index]

        query = f"/events?since={executed[0]}&kinds=link-cut&wait=20s"
        nodes = [node["address"] for node in it.call("GET", "/clusters/0/nodes")[1]["results"]]
        it.call("PUT", "/clusters/0/connections", {nodes[0]: {nodes[1]: 0}})
        status, answer = it.call("GET", query, timeout_s=30.0)
        assert status == 200
        assert [event["kind"] for event in answer["results"]] == ["link-cut"]

        link = f"/clusters/0/links/{nodes[0]}/{nodes[2]}"
        assert it.call("PATCH", link, {"delay": "2ms", "jitter": "1.5ms"})[0] == 200
        status, shown = it.call("PATCH", link, {"loss": 0.5})
        assert (status, shown["delay"], shown["jitter"], shown["loss"]) == (200, "2ms", "1.5ms", 0.5)
        assert it.call("PUT", link, {"duplicate": 0.1})[1]["delay"] == "0ms"
        shown = it.call("GET", link)[1]
        assert (shown["from"], shown["to"], shown["connected"]) == (nodes[0], nodes[2], 1)
        assert shown["duplicate"] == 0.1
        assert it.call("GET", f"/clusters/0/links/{nodes[0]}/{nodes[1]}")[1]["connected"] == 0
        assert it.call("GET", f"/clusters/0/links/{nodes[0]}/{nodes[0]}")[0] == 404
        it.wait_for(lambda: leaders_links_deliver(it, nodes))
        assert it.call("GET", "/readyz") == (200, {"status": "ok"})

        it.stop()
        assert data_of(again) is None
