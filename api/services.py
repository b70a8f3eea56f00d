"""Service calls: hand one in, ask what became of it."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import falcon
from falcon import Request, Response

from .answers import answer
from .body import SERVICE_CALL
from .environ import room_to_wait
from .ports import Answer, Clusters, Conflict, Malformed, TimedOut
from .query import WAIT, wait_seconds
from .shapes import CallView

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class ServiceResource:
    """/clusters/{cluster}/service"""

    takes: ClassVar[dict[str, Any]] = {"POST": SERVICE_CALL}
    gives: ClassVar[dict[str, Any]] = {"GET": CallView, "POST": CallView}
    asks: ClassVar = {"POST": WAIT}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str) -> None:
        """The last service call."""
        answer(resp, self._clusters.last_call(cluster))

    def on_post(self, req: Request, resp: Response, cluster: str) -> None:
        """Queue a service call. 202 with the call; with ?wait=executed 200 once it is executed."""
        _submit(self._clusters, req, resp, cluster, node=None)


class NodeServiceResource:
    """/service on a node's port: any node takes a call, and sees that the leader gets it."""

    takes: ClassVar[dict[str, Any]] = {"POST": SERVICE_CALL}
    gives: ClassVar[dict[str, Any]] = {"POST": CallView}
    asks: ClassVar = {"POST": WAIT}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_post(self, req: Request, resp: Response, cluster: str, node: str) -> None:
        """Queue a service call."""
        _submit(self._clusters, req, resp, cluster, node)


class CallResource:
    """/clusters/{cluster}/service/{call}"""

    takes: ClassVar[dict[str, Any]] = {}
    gives: ClassVar[dict[str, Any]] = {"GET": CallView}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str, call: str) -> None:
        """That service call."""
        answer(resp, self._clusters.call(cluster, call))


def _submit(clusters: Clusters, req: Request, resp: Response, cluster: str, node: str | None) -> None:
    wait_s, key = wait_seconds(req), _idempotency_key(req)
    body = SERVICE_CALL.read(req)
    if wait_s is None:
        call = clusters.submit(cluster, body, node=node, idempotency_key=key, wait_s=None)
        answer(resp, call, falcon.HTTP_202, _where(cluster, call) if node is None else None)
        return
    with room_to_wait(req.env):
        call = clusters.submit(cluster, body, node=node, idempotency_key=key, wait_s=wait_s)
    _check_executed(cluster, call, wait_s)
    answer(resp, call)


def _check_executed(cluster: str, call: Answer, wait_s: float) -> None:
    call_id, status = call["service_id"], call["status"]
    if status == "failed":
        reason = call.get("reason") or "no reason given"
        raise Conflict(f"service call {call_id} failed: {reason}", code="call-failed", call=call)
    if status != "executed":
        hint = f"it stays queued; ask GET {_where(cluster, call)}"
        raise TimedOut(f"service call {call_id} is {status} after {wait_s:g}s", hint, call=call)


def _where(cluster: str, call: Answer) -> str:
    return f"/clusters/{cluster}/service/{call['service_id']}"


def _idempotency_key(req: Request) -> str | None:
    key = req.get_header("Idempotency-Key")
    if key is not None and IDEMPOTENCY_KEY.fullmatch(key) is None:
        raise Malformed(
            "the Idempotency-Key cannot be used", "send 1 to 255 visible ASCII characters, for example a UUID"
        )
    return key
