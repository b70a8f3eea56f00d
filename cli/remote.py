"""A cluster of a program that runs already, spoken to over REST: for scenarios with --url, and to copy its events.

`RemoteCluster` stands where a scenario's own cluster has its front door: it takes the same messages, and makes a
request of each. So every verb works as it does on a cluster that the scenario has started, but for those that reach
into a process (crash, pause, disk, clock, ...), which `play` refuses.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from threading import Event, Thread
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from raftyard.actors import messages as m
from raftyard.actors.errors import (
    Conflict,
    InvalidRequest,
    RaftyardError,
    Unavailable,
    UnknownCluster,
    UnknownService,
)
from raftyard.actors.scenarios.client import CLIENT, ReadService
from raftyard.actors.scenarios.quantities import ns_of
from raftyard.actors.system import Actor, Promise, System

__all__ = ["Api", "RemoteCluster", "RemoteDoor", "all_events"]

PATIENCE_S = 10.0
EVENTS_WAIT_S = 1
PAGE = 1_000
THREADS = 8
"""Requests at a time: a call that waits until it is executed must not hold up a look at the cluster."""


class Api:
    """The REST API of one program. `url` is that of the orchestrator, or of one of its clusters."""

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise InvalidRequest(f"{url!r} is no address of a running program; it looks like http://localhost:8000")
        path = parts.path.strip("/").split("/")
        if path not in ([""], ["clusters"]) and (len(path) != 2 or path[0] != "clusters"):
            raise InvalidRequest(f"{url!r} is no cluster; it looks like http://localhost:8000/clusters/0")
        self.root = f"http://{parts.netloc}"
        self.cluster = path[1] if len(path) == 2 else "0"
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, method: str, path: str, body: Any = None, *, timeout_s: float = PATIENCE_S) -> Any:
        """One request about the cluster; its answer. Raises RaftyardError with what the program says is wrong."""
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.root}/clusters/{quote(self.cluster)}{path}"
        request = urllib.request.Request(url, data, self._headers, method=method)
        try:
            with self._opener.open(request, timeout=timeout_s) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise _error(error.code, error.read()) from None
        except (OSError, ValueError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unavailable(
                f"nobody answers at {self.root}: {reason}", hint="is the program running, and is this its port?"
            ) from None

    def events(self, since: int, wait_s: int | None = None) -> tuple[list[dict[str, Any]], int, Any]:
        """Events after `since`, how far they go, and the gap (from, to) where some are not kept any more."""
        asked: dict[str, Any] = {"since": since, "limit": PAGE}
        if wait_s:
            asked["wait"] = f"{wait_s}s"
        page = self.call("GET", f"/events?{urlencode(asked)}", timeout_s=PATIENCE_S + (wait_s or 0))
        return page["results"], int(page["metadata"]["last_seq"]), page["metadata"]["dropped"]

    def node_names(self) -> tuple[str, ...]:
        """The nodes, in order of joining. One that does not answer does not say its name: it is taken for one of those
        that a cluster's first nodes have."""
        names: list[str] = []
        count, offset = 1, 0
        while offset < count:
            page = self.call("GET", f"/nodes?{urlencode({'offset': offset, 'limit': PAGE})}")
            names += [str(node["stats"].get("id", "")) for node in page["results"]]
            count, offset = int(page["metadata"]["count"]), offset + PAGE
        left = iter([name for name in (f"node_{number}" for number in range(count)) if name not in names])
        return tuple(name or next(left) for name in names)

    def last_seq(self) -> int:
        """The number of the newest event."""
        return int(self.call("GET", "/events?limit=1")["metadata"]["last_seq"])


