"""An HTML page that shows a run: nodes as lanes, who led, who was down, what was cut, replicas, messages as arrows."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ...system import Event
from ..tracing import Sent
from .lanes import lanes_of, main_cluster, of_cluster

__all__ = ["html_timeline"]

_PAGE = Path(__file__).with_name("timeline.html")


def html_timeline(
    events: Sequence[Event],
    messages: Sequence[Sent] = (),
    *,
    title: str = "A run",
    told: str = "",
    cluster: str | None = None,
) -> str:
    """One page with all it needs in it: it opens from a file, without a network. It shows one cluster, by default as
    `lanes_of`."""
    cluster = cluster or main_cluster(events)
    lanes = lanes_of(events, cluster)
    shown = of_cluster(events, cluster)
    data: dict[str, Any] = {
        "nodes": lanes.nodes,
        "end": lanes.end_ns,
        "spans": [[s.what, s.of, s.begin_ns, s.end_ns, s.term] for s in lanes.spans],
        "replicas": lanes.replicas,
        "events": [[e.t_ns, e.seq, e.kind, e.node, e.term, msgspec.to_builtins(e.data)] for e in shown],
        "messages": [[m.sent_ns, m.received_ns, m.source, m.target, m.kind] for m in messages],
    }
    # Inside a script element nothing but its end tag counts, so `<` is all that has to be hidden.
    embedded = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    texts = {"title": html.escape(title), "told": html.escape(told), "data": embedded}
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: texts[mark[1]], _PAGE.read_text(encoding="utf-8"))
