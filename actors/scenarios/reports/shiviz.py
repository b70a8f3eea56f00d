"""A log for ShiViz (bestchai.bitbucket.io/shiviz), which draws who could have known what: vector clocks and events.

Its regular expression is `(?<host>\\S*) (?<clock>{.*})\\n(?<event>.*)`, and stands in the first line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from ...system import Event
from ..telling import event_line
from ..tracing import Sent
from .lanes import main_cluster, of_cluster

__all__ = ["EXPRESSION", "shiviz_log"]

_LATEST = 1 << 62
EXPRESSION = r"(?<host>\S*) (?<clock>{.*})\n(?<event>.*)"


def shiviz_log(events: Sequence[Event], messages: Sequence[Sent] = (), *, cluster: str | None = None) -> str:
    """Events of the nodes of one cluster, by default as `lanes_of`, and the messages between them, each with its node's
    vector clock."""
    events = of_cluster(events, cluster or main_cluster(events))
    clocks: dict[str, dict[str, int]] = {}
    lines = [EXPRESSION, ""]
    in_flight: dict[int, dict[str, int]] = {}
    for _, _, _, host, number, what in sorted(_moments(events, messages)):
        clock = clocks.setdefault(host, {})
        for other, count in (in_flight.pop(number, {}) if what.startswith("receive ") else {}).items():
            clock[other] = max(clock.get(other, 0), count)
        clock[host] = clock.get(host, 0) + 1
        if what.startswith("send "):
            in_flight[number] = dict(clock)
        lines += [f"{host} {json.dumps(clock, sort_keys=True)}", what]
    return "\n".join(lines) + "\n"


def _moments(
    events: Sequence[Event], messages: Sequence[Sent]
) -> Iterator[tuple[int, int, int, str, int, str]]:
    """(time, the handled message, before or after it, host, number of the message, what happened)."""
    for event in events:
        if event.node is not None:
            yield event.t_ns, _LATEST, 0, event.node, -1, event_line(event).strip()
    for number, sent in enumerate(messages):
        # What was handled gives the order where no time passes.
        yield sent.sent_ns, sent.sent_in, 1, sent.source, number, f"send {sent.kind} to {sent.target}"
        yield (
            sent.received_ns,
            sent.received_in,
            0,
            sent.target,
            number,
            f"receive {sent.kind} from {sent.source}",
        )
