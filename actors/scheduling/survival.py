"""Which single nodes could be lost without anything waiting that does not wait now.

Most nodes of a large cluster need no plan for that: where the others have room for all that a node has, however it is
spread, nothing can wait. For the rest the loss is planned like any other, each on a copy of its own.
"""

from __future__ import annotations

from collections.abc import Generator

import msgspec
import numpy as np

from ..state.forks import fork_slices
from ..state.machine import ClusterState
from ..state.needs import Needs, needs_of
from ..state.records import NodeRecord, ServiceRecord
from ..state.runs import Ints
from ..state.specs import Placement
from .forecast import Forecast
from .measured import Measured
from .planning import plan_slices
from .wishes import LossWish

__all__ = ["Loss", "Survival", "survival_slices"]

MOST_PLANNED = 200
"""Nodes whose loss is planned; further ones that need it are counted."""


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """Without this node so many replicas more would wait: in all, and by service."""

    node: str
    waits: int
    services: tuple[tuple[str, int], ...]


class Survival(msgspec.Struct, frozen=True, kw_only=True):
    """Of `nodes` that answer, those without which nothing more waits are `survivable`; `losses` are the others, in
    order of joining. unknown: nodes that would have had to be planned, beyond as many as are."""

    made_at: int
    nodes: int
    survivable: int
    losses: tuple[Loss, ...]
    unknown: tuple[str, ...] = ()


def survival_slices(
    copy: ClusterState, term: int, now_ms: int, measured: Measured | None = None
) -> Generator[None, None, Survival]:
    """The report, bit by bit: yields after a few milliseconds of work. copy: a fork of the state, for this alone.
    measured: what the leader has measured, for services that are placed by it.

    It is of the cluster as it will be when what is under way is done.
    """
    made_at = copy.applied_index
    forecast = Forecast(copy, term, now_ms, measured)
    yield from forecast.settle()
    now_ms = forecast.now_ms
    nodes = [record for record in copy.nodes() if record.status == "ready"]
    proof = _Proof(copy)
    losses: list[Loss] = []
    unknown: list[str] = []
    survivable = planned = 0
    for record in nodes:
        yield
        if proof.holds_without(record):
            survivable += 1
        elif planned == MOST_PLANNED:
            unknown.append(record.name)
        else:
            planned += 1
            loss = yield from _loss(copy, record.name, term, now_ms, measured)
            losses += [loss] if loss.waits else []
            survivable += not loss.waits
    return Survival(
        made_at=made_at,
        nodes=len(nodes),
        survivable=survivable,
        losses=tuple(losses),
        unknown=tuple(unknown),
    )


def _loss(
    state: ClusterState, node: str, term: int, now_ms: int, measured: Measured | None
) -> Generator[None, None, Loss]:
    copy = yield from fork_slices(state)
    plan = yield from plan_slices(copy, LossWish(nodes=(node,)), term, now_ms, measured)
    more = [(service.name, service.waits - service.waited) for service in plan.services]
    more = [(name, waits) for name, waits in more if waits > 0]
    return Loss(node=node, waits=sum(waits for _, waits in more), services=tuple(more))


class _Kind(msgspec.Struct, frozen=True):
    """Services that any node has room for alike. `most` are int64[nodes]: replicas more that each node would take."""

    needs: Needs
    most: Ints
    total: int


class _Proof:
    """That whatever a node has finds room on the others, if it does whatever is placed before it and wherever.

    A replica of one kind takes from a node the room of at most so many of another; so what the others have room for
    now, less what all else could take from it, is there for certain.
    """

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._room = state.room()
        self._kinds: dict[tuple[Needs, Placement, str], _Kind | None] = {}
        self._services = {record.name: record for record in state.services()}
        self._waiting: list[tuple[_Kind, int]] | None = self._demands()

    def holds_without(self, node: NodeRecord) -> bool:
        """Whether it is certain; False is no proof of the contrary."""
        if self._waiting is None:
            return False
        demands: dict[tuple[Needs, Placement, str], int] = {}
        for name, count in self._state.replicas_on(node.name).items():
            record = self._services.get(name)
            if record is None or record.spec.is_global:
                continue  # It stops, or is not wanted there once the node is gone.
            key = self._key(record)
            if self._kind(key, record) is None:
                return False
            demands[key] = demands.get(key, 0) + count
        kinds = [(self._kinds[key], count) for key, count in demands.items()]
        return all(
            kind is not None and count <= kind.total - int(kind.most[node.number]) - self._taken(kind, kinds)
            for kind, count in kinds
        )

    def _taken(self, kind: _Kind, demands: list[tuple[_Kind | None, int]]) -> int:
        """Room of that kind that the others could take away, at most."""
        others = [(other, count) for other, count in demands if other is not None and other is not kind]
        return sum(
            _worth(other.needs, kind.needs) * count for other, count in (*others, *(self._waiting or ()))
        )

    def _demands(self) -> list[tuple[_Kind, int]] | None:
        """What waits or moves anyway, and could be placed first; None where it cannot be bounded."""
        known = self._state.rebalance()
        if self._state.head() is not None or (known is not None and known.is_under_way):
            return None
        found = []
        for record in self._state.unsettled():
            kind = self._kind(self._key(record), record)
            if kind is None:
                return None
            updated = record.replicas if record.update is not None and record.update.is_active else 0
            found.append((kind, record.pending + record.misplaced + record.lost + updated))
        return found

    def _key(self, record: ServiceRecord) -> tuple[Needs, Placement, str]:
        # A limit of replicas a node looks at the service's own: such services have no like.
        place = record.spec.where
        return needs_of(record.spec), place, record.name if place.max_replicas_per_node else ""

    def _kind(self, key: tuple[Needs, Placement, str], record: ServiceRecord) -> _Kind | None:
        """None where there is more to room than is counted here."""
        if key not in self._kinds:
            self._kinds[key] = self._made(key[0], key[1], record)
        return self._kinds[key]

    def _made(self, needs: Needs, place: Placement, record: ServiceRecord) -> _Kind | None:
        known = Placement(
            constraints=place.constraints,
            preferences=place.preferences,
            max_replicas_per_node=place.max_replicas_per_node,
            platforms=place.platforms,
        )
        if needs != Needs(needs.slots, needs.more) or place != known or record.spec.is_job:
            return None
        state = self._state
        most = np.where(state.node_table().allowed(record.spec.placement), self._room.fits(needs), 0)
        if place.max_replicas_per_node:
            held = state.held_by_node(record.name)
            most = np.minimum(most, np.maximum(place.max_replicas_per_node - held, 0))
        return _Kind(needs, most, int(most.sum()))


def _worth(taken: Needs, needed: Needs) -> int:
    """The room of how many replicas that need `needed` one may take away that takes `taken`, at most."""
    takes = dict(taken.more)
    parts = [(taken.slots, needed.slots), *((takes.get(name, 0), units) for name, units in needed.more)]
    return max(-(-units // each) for units, each in parts)
