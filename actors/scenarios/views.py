"""What conditions see of a cluster, on whichever clock: nodes, services, links, who leads, what happened.

The protocols are the vocabulary; `inside.py` fills it by looking into the actors (virtual clock), `picture.py` from
what the front door answers (live clock).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["LinkView", "NodeView", "ServiceView", "View"]


class NodeView(Protocol):
    """One node, as it sees itself; a node that is down has role `down`, term 0 and no leader."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str:
        """leader, follower, candidate, learner, worker or down."""

    @property
    def term(self) -> int: ...
    @property
    def leader(self) -> str | None:
        """Whom it follows, by name."""

    @property
    def commit(self) -> int: ...
    @property
    def applied(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def load(self) -> int: ...
    @property
    def capacity(self) -> int: ...


class ServiceView(Protocol):
    """One service as the leader has it; without a leader, as the node that is furthest."""

    @property
    def name(self) -> str: ...
    @property
    def replicas(self) -> int:
        """How many are asked for."""

    @property
    def placed(self) -> int:
        """How many are assigned to nodes that are there."""

    @property
    def pending(self) -> int: ...
    @property
    def completed(self) -> int:
        """How many did what they were for and will not start again: a job's runs that went well."""

    @property
    def given_up(self) -> int:
        """How many ended, and their restart policy lets them start no more."""

    @property
    def mode(self) -> str:
        """replicated, global, replicated-job, global-job or cron; empty where there is no such service."""

    @property
    def version(self) -> int: ...
    @property
    def update(self) -> str:
        """How far its last update is: updating, paused, completed, rollback_started, ...; empty without one."""

    @property
    def on(self) -> dict[str, int]:
        """Replicas by node."""

    @property
    def usage(self) -> dict[str, float]:
        """What the mean replica uses, by metric, as the leader last heard."""


class LinkView(Protocol):
    """One direction between two nodes."""

    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def cut(self) -> bool: ...


class View(Protocol):
    """The whole cluster, now."""

    @property
    def now(self) -> float:
        """Seconds since the scenario started."""

    @property
    def leader(self) -> str | None:
        """Who leads, by the front door; its name."""

    @property
    def nodes(self) -> Sequence[NodeView]: ...
    @property
    def services(self) -> Sequence[ServiceView]: ...
    @property
    def links(self) -> Sequence[LinkView]: ...
    def node(self, name: str) -> NodeView: ...
    def service(self, name: str) -> ServiceView:
        """One that nobody asked for has no replicas."""

    def happened(self, kind: str) -> int:
        """How many events of a kind were logged so far."""

    def is_cut(self, source: str, target: str) -> bool: ...
