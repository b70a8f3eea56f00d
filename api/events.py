"""Events: what happened, as a list, as an answer that waits, or as a stream that can be resumed."""

from __future__ import annotations

from typing import Any, ClassVar

from falcon import Request, Response

from .ports import Clusters, Malformed
from .query import EVENTS, WHOLE, EventRange, event_range
from .shapes import EventList
from .watching import EventQuery, EventStream, Wanted, Watchers, as_json, newest, read

EVENT_STREAM = "text/event-stream"


class EventsResource:
    """/events, and /clusters/{cluster}/events"""

    takes: ClassVar[dict[str, Any]] = {}
    gives: ClassVar[dict[str, Any]] = {"GET": EventList}
    asks: ClassVar = {"GET": EVENTS}

    def __init__(self, clusters: Clusters, watchers: Watchers) -> None:
        self._clusters = clusters
        self._watchers = watchers

    def on_get(self, req: Request, resp: Response, cluster: str | None = None) -> None:
        """Events after ?since=; ?wait=10s waits for the next one; Accept: text/event-stream goes on for good."""
        asked = event_range(req, self._clusters.event_kinds())
        log = self._clusters.event_log(cluster)
        wanted = Wanted(cluster, asked.kinds)
        if EVENT_STREAM in (req.accept or ""):
            self._stream(req, resp, asked, wanted, log.last_seq)
        elif asked.wait_s is not None:
            self._wait(resp, asked, wanted, log.last_seq)
        elif asked.since is None:
            self._answer(resp, as_json(newest(log, wanted, asked.limit)))
        else:
            self._answer(resp, as_json(read(log, asked.since, wanted, asked.limit)))

    def _answer(self, resp: Response, data: bytes) -> None:
        resp.data = data

    def _wait(self, resp: Response, asked: EventRange, wanted: Wanted, last_seq: int) -> None:
        assert asked.wait_s is not None
        self._watchers.check_room()
        since = last_seq if asked.since is None else asked.since
        resp.stream = EventQuery(self._watchers, wanted, since, asked.limit, asked.wait_s)

    def _stream(self, req: Request, resp: Response, asked: EventRange, wanted: Wanted, last_seq: int) -> None:
        if asked.wait_s is not None:
            raise Malformed("a stream waits for good", "leave wait out, or do not accept text/event-stream")
        self._watchers.check_room()
        resumed = _last_event_id(req)
        since = resumed if resumed is not None else asked.since
        resp.content_type = EVENT_STREAM
        # For a proxy in between (nginx), which would otherwise hold events back.
        resp.set_header("X-Accel-Buffering", "no")
        resp.stream = EventStream(self._watchers, wanted, last_seq if since is None else since)


def _last_event_id(req: Request) -> int | None:
    """Where a client that was cut off goes on; newer than the ?since= in its URL."""
    text = req.get_header("Last-Event-ID")
    if not text:
        return None
    if WHOLE.fullmatch(text) is None:
        raise Malformed(f"Last-Event-ID {text} is not a number", "send the id of the last event you have")
    return int(text)
