"""What HTTP needs of the actors: a Protocol to implement, the values it is handed, and the errors it raises.

The api folder imports nothing of the actors. `raftyard.cli` joins the two: it implements `Clusters` over the actors
and hands it to `create_app`. Every method may be called from several threads at a time, and blocks until it has the
answer. An answer is a plain dict that is ready for JSON, in the shapes that shapes.py writes down; an error is a
`Problem`. By the time a method is called the edge has done its part: bodies are of the right type, a port is an int,
and an address is spelled one way (`localhost:8002`, see addresses.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from .shapes import LinkFaults, NewCluster, NewNode, RebalanceOrder

__all__ = [
    "Answer",
    "Clusters",
    "Conflict",
    "Event",
    "EventLog",
    "FieldError",
    "Forbidden",
    "Invalid",
    "LinkFaults",
    "LogRange",
    "Malformed",
    "Misdirected",
    "NewCluster",
    "NewNode",
    "NodePort",
    "NotAllowed",
    "NotFound",
    "Page",
    "PortInUse",
    "Problem",
    "RebalanceOrder",
    "TimedOut",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMedia",
    "View",
]

Answer = dict[str, Any]
"""A JSON object: str, int, float, bool, None, and lists and dicts of them."""

View = Literal["stats", "state"]
"""How much of a cluster to show. `state` adds the last service call and how its load is spread."""


class Page(NamedTuple):
    """A slice of a long list: `limit` items from the item number `offset` on, counted from 0."""

    offset: int = 0
    limit: int = 100


class LogRange(NamedTuple):
    """Entries of a node's log by index, both ends included. None at `first` means "as many as are usual (20)", None
    at `last` means "to the newest"."""

    first: int | None = None
    last: int | None = None


class NodePort(NamedTuple):
    """Whose port a request came in on: the tag under which `Server.open` opens a node's port."""

    cluster: str
    node: str
    """The node's address in its one spelling, `localhost:8001`."""


class Event(Protocol):
    """One thing that happened; `line` is all of it as one line of JSON, without the line's end."""

    @property
    def seq(self) -> int:
        """From 1, without gaps."""

    @property
    def kind(self) -> str:
        """`leader-elected`"""

    @property
    def cluster(self) -> str | None:
        """The id of the cluster it happened in."""

    def line(self) -> bytes:
        """`{"cause":…,"cluster":…,"data":…,"kind":…,"node":…,"seq":…,"t_ns":…,"term":…}`"""


