"""Rebalancing: running replicas move to other nodes, as was agreed on at once, a few at a time.

What is to be moved, and where to, stands in the log. From there on everything follows from the state: which moves can
end, begin, or have to be dropped now, so a leader may be lost at any point. A move ends a task and starts another one
in its slot, in one entry; it is done when that one runs.
"""

from __future__ import annotations

import msgspec
import numpy as np

from . import gpus
from .changes import Change
from .commands import GoOnRebalance, RebalanceMove, StartRebalance
from .moves import MOST_MOVES, MOST_PARALLEL, Move, MoveState, Rebalance
from .obstacles import detail, obstacles
from .outcomes import refused, stale_term
from .plans import ParsedPlan
from .records import Outcome
from .replicas import Replicas
from .task_states import TaskState
from .waiting import held

STEPS_AT_ONCE = 8
"""Moves that one entry carries further, so that no handler takes long."""
_PASSING = ("too few free slots", "too little ", "port ", "most replicas a node reached")
"""Obstacles that another move may clear away."""


def start(replicas: Replicas, change: Change, command: StartRebalance) -> Outcome:
    """Record the moves; the next entries carry them out."""
    known = replicas.rebalance
    if known is not None and known.is_under_way:
        done = known.count("moved") + known.count("dropped")
        reason = f"a rebalance is under way: {done} of {len(known.moves)} moves are done"
        return refused("rebalancing", f"{reason}; wait until it has ended, or stop it")
    fault = _fault_of(replicas, command)
    if fault:
        return refused("invalid", fault)
    replicas.rebalance = Rebalance(
        index=change.index,
        made_at=command.made_at,
        max_parallel=command.max_parallel,
        cost_before=command.cost_before,
        cost_after=command.cost_after,
        moves=tuple([Move(what=what) for what in command.moves]),
    )
    change.emit(
        "rebalance-started",
        moves=len(command.moves),
        max_parallel=command.max_parallel,
        cost_before=command.cost_before,
        cost_after=command.cost_after,
    )
    return Outcome(services=True)


def _fault_of(replicas: Replicas, command: StartRebalance) -> str:
    if not 1 <= len(command.moves) <= MOST_MOVES:
        return f"{len(command.moves)} moves; use 1 to {MOST_MOVES}"
    if not 1 <= command.max_parallel <= MOST_PARALLEL:
        return f"{command.max_parallel} moves at a time; use 1 to {MOST_PARALLEL}"
    nodes = len(replicas.nodes.records)
    if any(not (0 <= move.source < nodes and 0 <= move.target < nodes) for move in command.moves):
        return "a move names a node that there never was"
    return ""


def stop(replicas: Replicas, change: Change) -> Outcome:
    """Nothing more begins to move; what moves arrives."""
    known = replicas.rebalance
    if known is None or not known.is_under_way:
        return refused("not-rebalancing", "no rebalance is under way")
    _write(replicas, change, {number: move.dropped("stopped") for number, move in _waiting(known)})
    return Outcome(services=True)


def is_due(replicas: Replicas) -> bool:
    """Whether `go_on` would change anything."""
    known = replicas.rebalance
    return known is not None and known.is_under_way and bool(_ends(replicas, known) or _next(replicas, known))


def go_on(replicas: Replicas, change: Change, term: int, command: GoOnRebalance) -> Outcome:
    """Whatever of the moves can end, begin, or has to be dropped now."""
    if command.term != term:
        return stale_term(term, command.term)
    known, steps = replicas.rebalance, 0
    if known is not None and known.is_under_way:
        ended = _ends(replicas, known)
        _write(replicas, change, ended)
        steps = len(ended)
    while steps < STEPS_AT_ONCE and (known := replicas.rebalance) is not None and known.is_under_way:
        step = _next(replicas, known)
        if step is None:
            break
        number, move = step
        _write(replicas, change, {number: _begin(replicas, change, move) if move.state == "waiting" else move})
        steps += 1
    return Outcome(services=True) if steps else Outcome(duplicate=True)


def _waiting(rebalance: Rebalance) -> list[tuple[int, Move]]:
    return [(number, move) for number, move in enumerate(rebalance.moves) if move.state == "waiting"]


def _ends(replicas: Replicas, rebalance: Rebalance) -> dict[int, Move]:
    """Those of the moves under way whose new task runs, or never will."""
    found = {}
    for number, move in enumerate(rebalance.moves):
        if move.state != "moving":
            continue
        row, name = replicas.wanted_row(move.new_task), replicas.nodes.records[move.what.target].name
        if row is None:
            found[number] = move.dropped(f"it did not stay on {name}")
        elif not replicas.nodes.ready[move.what.target]:
            found[number] = move.dropped(f"{name} went down")
        elif replicas.tasks.state[row] == TaskState.RUNNING:
            found[number] = msgspec.structs.replace(move, state="moved")
    return found


