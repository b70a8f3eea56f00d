"""What a scenario file may say: its sections, its verbs with their arguments, its modifiers.

One table, `VERBS`, is read by the checker, the runner, the JSON Schema and the documentation.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from .quantities import Duration, Moment, Share

__all__ = [
    "FAULTS", "FOR_ALL", "GROUPS", "MAX_NODES", "MODIFIERS", "NAME", "SHAPES", "VERBS", "Chaos", "ClockFault",
    "ClusterSettings", "ClusterShape", "Delay", "Deployment", "DiskFault", "DiskShape", "Drain", "Expectation",
    "LinkShape", "Member", "NewNode", "RaftShape", "Read", "Rebalance", "Repeat", "Scenario", "Shares", "Step",
    "Submission", "Target", "Verb",
]  # fmt: skip

GROUPS = ("leader", "follower", "one", "minority", "majority", "all", "random")
"""Words that stand for nodes, chosen when the step begins."""
SHAPES = ("halves", "majority", "ring", "bridge")
_SEVERAL = ["minority", "majority", "all", "random"]
"""Those that may stand for more than one."""
MAX_NODES = 1000
NAME = r"[A-Za-z0-9][A-Za-z0-9_.]*"

Target = Annotated[
    str | Annotated[list[str], Meta(min_length=1)],
    Meta(
        description="A node, a list of nodes, or leader, follower, one, minority, majority, all, random.",
        extra={"is": "target", "expects": "a node, a list of nodes, or a word for some, such as leader"},
    ),
]
Member = Annotated[
    str, Meta(description="A node, or a word for some.", extra={"is": "target", "expects": "a node's name"})
]
OneNode = Annotated[
    str,
    Meta(
        description="A node, or leader, follower or one.",
        extra={
            "is": "target",
            "expects": "one node: its name, or leader, follower or one",
            "but_not": _SEVERAL,
            "why": "one node is asked; name it, or write leader, follower or one",
        },
        extra_json_schema={"not": {"enum": _SEVERAL}},
    ),
]
Heir = Annotated[
    str,
    Meta(
        description="A node, or follower.",
        extra={
            "is": "target",
            "expects": "one node: its name, or follower",
            "but_not": ["leader", *_SEVERAL],
            "why": "the leadership goes to one node; name it, or write follower",
        },
        extra_json_schema={"not": {"enum": ["leader", *_SEVERAL]}},
    ),
]
Service = Annotated[
    str,
    Meta(
        max_length=200,
        # As calls.service_name, for keys too.
        pattern=r"^(?!\.\.?$)(?!.*\s)[^\s/?#%\x00-\x1f\x7f]+$",
        description="A service, by name.",
        extra={"means": "a name that a service can have; use letters, digits, - _ . : @ without spaces"},
    ),
]
Links = Annotated[
    str | Annotated[list[str], Meta(min_length=1)],
    Meta(
        description='"a-b" is both directions, "a->b" one; a target alone is every link of it; all is every link.',
        extra={"is": "links", "expects": "links, such as a-b, a->b, a node or all, or a list of them"},
    ),
]
Condition = Annotated[
    str,
    Meta(
        description="A condition, such as count(n.role == 'leader' for n in nodes) == 1.",
        extra={"is": "condition", "expects": "a condition"},
    ),
]


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The base of what stands in a file."""


