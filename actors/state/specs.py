"""What a user asks of a service: its spec, in the words and with the defaults of Swarm.

A spec stands in the log and in snapshots as a map without its defaults, and is never altered by the system; what
became of it is the service's status. `spec_reading.py` makes one from a JSON body.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Mode = Literal["replicated", "global", "replicated-job", "global-job"]


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


class Placement(_Spec, frozen=True, kw_only=True):
    """Where replicas may go, and where they should. Constraints and preferences are written as in `constraints.py`."""

    constraints: tuple[str, ...] = ()
    preferences: tuple[str, ...] = ()
    """Node attributes to spread over, such as `node.labels.zone`; the first is the coarsest."""
    max_replicas_per_node: int = 0
    """0 = no limit."""
    platforms: tuple[Platform, ...] = ()


class RestartPolicy(_Spec, frozen=True, kw_only=True):
    """What happens when a replica ends by itself. A job starts again only what failed, whatever `condition` says.

    max_attempts: so many restarts of a slot, 0 = no limit; with window_s, so many within so many seconds. The delay
    doubles with each attempt up to max_delay_s, where that is larger.
    """

    condition: Literal["any", "on-failure", "none"] = "any"
    delay_s: float = 5.0
    max_delay_s: float = 0.0
    max_attempts: int = 0
    window_s: float = 0.0


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


class Simulated(_Spec, frozen=True, kw_only=True):
    """How a simulated replica behaves: it starts for so long, fails then, or runs for so long or until it is stopped,
    and ends with this code; anything but 0 is a failure."""

    start_s: float = 0.0
    fails_to_start: bool = False
    run_s: float | None = None
    exit_code: int = 0


class ServiceSpec(_Spec, frozen=True, kw_only=True):
    """One service as it was asked for."""

    mode: Mode = "replicated"
    """`global`: one replica on every node that it may run on; `replicas` is then left out. Jobs run to their end:
    `replicas` times, or once on every node."""
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
    force_update: int = 0
    """Another number replaces the replicas though nothing else has changed."""

    @property
    def is_global(self) -> bool:
        return self.mode in ("global", "global-job")

    @property
    def is_job(self) -> bool:
        return self.mode in ("replicated-job", "global-job")

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
    said_nothing = {name: part for name, part in _PARTS.items() if getattr(spec, name) == part}
    return msgspec.structs.replace(spec, **said_nothing)


# Once: to ask a class for its fields takes a millisecond.
_PARTS: dict[str, _Spec] = {
    field.name: field.default
    for field in msgspec.structs.fields(ServiceSpec)
    if isinstance(field.default, _Spec)
}


TEMPLATE = ("image", "command", "env", "reservations", "limits", "ports", "simulate", "force_update")
"""What a running replica was made from: a change of these replaces it, a change of anything else does not."""


def is_same_template(one: ServiceSpec, other: ServiceSpec) -> bool:
    """Whether a replica of one is as good as a replica of the other."""
    return all(getattr(one, field) == getattr(other, field) for field in TEMPLATE)
