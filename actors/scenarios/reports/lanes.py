"""What a run looks like node by node: who led, was down or paused, how many replicas it had, which links were cut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from ...system import Event

__all__ = ["Lanes", "Span", "clusters_of", "lanes_of", "main_cluster", "of_cluster"]

CLUSTER = "0"


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Something that lasted: `what` is leader, down, paused, silent (its leader hears nothing of it) or cut; in ns."""

    what: str
    of: str
    begin_ns: int
    end_ns: int
    term: int | None = None


class Lanes(msgspec.Struct, frozen=True, kw_only=True):
    """One lane a node. `replicas`: [t_ns, node, how many from then on]; `end_ns` is where the run ended."""

    nodes: tuple[str, ...]
    spans: tuple[Span, ...]
    replicas: tuple[tuple[int, str, int], ...]
    end_ns: int


def _by_number(name: str) -> list[tuple[int, str]]:
    """node_2 before node_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


_BEGINS = {"leader-elected": "leader", "node-crashed": "down", "node-paused": "paused", "node-down": "silent"}
_ENDS = {
    "leader-stepped-down": "leader",
    "node-started": "down",
    "node-resumed": "paused",
    "node-ready": "silent",
}


def clusters_of(events: Iterable[Event]) -> tuple[str, ...]:
    """The clusters that a log tells of, without those nested in one of them: 0 first, the others in their order."""
    found = dict.fromkeys(event.cluster for event in events if event.cluster is not None)
    outer = [one for one in found if not any(one.startswith(f"{other}.") for other in found)]
    return tuple(sorted(outer, key=lambda one: (one != CLUSTER, _by_number(one))))


def main_cluster(events: Iterable[Event]) -> str:
    """Cluster 0, or the first one where the log does not tell of that."""
    return next(iter(clusters_of(events)), CLUSTER)


def of_cluster(events: Iterable[Event], cluster: str) -> list[Event]:
    """The events of a cluster and of those nested in it, and those of none."""
    return [
        event
        for event in events
        if event.cluster is None or event.cluster == cluster or event.cluster.startswith(f"{cluster}.")
    ]


def lanes_of(events: Sequence[Event], cluster: str | None = None) -> Lanes:
    """The lanes of one cluster and of those nested in it, from their events in their order. Without a name it is
    cluster 0, or the log's first one where it has none of that name."""
    cluster = cluster or main_cluster(events)
    open_spans: dict[tuple[str, str], tuple[int, int | None]] = {}
    spans: list[Span] = []
    nodes: dict[str, None] = {}
    counts: dict[str, int] = {}
    replicas: list[tuple[int, str, int]] = []
    end_ns = max((event.t_ns for event in events), default=0)

    def close(what: str, of: str, t_ns: int) -> None:
        begun = open_spans.pop((what, of), None)
        if begun is not None:
            spans.append(Span(what=what, of=of, begin_ns=begun[0], end_ns=t_ns, term=begun[1]))

    for event in of_cluster(events, cluster):
        of = str(event.data.get("name") or event.node or "")
        if event.kind in ("node-added", "leader-elected", "node-crashed", "link-cut") and of:
            nodes.setdefault(of)
        if event.node is not None:
            nodes.setdefault(event.node)  # a log may begin later than the cluster
        if event.kind in ("leader-elected", "leader-stepped-down"):
            of = event.node or ""
        if event.kind == "node-crashed":
            close("leader", of, event.t_ns)
            close("paused", of, event.t_ns)
        if event.kind in _BEGINS:
            open_spans.setdefault((_BEGINS[event.kind], of), (event.t_ns, event.term))
        elif event.kind in _ENDS:
            close(_ENDS[event.kind], of, event.t_ns)
        elif event.kind in ("link-cut", "link-restored"):
            link = f"{event.data['source']}->{event.data['target']}"
            if event.kind == "link-cut":
                open_spans[("cut", link)] = (event.t_ns, None)
            else:
                close("cut", link, event.t_ns)
        elif event.kind in ("tasks-placed", "tasks-lost", "tasks-stopped", "tasks-preempted", "tasks-ended"):
            sign = 1 if event.kind == "tasks-placed" else -1
            for node, first, last in event.data["runs"]:
                nodes.setdefault(node)
                counts[node] = max(0, counts.get(node, 0) + sign * (last - first + 1))
                replicas.append((event.t_ns, node, counts[node]))
        elif event.kind == "node-removed":
            counts[of] = 0
            replicas.append((event.t_ns, of, 0))
    for what, of in tuple(open_spans):
        close(what, of, end_ns)
    in_order = tuple(sorted(nodes, key=_by_number))
    return Lanes(nodes=in_order, spans=tuple(spans), replicas=tuple(replicas), end_ns=end_ns)