def _error(status: int, text: bytes) -> RaftyardError:
    try:
        problem = json.loads(text)
        said, hint = str(problem["detail"]), str(problem.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        return Unavailable(f"the program answers {status}, and not as Raftyard does", hint="is this the right port?")
    kind: type[RaftyardError] = {404: UnknownCluster, 409: Conflict, 503: Unavailable, 504: Unavailable}.get(
        status, InvalidRequest
    )
    if status == 404 and "no service" in said:
        kind = UnknownService
    return kind(said, hint=hint)


class RemoteDoor:
    """Opens in place of a cluster of the scenario's own: `play(scenario, door=RemoteDoor(api))`."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.url = f"{api.root}/clusters/{api.cluster}"

    def __call__(self, system: System, cluster: str) -> None:
        system.spawn(RemoteCluster, m.cluster_actor(cluster), self.api, cluster)
        system.spawn(RemoteCluster, CLIENT, self.api, cluster, with_events=False)


class RemoteCluster(Actor):
    """Takes a front door's messages, and passes on what happens there."""

    def __init__(self, api: Api, cluster: str, *, with_events: bool = True) -> None:
        super().__init__()
        self._api = api
        self._cluster = cluster
        self._with_events = with_events
        self._ended = Event()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="raftyard-remote")

    def on_start(self) -> None:
        """From now on the events of the other program are events here, by the time at which they are heard."""
        if self._with_events:
            arguments = (self.context.system, self._api.last_seq())
            Thread(target=self._listen, args=arguments, name="raftyard-remote-events", daemon=True).start()

    def on_stop(self) -> None:
        """Requests under way are not waited for."""
        self._ended.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def on_receive(self, message: Any) -> Promise:
        """Every message is a question."""
        promise = self.context.promise()
        self._pool.submit(self._carry_out, message, promise)
        return promise

    def _carry_out(self, message: Any, promise: Promise) -> None:
        try:
            promise.keep(self._answer(message))
        except RaftyardError as error:
            # A read that nobody answers is as one that was lost: whoever asked may ask again.
            if not isinstance(message, ReadService):
                promise.fail(error)
        except Exception as error:
            promise.fail(error)

    def _answer(self, message: Any) -> Any:
        call = self._api.call
        match message:
            case m.DescribeCluster():
                return call("GET", f"/stats?limit={PAGE}")
            case m.DescribeConnections():
                return call("GET", "/connections")
            case m.SetConnections(matrix=matrix):
                return call("PUT", "/connections", matrix)
            case m.DescribeLinkRequest(source=source, target=target):
                return _link_shown(source, target, call("GET", f"/links/{quote(source)}/{quote(target)}"))
            case m.SetLinkPolicyRequest(source=source, target=target, policy=policy):
                return call("PUT", f"/links/{quote(source)}/{quote(target)}", _wire(policy))
            case m.AddNodeRequest(name=name, capacity=capacity):
                return call("POST", "/nodes", _named(id=name, capacity=capacity, spawn=True))
            case m.RemoveNodeRequest(address=address):
                return call("DELETE", f"/nodes/{quote(address)}")
            case m.UpdateNodeRequest(node=node, body=body):
                return call("PATCH", f"/nodes/{quote(node)}", body)
            case m.ChangeService(service=service, body=body, is_patch=is_patch):
                return call("PATCH" if is_patch else "PUT", f"/services/{quote(service)}", body)
            case m.RollBackService(service=service):
                return call("POST", f"/services/{quote(service)}/rollback")
            case m.RemoveService(service=service):
                return call("DELETE", f"/services/{quote(service)}")
            case m.ChangeStack(stack=stack, body=body):
                return call("PUT", f"/stacks/{quote(stack)}", body)
            case m.DescribeStack(stack=stack):
                return call("GET", f"/stacks/{quote(stack)}")
            case m.RemoveStack(stack=stack):
                return call("DELETE", f"/stacks/{quote(stack)}")
            case m.ChangeSettings(body=body):
                return call("PATCH", "/settings", body)
            case m.TransferRequest(target=target):
                return call("POST", "/transfer", _named(target=target))
            case m.RebalanceRequest():
                return call("POST", "/rebalance", msgspec.to_builtins(message))
            case m.DescribeRebalance():
                return call("GET", "/rebalance")
            case m.SubmitServiceCall(body=body, wait_s=None):
                return call("POST", "/service", body)
            case m.SubmitServiceCall(body=body, wait_s=wait_s):
                return self._submit(body, wait_s or 0.0)
            case ReadService(service=service):
                return self._read(service)
        raise InvalidRequest(f"{type(message).__name__} cannot be asked of a program that runs already")

    def _submit(self, body: Any, wait_s: float) -> Any:
        """As the front door: a call that takes longer is answered too, as what it is by then."""
        made = self._api.call("POST", "/service", body)
        path = f"/service/{quote(made['service_id'])}"
        self._ended.wait(0.02)
        waited_s = 0.02
        while (call := self._api.call("GET", path))["status"] not in ("executed", "failed") and waited_s < wait_s:
            self._ended.wait(0.05)
            waited_s += 0.05
        return call

    def _read(self, service: str) -> int | None:
        try:
            return int(self._api.call("GET", f"/services/{quote(service)}")["replicas"])
        except UnknownService:
            return None

    def _listen(self, system: System, since: int) -> None:
        while not self._ended.is_set():
            try:
                events, since, dropped = self._api.events(since, EVENTS_WAIT_S)
            except RaftyardError:
                self._ended.wait(0.5)  # it may come back; what it says then is what counts
                continue
            if dropped and not self._ended.is_set():
                system.events.emit("events-lost", cluster=self._cluster, dropped=dropped)
            for event in events:
                if not self._ended.is_set():
                    system.events.emit(
                        event["kind"], cluster=self._cluster, node=event["node"], term=event["term"], **event["data"]
                    )


def _wire(policy: m.LinkPolicy) -> dict[str, Any]:
    return {
        "delay": f"{policy.delay_s * 1000:.10g}ms",
        "jitter": f"{policy.jitter_s * 1000:.10g}ms",
        "loss": policy.loss,
        "duplicate": policy.duplicate,
        "reorder": policy.reorder,
    }


def _link_shown(source: str, target: str, view: dict[str, Any]) -> m.LinkShown:
    policy = m.LinkPolicy(
        delay_s=ns_of(view["delay"]) / 1e9,
        jitter_s=ns_of(view["jitter"]) / 1e9,
        **{name: view[name] for name in ("loss", "duplicate", "reorder")},
    )
    status = m.LinkStatus(
        ref=0, source=source, target=target, cut=not view["connected"], policy=policy, **view["statistics"]
    )
    return m.LinkShown(source=view["from"], target=view["to"], status=status)


def _named(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def all_events(api: Api, until: Event) -> Iterator[tuple[list[dict[str, Any]], Any]]:
    """Pages of the events that are kept, with the gap before each, and then of what comes until `until` is set."""
    since, is_old = 0, True
    while True:
        events, since, dropped = api.events(since, None if is_old else EVENTS_WAIT_S)
        if events or dropped:
            yield events, dropped
        # Also where something happens all the time: a page that is not full ends with the newest.
        is_old = is_old and len(events) >= PAGE
        if not is_old and until.is_set():
            return