class EventLog(Protocol):
    """What happened since the program started; the oldest is forgotten. Safe from any thread."""

    @property
    def last_seq(self) -> int:
        """The newest event's, 0 before the first."""

    def since(self, seq: int = 0) -> Sequence[Event]:
        """Those after `seq` that are still known, oldest first."""

    def subscribe(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Call `callback` with every new event, on whatever thread; returns what ends that."""


class Clusters(Protocol):
    """Every question and order that HTTP passes on.

    `cluster` is a cluster's id, `node` a node's address (`localhost:8001`) or its id (`node_0`). An unknown one is
    `NotFound`; a question that only a leader can answer while there is none is `Unavailable` with `retry_after_s`.
    """

    def clusters(self) -> list[Answer]:
        """Every cluster, as `cluster` shows it with `stats`, in the order of their ids."""

    def cluster(self, cluster: str, view: View, page: Page) -> Answer:
        """`{"id", "nodes", "connections", "services"}`; see shapes.ClusterView. `page` cuts the list of nodes."""

    def create_cluster(self, request: NewCluster) -> Answer:
        """Make a cluster; return it as `cluster` does. `Conflict`: the id is taken. `PortInUse`."""

    def replace_cluster(self, cluster: str, request: NewCluster) -> Answer:
        """Take the cluster away, with its services, and make a new one of that id from `request`."""

    def delete_cluster(self, cluster: str) -> Answer:
        """Stop its nodes, close their ports, forget it. Returns `{"status": "ok", "id": cluster}`."""

    def submit(
        self,
        cluster: str,
        body: Mapping[str, Any],
        *,
        node: str | None,
        idempotency_key: str | None,
        wait_s: float | None,
    ) -> Answer:
        """Queue a service call; return it: its body, `service_id`, `status`, and `log_index` once it has one.

        `body` is the JSON object as it came; what is wrong with it is `Invalid` with a path. `node` is the node whose
        port took the call, None on the orchestrator's. `wait_s` waits at most so long until the call is `executed`
        or `failed`; the call as it then stands is returned either way. A full queue is `Unavailable`.
        """

    def last_call(self, cluster: str) -> Answer:
        """The newest service call, with `load_distribution`. `NotFound` when there was none."""

    def call(self, cluster: str, call_id: str) -> Answer:
        """The service call of that `service_id`."""

    def services(self, cluster: str, page: Page) -> Answer:
        """`{"metadata": {"count": n}, "results": [shapes.ServiceSummary, …]}`, in the order in which they were made."""

    def service(self, cluster: str, name: str) -> Answer:
        """shapes.ServiceDetail. `NotFound`."""

    def put_service(
        self, cluster: str, name: str, body: Mapping[str, Any], version: int | None
    ) -> Answer:
        """Make the service or give it another spec; return it as `service` does, with `is_new`. What is wrong with
        the body is `Invalid` with a path; a `version` that is not the present one (0: none) is `Conflict`."""

    def patch_service(
        self, cluster: str, name: str, body: Mapping[str, Any], version: int | None
    ) -> Answer:
        """Change the part of the spec that `body` names. `NotFound`, and as `put_service`."""

    def remove_service(self, cluster: str, name: str, version: int | None) -> Answer:
        """Stop and forget it. Returns `{"status": "ok", …}`."""

    def roll_back_service(
        self, cluster: str, name: str, version: int | None, to_version: int | None
    ) -> Answer:
        """Give it the spec from before its last update, or that of `to_version`; return it as `service` does."""

    def tasks(self, cluster: str, service: str | None, page: Page) -> Answer:
        """`{"metadata": {"count": n}, "results": [shapes.TaskView, …]}` of one service or of all, by id."""

    def stacks(self, cluster: str, page: Page) -> Answer:
        """`{"metadata": {"count": n}, "results": [shapes.StackSummary, …]}`."""

    def stack(self, cluster: str, name: str) -> Answer:
        """shapes.StackDetail. `NotFound`."""

    def put_stack(self, cluster: str, name: str, body: Mapping[str, Any], version: int | None) -> Answer:
        """Deploy a Compose document as a whole; return it as `stack` does, with `warnings`. What is wrong with the
        document is `Invalid` with a path; a `version` that is not the present one (0: none) is `Conflict`."""

    def remove_stack(self, cluster: str, name: str, version: int | None) -> Answer:
        """Stop and forget all of it. Returns `{"status": "ok", …}`."""

    def plan(self, cluster: str, body: Mapping[str, Any]) -> Answer:
        """shapes.PlanView: what would happen if. What is wrong with the body is `Invalid` with a path; what the cluster
        would refuse is `Conflict`."""

    def update_node(self, cluster: str, node: str, body: Mapping[str, Any]) -> Answer:
        """Another availability, other labels or resources; return shapes.NodeFacts. `Invalid`, `Conflict`."""

    def settings(self, cluster: str) -> Answer:
        """shapes.SettingsView."""

    def change_settings(self, cluster: str, body: Mapping[str, Any]) -> Answer:
        """Change what `body` names; return all as `settings` does. What is wrong with it is `Invalid` with a path."""

    def rebalance(self, cluster: str, order: RebalanceOrder) -> Answer:
        """Which replicas should move; unless it is a dry run they do. Returns shapes.RebalancePlan. `Conflict`: one is
        under way already."""

    def last_rebalance(self, cluster: str) -> Answer:
        """How far the last one has come: shapes.RebalanceView."""

    def stop_rebalance(self, cluster: str) -> Answer:
        """Begin no more moves. Returns `{"status": "ok", …}`. `Conflict`: none is under way."""

    def transfer(self, cluster: str, target: str | None) -> Answer:
        """Another node leads, `target` or any: shapes.TransferView, once it does. `Conflict`: that node has no vote.
        `TimedOut`: nobody took over."""

    def nodes(self, cluster: str, page: Page) -> Answer:
        """`{"metadata": {"count": n}, "results": [{"address", "accessible", "stats"}, …]}`; n counts all of them."""

    def add_node(self, cluster: str, request: NewNode) -> Answer:
        """A node joins, opens its port and takes load. Returns `{"status": "ok", …}`. `Conflict`, `PortInUse`."""

    def remove_node(self, cluster: str, node: str, id: str | None = None) -> Answer:
        """Its replicas move, it leaves the membership, its port closes. Returns `{"status": "ok", …}`.

        Raises Invalid where the node has another id than the one that is said.
        """

    def connections(self, cluster: str) -> Answer:
        """`{from: {to: 0 or 1}}` by address, without the node itself."""

    def set_connections(self, cluster: str, matrix: Mapping[str, Mapping[str, int]]) -> Answer:
        """Cut (0) and restore (1) what `matrix` names, nothing else; return the whole matrix once it is in force.
        Nothing is changed when an address is unknown (`Invalid`, naming those that there are)."""

    def node(self, cluster: str, node: str, log: LogRange, *, with_facts: bool = False) -> Answer:
        """`{"host", "port", "state", "capacity", "load", "term", "leader", "commit_index", "log", …}`; with_facts: and
        what shapes.NodeFacts has, where there is a leader to say it."""

    def node_connections(self, cluster: str, node: str) -> Answer:
        """The node's outgoing row `{address: 0 or 1}` and nothing else."""

    def set_node_connections(self, cluster: str, node: str, row: Mapping[str, int]) -> Answer:
        """Cut and restore that node's outgoing links; return the whole row once it is in force. `Invalid`."""

    def link(self, cluster: str, source: str, target: str) -> Answer:
        """What the direction from `source` to `target` is like, and what it did; see shapes.LinkView."""

    def set_link(
        self, cluster: str, source: str, target: str, faults: LinkFaults, *, is_patch: bool
    ) -> Answer:
        """Make it so; return it as `link` does, in force. A patch leaves alone what `faults` does not name (UNSET),
        otherwise that becomes sound."""

    def is_ready(self) -> bool:
        """Whether cluster 0 has a leader; answers soon, and raises nothing."""

    def event_log(self, cluster: str | None) -> EventLog:
        """What happened in every cluster. `cluster` is only checked to be there: `NotFound`."""

    def event_kinds(self) -> Collection[str]:
        """Every kind of event that there is."""

    def node_count(self, cluster: str, node: str) -> Answer:
        """`{"count": 4}`: how many other nodes this one knows."""

    def majority(self, cluster: str, node: str) -> Answer:
        """`{"majority": 3}`: how many votes elect a leader."""

    def load_lookup_table(self, cluster: str, node: str) -> Answer:
        """`{service_id: {address: replicas}}`."""


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong at one place of a body: `$.containers[0].replicas`."""

    path: str
    message: str


class Problem(Exception):
    """What the world can do to a request, as RFC 9457 tells it. Raise a subclass.

    `detail` says what happened and to what, `hint` what to do; `code` overrides the last part of `type`; `more` are
    extension members (`leader="localhost:8003"`).
    """

    status: int = 500
    title: str = "Internal error"
    code: str = "internal-error"

    def __init__(
        self,
        detail: str,
        hint: str = "",
        *,
        code: str = "",
        retry_after_s: int | None = None,
        errors: tuple[FieldError, ...] = (),
        headers: Mapping[str, str] | None = None,
        **more: object,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.code = code or self.code
        self.retry_after_s = retry_after_s
        self.errors = errors
        self.headers = headers or {}
        self.more = more


class Malformed(Problem):
    """The request cannot be read: not JSON, a duration without a unit."""

    status = 400
    title = "Malformed request"
    code = "malformed"


class Unauthorized(Problem):
    """A token is needed, and none or a wrong one came."""

    status = 401
    title = "Token needed"
    code = "unauthorized"


class Forbidden(Problem):
    """A web page of another origin sent this."""

    status = 403
    title = "Not from another web page"
    code = "forbidden"


class NotFound(Problem):
    """No such cluster, node, service call or path."""

    status = 404
    title = "Not found"
    code = "not-found"


class NotAllowed(Problem):
    """The path is right, the method is not."""

    status = 405
    title = "Method not allowed"
    code = "method-not-allowed"


class Conflict(Problem):
    """It would be right at another time: the id is taken, the version is stale."""

    status = 409
    title = "Conflict"
    code = "conflict"


class PortInUse(Conflict):
    """Another program, or another node, listens there."""

    title = "Port in use"
    code = "port-in-use"

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} on {host} is already in use",
            f"stop what listens there (find it with: ss -ltnp 'sport = :{port}'), or choose another port",
            host=host,
            port=port,
        )
        self.host = host
        self.port = port


class TooLarge(Problem):
    """More than 1 MiB of body."""

    status = 413
    title = "Body too large"
    code = "too-large"


class UnsupportedMedia(Problem):
    """The body is not declared as JSON."""

    status = 415
    title = "Only JSON"
    code = "only-json"


class Misdirected(Problem):
    """The Host header names a host that is not ours."""

    status = 421
    title = "Unknown host name"
    code = "unknown-host"


class Invalid(Problem):
    """JSON, but not what is asked for; `errors` says where."""

    status = 422
    title = "Invalid body"
    code = "invalid"


class Unavailable(Problem):
    """Not now: no leader, a full queue. Carries `retry_after_s`."""

    status = 503
    title = "Not available now"
    code = "unavailable"


class TimedOut(Problem):
    """It did not happen in the time that was given; it may still happen."""

    status = 504
    title = "Timed out"
    code = "timed-out"