def _next(replicas: Replicas, rebalance: Rebalance) -> tuple[int, Move] | None:
    """The first move that waits, as it was where it may begin, else dropped; None where it waits for others."""
    moving = rebalance.count("moving")
    if moving >= rebalance.max_parallel:
        return None
    for number, move in _waiting(rebalance):
        kind, reason = _hindrance(replicas, move.what)
        if kind.startswith(_PASSING) and moving:
            return None  # What moves at the moment may make room.
        return number, move.dropped(reason) if kind else move
    return None


def _hindrance(replicas: Replicas, move: RebalanceMove) -> tuple[str, str]:
    """(what kind of thing, in words) keeps a move from beginning; empty where nothing does."""
    nodes, row = replicas.nodes, replicas.wanted_row(move.task)
    source, target = nodes.records[move.source], nodes.records[move.target]
    if row is None or replicas.tasks.node[row] != move.source:
        return "gone", f"the replica runs on {source.name} no more"
    if not nodes.ready[move.source] or nodes.draining[move.source]:
        return "source", f"{source.name} is {'draining' if nodes.ready[move.source] else 'down'}"
    service = replicas.services.all[int(replicas.tasks.service[row])]
    if service.update is not None and service.update.completed_ms is None:
        return "update", f"{service.name} is being updated: {service.update.state}"
    if target.status == "removed":
        return "removed", f"{target.name} was removed"
    place, room = service.spec.where, nodes.room()
    there = held(service, replicas) if place.max_replicas_per_node else np.zeros(nodes.ready.size, dtype=np.int64)
    for obstacle in obstacles(nodes, room, service.needs, place, there):
        if obstacle.nodes[move.target]:
            why = detail(nodes, room, service.needs, place, there, move.target, obstacle.kind)
            return obstacle.kind, f"{target.name}: {why}"
    return "", ""


def _begin(replicas: Replicas, change: Change, move: Move) -> Move:
    """The task ends where it is, and another one takes its slot on the target."""
    what, new_task = move.what, replicas.tasks.next_id
    row = replicas.wanted_row(what.task)
    assert row is not None, "a move that may begin has its task"
    needs, devices = replicas.services.all[int(replicas.tasks.service[row])].needs, np.zeros(0, dtype=np.int64)
    if needs.gpus:
        devices = gpus.choose(replicas.nodes.room().gpu_free(), needs, np.array([what.target]))
    plan = ParsedPlan(
        what.service,
        starts=np.array([[what.slot, 1, what.target]], dtype=np.int64),
        stops=np.zeros((0, 2), dtype=np.int64),
        retires=np.array([[what.task, 1]], dtype=np.int64),
        devices=devices,
    )
    replicas.carry_out(change, (plan,))
    if replicas.wanted_row(new_task) is None:
        return move.dropped("the target did not take it; it is placed anew")
    return msgspec.structs.replace(move, state="moving", new_task=new_task)


def _write(replicas: Replicas, change: Change, changed: dict[int, Move]) -> None:
    """Note how far moves have come, tell it, and end the rebalance with the last of them."""
    rebalance = replicas.rebalance
    assert rebalance is not None
    if not changed:
        return
    moves = list(rebalance.moves)
    for number, move in changed.items():
        moves[number] = move
    rebalance = msgspec.structs.replace(rebalance, moves=tuple(moves))
    for state in ("moving", "moved", "dropped"):
        _tell(replicas, change, state, [move for move in changed.values() if move.state == state])
    if not rebalance.count("waiting") and not rebalance.count("moving"):
        rebalance = msgspec.structs.replace(rebalance, ended_at=change.index)
        change.emit("rebalance-ended", moved=rebalance.count("moved"), dropped=rebalance.count("dropped"))
    replicas.rebalance = rebalance


def _tell(replicas: Replicas, change: Change, state: MoveState, moves: list[Move]) -> None:
    if not moves:
        return
    told = [
        (what.service, what.slot, *replicas.nodes.names([what.source, what.target]))
        for what in (move.what for move in moves)
    ]
    reasons = {"reasons": tuple([move.reason for move in moves])} if state == "dropped" else {}
    change.emit("rebalance-moves", state=state, moves=tuple(told), **reasons)
