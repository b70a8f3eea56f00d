"""A plan before anything is done: what a change would start, stop, move and leave waiting, service by service."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import msgspec
import numpy as np

from ..state.machine import ClusterState
from ..state.records import Outcome, ServiceRecord
from ..state.runs import Ints
from ..state.specs import LOADS, TEMPLATE
from .forecast import Forecast, Step, Tally
from .measured import Measured
from .reasons import why_not
from .wishes import CallWish, LossWish, ServiceWish, StackWish, Wish, commands_of

__all__ = ["FieldChange", "Planned", "ServicePlanned", "plan_slices"]


SHOWN = 100
"""Nodes of which the reason is told, of each service that waits; the counts are of all."""


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a spec, `placement.constraints`, as it is and as it would be; None = not set. replaces: running
    replicas are replaced for its sake."""

    field: str
    before: Any
    after: Any
    replaces: bool


class ServicePlanned(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one service. before, after: None where it is not there then.

    starts, stops: replicas more and fewer. moves: that start elsewhere because they may not, or cannot, stay where they
    are. replaces: that make way for those of another template. keeps: that are not touched. waits: that have no place
    at the end, and waited: at the beginning. nodes: (name, starts, stops) of each node that is concerned, in order of
    joining. preempted_by: (service, replicas) for which so many stop or move. reason, summary, obstacles: why the rest
    waits: in a sentence, in counts of nodes, node by node.
    """

    name: str
    before: ServiceRecord | None
    after: ServiceRecord | None
    changes: tuple[FieldChange, ...] = ()
    starts: int = 0
    stops: int = 0
    moves: int = 0
    replaces: int = 0
    keeps: int = 0
    waits: int = 0
    waited: int = 0
    nodes: tuple[tuple[str, int, int], ...] = ()
    preempted_by: tuple[tuple[str, int], ...] = ()
    reason: str = ""
    summary: str = ""
    obstacles: tuple[tuple[str, str], ...] = ()


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """The whole plan, as of log index `made_at`. refusal: what the state machine says where it would refuse the change.

    is_complete: whether the steps were followed until nothing more would happen.
    """

    made_at: int
    refusal: Outcome | None = None
    services: tuple[ServicePlanned, ...] = ()
    steps: tuple[Step, ...] = ()
    is_complete: bool = True


Slices = Generator[None, None, Planned]


def plan_slices(
    copy: ClusterState, wish: Wish, term: int, now_ms: int, measured: Measured | None = None
) -> Slices:
    """The plan for a wish, bit by bit: yields after a few milliseconds of work.

    copy: a fork of the agreed state, which this uses up. now_ms: how late it is on the cluster's clock. measured: what
    the leader has measured, for services that are placed by it.
    """
    made_at = copy.applied_index
    before = {record.name: record for record in copy.services()}
    lost = _lost(copy, wish)
    yield
    forecast = Forecast(copy, term, now_ms, measured)
    fault = copy.why_not(wish.services) if isinstance(wish, CallWish) else ""
    if fault:
        return Planned(made_at=made_at, refusal=Outcome(ok=False, code="failed", reason=fault))
    for command in commands_of(wish, term):
        outcome = forecast.do(command)
        if not outcome.ok:
            return Planned(made_at=made_at, refusal=outcome)
        yield
    yield from forecast.settle()
    yield
    after = {record.name: record for record in copy.services()}
    yield
    services = []
    for name in _concerned(wish, before, after, forecast, lost):
        tally = forecast.tallies.get(name) or Tally(copy.node_table().ready.size)
        services.append(_service(copy, before.get(name), after.get(name), tally, lost.get(name)))
        yield
    return Planned(
        made_at=made_at,
        services=tuple(services),
        steps=tuple(forecast.steps),
        is_complete=forecast.is_complete,
    )


def _lost(state: ClusterState, wish: Wish) -> dict[str, Ints]:
    """Replicas by service and node that would be lost with the nodes of a wish."""
    found: dict[str, Ints] = {}
    if not isinstance(wish, LossWish):
        return found
    for node in wish.nodes:
        record = state.node(node)
        if record is None or record.status != "ready":
            continue
        for service, replicas in state.replicas_on(node).items():
            counts = found.setdefault(service, np.zeros(state.node_table().ready.size, dtype=np.int64))
            counts[record.number] = replicas
    return found


def _concerned(
    wish: Wish,
    before: dict[str, ServiceRecord],
    after: dict[str, ServiceRecord],
    forecast: Forecast,
    lost: dict[str, Ints],
) -> Iterator[str]:
    """The services named, then those of which a replica starts, stops, is lost or begins to wait, in order."""
    named: tuple[str, ...] = ()
    match wish:
        case ServiceWish(name=name):
            named = (name,)
        case StackWish(services=specs):
            named = tuple([name for name, _ in specs])
    yield from named
    for name in {**before, **after}:
        one, other = before.get(name), after.get(name)
        is_touched = name in forecast.tallies or name in lost
        is_changed = (
            one is None or other is None or (one.version, one.pending) != (other.version, other.pending)
        )
        if name not in named and (is_touched or is_changed):
            yield name


def _service(
    state: ClusterState,
    before: ServiceRecord | None,
    after: ServiceRecord | None,
    tally: Tally,
    lost: Ints | None,
) -> ServicePlanned:
    known = after or before
    assert known is not None
    stopped = tally.stops
    if lost is not None:
        # A lost replica that another takes the place of is told as lost; the others are where they were.
        stopped = np.maximum(stopped, lost)
    starts, stops = int(tally.starts.sum()), int(stopped.sum())
    both = min(starts, stops)
    is_updated = before is not None and after is not None and before.template != after.template
    table = state.node_table()
    concerned = np.flatnonzero(tally.starts + stopped)
    columns = (concerned.tolist(), tally.starts[concerned].tolist(), stopped[concerned].tolist())
    waits = 0 if after is None else after.pending
    summary, obstacles = why_not(state, known.name, SHOWN) if waits else ("", ())
    return ServicePlanned(
        name=known.name,
        before=before,
        after=after,
        changes=_changes(before, after),
        starts=starts - both,
        stops=stops - both,
        moves=0 if is_updated else both,
        replaces=both if is_updated else 0,
        keeps=max(0, (0 if before is None else before.placed) - stops),
        waits=waits,
        waited=0 if before is None else before.pending,
        nodes=tuple([(table.records[n].name, more, fewer) for n, more, fewer in zip(*columns, strict=True)]),
        preempted_by=tuple(tally.preempted.items()),
        reason=state.why_waiting(known.name) if waits else "",
        summary=summary,
        obstacles=obstacles,
    )


def _changes(before: ServiceRecord | None, after: ServiceRecord | None) -> tuple[FieldChange, ...]:
    if before is None or after is None or before.version == after.version:
        return ()
    one, other = dict(_flat(before.spec)), dict(_flat(after.spec))
    return tuple(
        [
            FieldChange(
                field=field,
                before=one.get(field),
                after=other.get(field),
                replaces=field.split(".")[0] in TEMPLATE and not field.startswith(LOADS),
            )
            for field in {**one, **other}
            if one.get(field) != other.get(field)
        ]
    )


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every field, defaults too; a list is one value."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(item, f"{path}.{name}" if path else name)
    else:
        yield path, msgspec.to_builtins(value)
