"""Reports: each from the event log alone, and right where a machine can tell."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import msgspec
import pytest
from scenario_texts import ISOLATION, played

from raftyard.actors.messages import ChangeSettings
from raftyard.actors.scenarios import Outcome, Simulation, WrongScenario, play, read_scenario
from raftyard.actors.scenarios.reports import (
    chrome_trace,
    clusters_of,
    html_timeline,
    junit_xml,
    lanes_of,
    read_events,
    shiviz_log,
)
from raftyard.actors.system import Event


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return play(read_scenario(ISOLATION), with_messages=True)


def test_recording_messages_changes_no_event(outcome: Outcome):
    assert outcome.messages
    assert outcome.digest == play(read_scenario(ISOLATION)).digest


def test_messages_arrive_after_they_were_sent_and_not_through_what_is_cut(outcome: Outcome):
    assert all(sent.sent_ns <= sent.received_ns for sent in outcome.messages)
    cuts = [
        (span.of, span.begin_ns, span.end_ns) for span in lanes_of(outcome.events).spans if span.what == "cut"
    ]
    for of, begin_ns, end_ns in cuts:
        through = [
            m
            for m in outcome.messages
            if f"{m.source}->{m.target}" == of and begin_ns < m.received_ns < end_ns
        ]
        assert not through


def test_lanes_show_who_led_and_where_the_replicas_were(outcome: Outcome):
    lanes = lanes_of(outcome.events)
    led = [(span.of, span.term) for span in lanes.spans if span.what == "leader"]
    elected = [(event.node, event.term) for event in outcome.events if event.kind == "leader-elected"]
    assert sorted(led) == sorted(elected) and len(led) == 2
    last = {node: count for _, node, count in lanes.replicas}
    assert sum(last.values()) == 10
    assert list(lanes.nodes) == [f"node_{number}" for number in range(5)]


def test_replicas_that_had_to_go_are_no_longer_in_the_lanes():
    with Simulation(nodes=1, capacity=4, seed=1) as sim:
        sim.ask(ChangeSettings(body={"preemption": True}), "settings")
        sim.update({"low": {"replicas": 4, "priority": 20}})
        sim.wait("2s")
        sim.update({"high": {"replicas": 3, "priority": 90}})
        sim.eventually("service('high').placed == 3", within="5s")
        lanes = lanes_of(sim.ground.recorder.events)
    assert lanes.replicas[-1][2] == 4
    assert max(count for _, _, count in lanes.replicas) == 4


def renamed(outcome: Outcome, cluster: str) -> list[Event]:
    """The same events, of another cluster."""
    return [msgspec.structs.replace(event, cluster=event.cluster and cluster) for event in outcome.events]


def test_reports_show_the_cluster_of_the_log_whatever_its_name(outcome: Outcome):
    events = renamed(outcome, "7")
    assert clusters_of(events) == ("7",)
    assert lanes_of(events) == lanes_of(outcome.events)
    assert '"nodes":["node_0"' in html_timeline(events)
    trace = json.loads(chrome_trace(events))["traceEvents"]
    assert {e["args"]["name"] for e in trace if e["name"] == "process_name"} == {"cluster 7"}
    assert {e["args"]["name"] for e in trace if e["name"] == "thread_name"} == {"cluster", *lanes_of(events).nodes}
    assert shiviz_log(events) == shiviz_log(outcome.events)


def test_of_several_clusters_in_a_log_one_is_shown(outcome: Outcome):
    both = [*renamed(outcome, "10"), *renamed(outcome, "2.inner"), *renamed(outcome, "2")]
    assert clusters_of(both) == ("2", "10")
    assert clusters_of([*both, *outcome.events]) == ("0", "2", "10")
    assert lanes_of(both, "10") == lanes_of(outcome.events)
    own = [event for event in outcome.events if event.cluster is not None]
    mixed = [*own, *(event for event in both if event.cluster is not None)]
    assert html_timeline(mixed) == html_timeline(own)
    assert chrome_trace(mixed) == chrome_trace(own) and shiviz_log(mixed) == shiviz_log(own)
    assert html_timeline(mixed, cluster="10") == html_timeline(renamed(outcome, "10"))


def test_a_log_that_begins_late_has_a_lane_for_every_node_it_tells_of(outcome: Outcome):
    late = [event for event in outcome.events if event.kind in ("tasks-placed", "leader-stepped-down")]
    assert set(lanes_of(late).nodes) >= {node for _, node, _ in lanes_of(late).replicas}
    assert "node_0" in lanes_of(late).nodes


def test_crashes_and_pauses_are_spans():
    seen = played("- crash: node_1\n  for: 2s\n- pause: node_2\n  for: 1s\n- wait: 3s")
    spans = {(s.what, s.of): (s.end_ns - s.begin_ns) / 1e9 for s in lanes_of(seen.events).spans}
    assert spans[("down", "node_1")] == 2.0 and spans[("paused", "node_2")] == 1.0


def test_junit_counts_failures_and_keeps_the_seed_and_the_story_of_each():
    failed = played("- expect: leader is not None")
    suite = ElementTree.fromstring(junit_xml([play(read_scenario(ISOLATION)), failed]))[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    first, second = suite.findall("testcase")
    assert (
        first.find("failure") is None and first.find("properties/property[@name='seed']").get("value") == "42"
    )
    assert "replay    raftyard scenario run test.yaml --seed 1" in second.find("failure").text


def test_a_chrome_trace_has_a_track_for_each_node_and_its_arrows_in_pairs(outcome: Outcome):
    trace = json.loads(chrome_trace(outcome.events, outcome.messages))["traceEvents"]
    names = [entry["args"]["name"] for entry in trace if entry["name"] == "thread_name"]
    assert set(names) == {"cluster", *(f"node_{number}" for number in range(5))}
    starts, ends = ({e["id"] for e in trace if e["ph"] == phase} for phase in "sf")
    assert starts == ends and len(starts) == len(outcome.messages)
    assert all(entry["dur"] >= 0 for entry in trace if entry["ph"] == "X")


def test_spans_that_overlap_are_nested_slices_of_a_track_or_beside_it():
    cuts = "- cut: node_0->node_{}\n  for: 2s\n- wait: 1s\n"
    seen = played(f"{cuts.format(1)}{cuts.format(2)}- wait: 5s")
    trace = json.loads(chrome_trace(seen.events))["traceEvents"]
    slices = [(e["tid"], e["ts"], e["ts"] + e["dur"]) for e in trace if e["ph"] == "X"]
    for track, begin, end in slices:
        assert not [one for one in slices if one[0] == track and begin < one[1] < end < one[2]]
    begun = {e["id"]: e for e in trace if e["ph"] == "b"}
    ended = {e["id"]: e for e in trace if e["ph"] == "e"}
    assert begun and begun.keys() == ended.keys()
    assert len(slices) + len(begun) == len(lanes_of(seen.events).spans)
    assert all(begun[at]["name"] == ended[at]["name"] and begun[at]["ts"] < ended[at]["ts"] for at in begun)


def test_vector_clocks_of_shiviz_follow_the_messages(outcome: Outcome):
    text = shiviz_log(outcome.events, outcome.messages)
    expression = text.splitlines()[0].replace("(?<", "(?P<")
    found = list(re.finditer(expression, text.split("\n", 2)[2]))
    sends, receives = (sum(m["event"].startswith(word) for m in found) for word in ("send", "receive"))
    assert sends == receives == len(outcome.messages)
    last: dict[str, dict[str, int]] = {}
    for match in found:
        clock = json.loads(match["clock"])
        before = last.get(match["host"], {})
        assert clock[match["host"]] == before.get(match["host"], 0) + 1
        assert all(clock.get(host, 0) >= count for host, count in before.items())
        last[match["host"]] = clock
    assert len(last["node_0"]) == 5, "it has heard of everybody"


def test_the_timeline_is_one_page_without_any_address(outcome: Outcome):
    page = html_timeline(
        outcome.events, outcome.messages, title="a <b> & c", told="</script><script>alert(1)"
    )
    assert "<title>a &lt;b&gt; &amp; c</title>" in page
    assert page.count("<script") == 2 and "{{" not in page
    assert not re.findall(r"(?:src|href)=|https?://(?!www\.w3\.org/2000/svg)", page)
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert len(data["events"]) == len(outcome.events) and len(data["messages"]) == len(outcome.messages)


def test_a_recorded_log_is_read_back_and_a_wrong_line_is_named(outcome: Outcome, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"".join(event.line() + b"\n" for event in outcome.events))
    assert [event.line() for event in read_events(log)] == [event.line() for event in outcome.events]
    log.write_bytes(log.read_bytes() + b"{}\n")
    with pytest.raises(WrongScenario, match=f"log.jsonl:{len(outcome.events) + 1}:1: not an event of a log"):
        read_events(log)


@pytest.mark.parametrize("clock", ["virtual", "live"])
def test_the_log_of_a_simulation_has_everything_that_happened(clock: str, tmp_path):
    log = tmp_path / "log.jsonl"
    with Simulation(nodes=3, clock=clock, always=()) as sim:
        sim.eventually("leader is not None")
        sim.cut("node_0-node_1")
        log.write_bytes(sim.system.events.lines())
    read = list(read_events(log))
    assert read == sim.events[: len(read)] and read[0].seq == 1
    assert {"leader-elected", "link-cut", "fault-started"} <= {event.kind for event in read}
