"""Chrome's trace format, for Perfetto (ui.perfetto.dev) and chrome://tracing: nodes as tracks, messages as flows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...system import Event
from ..tracing import Sent
from .lanes import Span, lanes_of, main_cluster, of_cluster

__all__ = ["chrome_trace"]


def chrome_trace(events: Sequence[Event], messages: Sequence[Sent] = (), *, cluster: str | None = None) -> bytes:
    """JSON: spans as slices (beside their track where they are not nested), events as instants, replicas as counters,
    messages as arrows. Times in microseconds. Of one cluster, by default as `lanes_of`."""
    cluster = cluster or main_cluster(events)
    lanes = lanes_of(events, cluster)
    tracks = {"cluster": 0} | {node: number for number, node in enumerate(lanes.nodes, start=1)}
    trace: list[dict[str, Any]] = [
        {"ph": "M", "pid": 1, "tid": tid, "name": "thread_name", "args": {"name": name}}
        for name, tid in tracks.items()
    ]
    trace.append({"ph": "M", "pid": 1, "tid": 0, "name": "process_name", "args": {"name": f"cluster {cluster}"}})
    placed = [(tracks.get(span.of, tracks.get(span.of.split("->")[0], 0)), span) for span in lanes.spans]
    beside = _not_nested(placed)
    for number, (track, span) in enumerate(placed):
        name = span.what + (f" of term {span.term}" if span.term is not None else "")
        if span.what == "cut":
            name = f"cut {span.of}"
        begin = {"pid": 1, "tid": track, "name": name, "cat": span.what, "ts": span.begin_ns / 1e3}
        if number in beside:
            trace += [begin | {"ph": "b", "id": number}, begin | {"ph": "e", "id": number, "ts": span.end_ns / 1e3}]
        else:
            trace.append(begin | {"ph": "X", "dur": (span.end_ns - span.begin_ns) / 1e3})
    for event in of_cluster(events, cluster):
        track = tracks.get(event.node or "", 0)
        args = {"seq": event.seq, "term": event.term} | event.data
        instant = {"ph": "i", "pid": 1, "tid": track, "name": event.kind, "ts": event.t_ns / 1e3, "s": "t"}
        trace.append(instant | {"args": args})
    for t_ns, node, count in lanes.replicas:
        counter = {"ph": "C", "pid": 1, "name": f"replicas {node}", "ts": t_ns / 1e3}
        trace.append(counter | {"args": {"replicas": count}})
    for number, sent in enumerate(messages):
        # A flow needs a slice at either end to hold on to.
        ends = (("s", sent.source, sent.sent_ns), ("f", sent.target, sent.received_ns))
        for phase, node, t_ns in ends:
            base = {
                "pid": 1,
                "tid": tracks.get(node, 0),
                "name": sent.kind,
                "cat": "message",
                "ts": t_ns / 1e3,
            }
            trace.append(base | {"ph": "X", "dur": 1})
            trace.append(base | {"ph": phase, "id": number} | ({"bp": "e"} if phase == "f" else {}))
    return json.dumps({"traceEvents": trace, "displayTimeUnit": "ms"}, sort_keys=True).encode()


def _not_nested(placed: Sequence[tuple[int, Span]]) -> set[int]:
    """The numbers of spans that end after one of their track in which they began. Slices of a track must be nested, so
    these are shown beside it."""
    found: set[int] = set()
    ends: dict[int, list[int]] = {}
    for number in sorted(range(len(placed)), key=lambda at: (placed[at][1].begin_ns, -placed[at][1].end_ns)):
        track, span = placed[number]
        around = ends.setdefault(track, [])
        while around and around[-1] <= span.begin_ns:
            around.pop()
        if around and around[-1] < span.end_ns:
            found.add(number)
        else:
            around.append(span.end_ns)
    return found
