"""What a user asks of a service: its spec, in the words and with the defaults of Swarm.

A spec stands in the log and in snapshots as a map without its defaults, and is never altered by the system; what
became of it is the service's status. `spec_reading.py` makes one from a JSON body.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Mode = Literal["replicated", "global", "replicated-job", "global-job", "cron"]


class _Spec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The base of every part: an unknown field in the log is an error, not something to guess about."""


class Reservations(_Spec, frozen=True, kw_only=True):
    """What one replica keeps for itself. `slots` is the original's unit of capacity.

    cpu_milli: thousandths of a core. memory_mib: MiB. gpus: devices, of each `gpu_milli` thousandths; a share of one
    device never spans two. gpu_models: where any is named, only devices of these will do. custom: whole numbers by
    name.
    """

    slots: int = 1
    cpu_milli: int = 0
    memory_mib: int = 0
    gpus: int = 0
    custom: dict[str, int] = {}
    gpu_milli: int = 1_000
    gpu_models: tuple[str, ...] = ()


class Limits(_Spec, frozen=True, kw_only=True):
    """What one replica may use at most, 0 = no limit. It is handed to the runtime; placement goes by reservations."""

    cpu_milli: int = 0
    memory_mib: int = 0


class HostPort(_Spec, frozen=True, kw_only=True):
    """A port of the node that one replica takes for itself: two that publish the same never share a node."""

    published: int
    target: int = 0
    """The port inside the container; 0 = the same."""
    protocol: Literal["tcp", "udp"] = "tcp"


class Platform(_Spec, frozen=True, kw_only=True):
    """What a replica can run on; an empty part matches any."""

    os: str = ""
    arch: str = ""


class Affinity(_Spec, frozen=True, kw_only=True):
    """Where new replicas rather go, or with a negative weight rather not: nodes that meet a constraint, or that have
    replicas of another service."""

    constraint: str = ""
    service: str = ""
    weight: int = 0
    """-100 to 100."""


Profile = Literal["", "spread", "binpack", "cosine", "mixed", "usage"]
"""How nodes are chosen among those that will do; empty is `spread`."""


class Placement(_Spec, frozen=True, kw_only=True):
    """Where replicas may go, and where they should. Constraints and preferences are written as in `constraints.py`."""

    constraints: tuple[str, ...] = ()
    preferences: tuple[str, ...] = ()
    """Node attributes to spread over, such as `node.labels.zone`; the first is the coarsest."""
    max_replicas_per_node: int = 0
    """0 = no limit."""
    platforms: tuple[Platform, ...] = ()
    profile: Profile = ""
    affinities: tuple[Affinity, ...] = ()
    """Nodes of the highest sum of weights come first, before preferences and profile."""


class RestartPolicy(_Spec, frozen=True, kw_only=True):
    """What happens when a replica ends by itself. A job starts again only what failed, whatever `condition` says.

    max_attempts: so many restarts of a slot, 0 = no limit; with window_s, so many within so many seconds. The delay
    doubles with each attempt up to max_delay_s, where that is larger. A replica that ran for reset_s is forgiven what
    was before: its attempts are counted anew, and its delay is the first again; 0 = never.
    """

    condition: Literal["any", "on-failure", "none"] = "any"
    delay_s: float = 5.0
    max_delay_s: float = 0.0
    max_attempts: int = 0
    window_s: float = 0.0
    reset_s: float = 0.0


class UpdatePolicy(_Spec, frozen=True, kw_only=True):
    """How running replicas are replaced by those of another template, with Swarm's names and defaults.

    parallelism: so many at a time, 0 = all. delay_s: from when one runs to the next. A replica that ends before it
    runs, or within monitor_s after, is a failure; when more than max_failure_ratio of all did, failure_action is taken.
    order: start-first starts the new one before the old one stops, where there is room.
    """

    parallelism: int = 1
    delay_s: float = 0.0
    monitor_s: float = 5.0
    max_failure_ratio: float = 0.0
    failure_action: Literal["pause", "continue", "rollback"] = "pause"
    order: Literal["stop-first", "start-first"] = "stop-first"


class DemandStep(_Spec, frozen=True, kw_only=True):
    """What all replicas together have to bear from so many seconds after the demand was set on."""

    total: float
    after_s: float = 0.0


class Simulated(_Spec, frozen=True, kw_only=True):
    """How a simulated replica behaves: it starts for so long, fails then, or runs for so long or until it is stopped,
    and ends with this code; anything but 0 is a failure.

    usage: what each running replica uses, by metric (`cpu_milli`, `memory_mib`, or any name). demand: what comes on top
    for all of them together, shared evenly: a number, or steps over time. A change of these two replaces no replica.
    """

    start_s: float = 0.0
    fails_to_start: bool = False
    run_s: float | None = None
    exit_code: int = 0
    usage: dict[str, float] = {}
    demand: dict[str, float | tuple[DemandStep, ...]] = {}

    @property
    def has_load(self) -> bool:
        return bool(self.usage or self.demand)


class Stabilisation(_Spec, frozen=True, kw_only=True):
    """For how many seconds the lowest recommendation holds back an increase, and the highest a decrease."""

    up: float = 0.0
    down: float = 300.0