class LinkShape(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How every link behaves from the start."""

    delay: Duration = "0ms"
    jitter: Duration = "0ms"
    loss: Share = "0%"
    duplicate: Share = "0%"
    reorder: Share = "0%"


class DiskShape(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Every node keeps its promises on a simulated disk whose syncs take so long."""

    sync: Duration = "1ms"
    jitter: Duration = "0ms"


class RaftShape(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Timeouts and snapshots of every node; see the documentation of RaftConfig."""

    heartbeat: Duration = "100ms"
    election_min: Duration = "400ms"
    election_max: Duration = "800ms"
    pre_vote: bool = True
    check_quorum: bool = True
    lease_reads: bool = False
    storage_patience: Duration = "5s"
    snapshot_entries: Annotated[int, Meta(ge=1)] = 10_000
    snapshot_bytes: Annotated[int, Meta(ge=1)] = 64 << 20
    keep_entries: Annotated[int, Meta(ge=0)] = 2_000
    keep_bytes: Annotated[int, Meta(ge=0)] = 16 << 20


class ClusterShape(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The cluster that the scenario starts: node_0, node_1, ..."""

    nodes: Annotated[int, Meta(ge=1, le=MAX_NODES)] = 5
    capacity: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 100
    disks: DiskShape | None = None
    links: LinkShape = LinkShape()
    raft: RaftShape = RaftShape()
    wall_clock: Moment = "2026-01-01T00:00Z"
    """What the calendar says at the start, for services that run by a schedule; on the live clock it is what it is."""


class Delay(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How long a link takes, and how much that varies."""

    by: Duration
    jitter: Duration = "0ms"
    links: Links = "all"


class Shares(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A share of a link's messages."""

    share: Share
    links: Links = "all"


NodeName = Annotated[
    str,
    Meta(
        pattern=f"^(?!({'|'.join(GROUPS)})$){NAME}$",
        extra={"means": "a name for a node; use letters, digits, _ and ., and no word such as leader or all"},
    ),
]


class NewNode(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A node that joins; without a name it gets the next free one."""

    name: NodeName | None = None
    capacity: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None


class Read(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Read a service's number of replicas, as of now; `via` is the node that is asked (else the leader)."""

    key: Service
    via: OneNode = "leader"


class Rebalance(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How many replicas may move, and how many at a time."""

    max_moves: Annotated[int, Meta(ge=1, le=1_000)] = 100
    max_parallel: Annotated[int, Meta(ge=1, le=100)] = 1


class Drain(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which nodes are emptied, how many replicas of one service are on the move at a time (0: all), and after how long
    the rest goes at once."""

    of: Target
    max_parallel: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    deadline: Duration | None = None


class ClusterSettings(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is agreed on for the cluster as a whole; what is left out stays. preemption: whether a service may take the
    room of others whose priority is lower by ten or more."""

    preemption: bool | None = None


class DiskFault(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What happens to the disks of some nodes."""

    of: Target = "all"
    slow: Duration | None = None
    full: bool | None = None
    failing: Share | None = None
    lose_power: bool | None = None
    flip_bit: bool | None = None


class ClockFault(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What happens to the clocks of some nodes: a leap forwards, or a rate that is not 1."""

    of: Target = "all"
    leap: Duration | None = None
    rate: Annotated[float, Meta(ge=0.1, le=10)] | None = None


Role = Literal["leader", "follower", "candidate", "learner", "worker", "down"]
_SOMETHING_EXPECTED = Meta(min_length=1, extra={"empty": "nothing is expected here; add one, or leave it out"})


class Expectation(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What must be so: replicas placed by service, who leads, how many lead, how many nodes, roles by node."""

    replicas: Annotated[dict[Service, Annotated[int, Meta(ge=0)]], _SOMETHING_EXPECTED] | None = None
    leader: str | None = None
    leaders: Annotated[int, Meta(ge=0)] | None = None
    nodes: Annotated[int, Meta(ge=0)] | None = None
    roles: Annotated[dict[str, Role], _SOMETHING_EXPECTED] | None = None


Submission = Annotated[
    dict[str, Any],
    Meta(
        description="A service call, as it is posted: {containers: [{description: web, replicas: 10}]}.",
        extra={"is": "submission"},
    ),
]


Deployment = Annotated[
    dict[str, Any],
    Meta(
        description="A Compose document and the name of its stack: {stack: shop, services: {web: {image: shop:1}}}.",
        extra={"is": "deployment"},
    ),
]


Specs = Annotated[
    dict[Service, Any],
    Meta(
        min_length=1,
        description="Parts of specs by service, as they are patched: {web: {image: 'nginx:1.27', replicas: 3}}.",
        extra={"is": "specs", "empty": "nothing changes; write {SERVICE: {FIELD: VALUE}}"},
    ),
]
Replicas = Annotated[
    dict[Service, Annotated[int, Meta(ge=0, le=1_000_000)]],
    Meta(
        min_length=1,
        description="Numbers of replicas by service: {web: 3}.",
        extra={"empty": "nothing changes; write {SERVICE: REPLICAS}"},
    ),
]


Names = Annotated[
    str | Annotated[list[str], Meta(min_length=1)],
    Meta(description="A service, or a list of services.", extra={"expects": "a service's name, or a list of names"}),
]


Stacks = Annotated[
    str | Annotated[list[str], Meta(min_length=1)],
    Meta(description="A stack, or a list of stacks.", extra={"expects": "a stack's name, or a list of names"}),
]


class Repeat(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often a step is done; `every` from one beginning to the next, else each waits until the one before ends."""

    times: Annotated[int, Meta(ge=1, le=10_000)]
    every: Duration | None = None


class Verb(msgspec.Struct, frozen=True):
    """One action: the type of its argument, the modifiers it takes beside those of all, what it does."""

    argument: Any
    modifiers: tuple[str, ...]
    summary: str


VERBS: dict[str, Verb] = {
    "cut": Verb(Links, ("for",), "drop what is on these links, and whatever comes"),
    "restore": Verb(Links, (), "let these links carry again"),
    "delay": Verb(Duration | Delay, ("for",), "make links slow; a time alone concerns all of them"),
    "loss": Verb(Share | Shares, ("for",), "lose a share of the messages"),
    "duplicate": Verb(Share | Shares, ("for",), "deliver a share of the messages twice"),
    "reorder": Verb(Share | Shares, ("for",), "let a share of the messages overtake others; needs a jitter to show"),
    "partition": Verb(
        Annotated[list[list[Member]], Meta(extra_json_schema={"contains": {"minItems": 1}})]
        | Literal["halves", "majority", "ring", "bridge"],
        ("for",),
        "only nodes of one group hear each other; nodes that no group names are one more group",
    ),
    "isolate": Verb(Target, ("for",), "cut every link of each of these nodes, both ways"),
    "heal": Verb(Target, (), "restore and calm every link of these nodes"),
    "crash": Verb(Target, ("for",), "end a node with its replicas at once; what it saved is there at its next start"),
    "restart": Verb(Target, (), "start nodes that crashed; one that runs crashes first"),
    "pause": Verb(Target, ("for",), "stop a node's clockwork: it handles nothing, and what comes waits"),
    "resume": Verb(Target, (), "let paused nodes go on"),
    "wipe": Verb(Target, ("within",), "replace nodes by empty ones of the same name: crashed, removed, added anew"),
    "add": Verb(NodeName | NewNode, ("within",), "a node joins"),
    "remove": Verb(Target, ("within",), "nodes leave for good, and their replicas move"),
    "drain": Verb(
        Target | Drain,
        ("for", "within"),
        "what these nodes run moves, and nothing new comes; `within` waits until it is gone",
    ),
    "label": Verb(
        dict[str, dict[str, str | None]], (), "set labels of nodes, and take those away that are null; the rest stay"
    ),
    "settings": Verb(ClusterSettings, (), "change what is agreed on for the cluster as a whole"),
    "submit": Verb(Submission, ("within",), "make a service call; with `within`, wait until it is executed"),
    "deploy": Verb(Deployment, ("within",), "deploy a stack; with `within`, wait until all of it has a place"),
    "undeploy": Verb(Stacks, ("within",), "stop whole stacks; `within` waits until their services are shown no more"),
    "scale": Verb(
        Replicas,
        ("within",),
        "give services so many replicas, and leave the rest of their specs alone; `within` waits until they run",
    ),
    "update": Verb(
        Specs, ("within",), "change parts of services' specs, or make the services; `within` waits until that is done"
    ),
    "rollback": Verb(
        Names, ("within",), "give services the spec from before their last update; `within` waits until that is done"
    ),
    "delete": Verb(Names, ("within",), "stop services and forget them; `within` waits until they are shown no more"),
    "rebalance": Verb(
        Annotated[int, Meta(ge=1, le=1_000)] | Rebalance,
        ("within",),
        "move at most so many replicas until the load is even; with `within`, wait until they have arrived",
    ),
    "transfer": Verb(Heir, ("within",), "hand the leadership to this node"),
    "write": Verb(Replicas, ("within",), "set numbers of replicas, and note in the history what was heard of it"),
    "read": Verb(Service | Read, ("within",), "read a number of replicas, and note it in the history"),
    "disk": Verb(DiskFault, ("for",), "make disks slow, full, failing, powerless, or flip a bit; needs cluster.disks"),
    "clock": Verb(ClockFault, ("for",), "let clocks leap forwards, or go too fast or too slow"),
    "wait": Verb(Duration, (), "let time pass"),
    "eventually": Verb(Condition | Expectation, ("within",), "wait until it holds, 10s unless `within` says otherwise"),
    "never": Verb(Condition | Expectation, ("for",), "from now on it must not hold, for a time or to the end"),
    "expect": Verb(Condition | Expectation, (), "it must hold now"),
    "log": Verb(str, (), "say something in the event log"),
}  # fmt: skip
FAULTS = tuple(name for name, verb in VERBS.items() if "for" in verb.modifiers and name != "never")
MODIFIERS: dict[str, Any] = {
    "at": Duration,
    "for": Duration,
    "within": Duration,
    "name": str,
    "repeat": Annotated[int, Meta(ge=1, le=10_000)] | Repeat,
    "in": Annotated[str, Meta(description="The nested cluster that this is done to, such as 0.inner; else cluster 0.")],
}
FOR_ALL = ("at", "name", "repeat", "in")
"""The modifiers that every verb takes."""


class Step(msgspec.Struct, frozen=True, kw_only=True, rename={"for_": "for", "in_": "in"}, omit_defaults=True):
    """One action with its modifiers; `line` and `column` say where it stands in its file."""

    verb: str
    argument: Any
    number: int
    line: int = 0
    column: int = 0
    at: str | None = None
    for_: str | None = None
    within: str | None = None
    name: str | None = None
    repeat: int | Repeat = 1
    in_: str | None = None
    condition: Any = None
    """The compiled condition of eventually, never and expect."""

    def __str__(self) -> str:
        shown = self.name or f"{self.verb}: {shown_argument(self.argument)}"
        return f"step {self.number} ({shown})"


class Chaos(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Random faults for a time, then peace: everything is healed, and the cluster must settle."""

    for_: Duration = msgspec.field(name="for")
    every: Duration = "500ms"
    """How long from one fault to the next, on average."""
    lasting: Duration = "2s"
    """How long a fault lasts, on average; it is undone by itself."""
    faults: dict[str, Annotated[float, Meta(ge=0)]] = msgspec.field(
        default_factory=lambda: {
            "cut": 3.0,
            "isolate": 2.0,
            "partition": 2.0,
            "crash": 2.0,
            "loss": 1.0,
            "delay": 1.0,
        }
    )
    """Verbs with their weights."""
    only: list[Annotated[int, Meta(ge=1)]] | None = None
    """Of the faults that are drawn, those with these numbers, counted from 1; the others are left out. A campaign
    that shrinks what failed writes it."""
    clients: Annotated[int, Meta(ge=0, le=100)] = 0
    """How many clients write and read meanwhile; what they hear must have an order (linearizable)."""
    settle: Duration = "60s"
    """How long the cluster may take to be in order again."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario that was read and checked."""

    title: str
    steps: tuple[Step, ...]
    about: str = ""
    seed: int | None = None
    clock: Literal["virtual", "live"] = "virtual"
    cluster: ClusterShape = ClusterShape()
    always: tuple[str, ...] = ()
    conditions: tuple[Any, ...] = ()
    """Conditions among `always`, compiled."""
    chaos: Chaos | None = None
    file: str = "scenario"


def shown_argument(argument: Any) -> str:
    """An argument in a few words."""
    if isinstance(argument, msgspec.Struct):
        argument = msgspec.to_builtins(argument)
    if isinstance(argument, dict):
        return "{" + ", ".join(f"{key}: {shown_argument(value)}" for key, value in argument.items()) + "}"
    if isinstance(argument, list | tuple):
        return "[" + ", ".join(shown_argument(value) for value in argument) + "]"
    return "null" if argument is None else str(argument)