class Autoscale(_Spec, frozen=True, kw_only=True):
    """The number of replicas follows what they use, by the rule and with the defaults of Kubernetes' autoscaler.

    metric: `cpu` or `memory`, in percent of what a replica reserves, or any name, as it is measured. target: what the
    mean of all replicas should be. tolerance: no change while it is off by no more than this share. every_s: from one
    decision to the next.
    """

    max: int
    target: float
    metric: str = "cpu"
    min: int = 1
    tolerance: float = 0.1
    stabilisation_s: Stabilisation = Stabilisation()
    every_s: float = 15.0

    def within(self, replicas: int) -> int:
        """The nearest number within the bounds."""
        return min(max(replicas, self.min), self.max)


class NestedCluster(_Spec, frozen=True, kw_only=True):
    """The replicas are the nodes of a cluster. Each has so many slots; 0 = all that the replica reserves."""

    capacity: int = 0


class ServiceSpec(_Spec, frozen=True, kw_only=True):
    """One service as it was asked for."""

    mode: Mode = "replicated"
    """`global`: one replica on every node that it may run on; `replicas` is then left out. Jobs run to their end:
    `replicas` times, or once on every node; `cron` is a job that runs whenever its schedule says."""
    replicas: int = 1
    max_concurrent: int = 0
    """Of a job, how many run at a time; 0 = all."""
    description: str = ""
    image: str = ""
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    labels: dict[str, str] = {}
    reservations: Reservations = Reservations()
    limits: Limits = Limits()
    ports: tuple[HostPort, ...] = ()
    placement: Placement = Placement()
    restart: RestartPolicy = RestartPolicy()
    depends_on: dict[str, Literal["started", "healthy", "completed"]] = {}
    """What has to be so before the first replica starts: one of the other's runs, all of them run, the job is done."""
    simulate: Simulated = Simulated()
    update: UpdatePolicy = UpdatePolicy()
    rollback: UpdatePolicy = UpdatePolicy()
    priority: int = 50
    """0 to 100: of what waits the highest is placed first, and where the cluster allows it (`settings.py`), it takes
    the room of what is lower by ten or more."""
    force_update: int = 0
    """Another number replaces the replicas though nothing else has changed."""
    autoscale: Autoscale | None = None
    """`replicas` is then where it begins; how many there should be from then on stands in the service's status."""
    schedule: str = ""
    """Of a cron service, when it runs: minute, hour, day, month, weekday, such as `*/5 * * * *`; with six fields the
    first is the second."""
    time_zone: str = "UTC"
    overlap: Literal["forbid", "allow", "replace"] = "forbid"
    """What a run does that is due before the last one is over: it is left out, joins it, or ends it."""
    window_s: float = 300.0
    """A run that was missed, because nobody led, is made up for if it is no older; of several, the last."""

    @property
    def is_cron(self) -> bool:
        return self.mode == "cron"
    cluster: NestedCluster | None = None
    """The container is a cluster (`nested.py`); a service never becomes one, nor stops being one."""

    @property
    def is_global(self) -> bool:
        return self.mode in ("global", "global-job")

    @property
    def is_job(self) -> bool:
        return self.mode in ("replicated-job", "global-job", "cron")

    def starts_first(self, policy: UpdatePolicy) -> bool:
        """Whether new replicas start before old ones stop. Never those of a job, whose `max_concurrent` says how many
        run, nor those of a global service, of which a node has one."""
        return policy.order == "start-first" and not self.is_global and not self.is_job

    @property
    def where(self) -> Placement:
        """The placement as filters take it: a global service has one replica a node."""
        if not self.is_global:
            return self.placement
        return msgspec.structs.replace(self.placement, max_replicas_per_node=1)


def tidied(spec: ServiceSpec) -> ServiceSpec:
    """The same spec, where a part that says nothing is left out: equal specs have equal bytes."""
    said_nothing: dict[str, object] = {
        name: part for name, part in _PARTS.items() if getattr(spec, name) == part
    }
    if spec.autoscale is not None and spec.autoscale.stabilisation_s == _CALM:
        said_nothing["autoscale"] = msgspec.structs.replace(spec.autoscale, stabilisation_s=_CALM)
    return msgspec.structs.replace(spec, **said_nothing)


_CALM = Autoscale(max=1, target=1).stabilisation_s
# Once: to ask a class for its fields takes a millisecond.
_PARTS: dict[str, _Spec] = {
    field.name: field.default
    for field in msgspec.structs.fields(ServiceSpec)
    if isinstance(field.default, _Spec)
}


def nested_cluster(parent: str, service: str) -> str:
    """The id of the cluster that a service of another one is."""
    return f"{parent}.{service}"


def one_a_node(spec: ServiceSpec) -> ServiceSpec:
    """The nodes of a nested cluster are on different nodes: two on one would be lost together."""
    place = msgspec.structs.replace(spec.placement, max_replicas_per_node=1)
    return msgspec.structs.replace(spec, placement=place)


TEMPLATE = ("image", "command", "env", "reservations", "limits", "ports", "simulate", "force_update", "cluster")
"""What a running replica was made from: a change of these replaces it, a change of anything else does not."""
LOADS = ("simulate.usage", "simulate.demand")
"""All but these parts of it: the load of simulated replicas comes from outside, and changes while they run."""


def is_same_template(one: ServiceSpec, other: ServiceSpec) -> bool:
    """Whether a replica of one is as good as a replica of the other."""
    return all(_made_from(one, field) == _made_from(other, field) for field in TEMPLATE)


def _made_from(spec: ServiceSpec, field: str) -> object:
    """A part of the template, without LOADS."""
    part = getattr(spec, field)
    if isinstance(part, Simulated) and part.has_load:
        return msgspec.structs.replace(part, usage={}, demand={})
    return part
