"""What the leader answers to questions about services, tasks and nodes: plain values, ready for JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ..messages import Question
from ..scheduling.reasons import compare, explain, why_update_waits
from ..state import gpus, views
from ..state.machine import ClusterState
from ..state.needs import Needs
from ..state.records import NodeRecord, ServiceRecord, StackRecord, TaskRecord
from ..state.task_states import TaskState
from . import watched
from .rebalancing import rebalance_view

if TYPE_CHECKING:
    from .loop import ControlLoop

__all__ = ["answer", "node_facts"]

NODES_TOLD = 100
"""Of so many nodes an answer has the reason one by one; all are in its counts."""

Address = Callable[[str | None], str | None]
Value = dict[str, Any]


def answer(
    state: ClusterState,
    question: Question,
    address: Address,
    loop: ControlLoop | None = None,
    cluster: str = "0",
) -> Value | None:
    """None where there is nothing of that name. What only a leader knows stands there where `loop` is one's; `cluster`
    is the id of this one."""
    name = question.name
    now_ms = state.clock_ms() if loop is None else loop.shown_ms()
    match question.about:
        case "state":
            return views.state_view(state, address, cluster, now_ms)
        case "call":
            call = state.last_call() if name is None else state.call(name)
            return None if call is None else views.call_view(call, address, cluster)
        case "services":
            records = state.services()
            shown = records[question.offset : question.offset + question.limit]
            return _list(len(records), [_service(state, record, cluster, now_ms) for record in shown])
        case "service":
            record = None if name is None else state.service(name)
            if record is None:
                return None
            return _whole_service(state, record, address, cluster, now_ms, loop) | watched.facts(state, record, loop)
        case "stacks":
            stacks = state.stacks()
            shown_stacks = stacks[question.offset : question.offset + question.limit]
            return _list(len(stacks), [_stack(stack) for stack in shown_stacks])
        case "stack":
            stack = None if name is None else state.stack(name)
            return None if stack is None else _whole_stack(state, stack, cluster, now_ms)
        case "tasks":
            if name is not None and state.service(name) is None:
                return None
            count, tasks = state.task_page(name, question.offset, question.limit)
            return _list(count, [_task(task, now_ms, address) for task in tasks])
        case "node":
            node = None if name is None else state.node(name)
            if node is None:
                return None
            usage = {} if loop is None else loop.usage.of_node(node.name)
            return {"id": node.name} | node_facts(state, node, now_ms) | ({"usage": usage} if usage else {})
        case "settings":
            return {"preemption": state.settings().preemption}
        case "rebalance":
            return rebalance_view(state, address)
    raise ValueError(f"nobody answers {question.about!r}")


def _list(count: int, results: list[Value]) -> Value:
    return {"metadata": {"count": count}, "results": results}


def _service(state: ClusterState, record: ServiceRecord, cluster: str, now_ms: int) -> Value:
    view: Value = {
        "name": record.name,
        "version": record.version,
        "mode": record.spec.mode,
        "replicas": record.replicas,
        "placed": record.placed,
        "pending": record.pending,
        "misplaced": record.misplaced,
        "completed": record.completed,
        "given_up": record.done - record.completed,
        "spec": msgspec.to_builtins(record.spec),
    }
    view |= views.cluster_view(cluster, record.name, record.spec.cluster)
    if record.update is not None:
        view["update"] = {
            "state": record.update.state,
            "failures": record.update.failures,
            "message": record.update.message,
        }
    if record.stack:
        view["stack"] = record.stack
    pending = state.pending_of(record.name, now_ms)
    if pending is not None:
        view["reason"] = pending.reason
    return view


def _stack(stack: StackRecord) -> Value:
    return {
        "name": stack.name,
        "version": stack.version,
        "service_count": len(stack.services),
        "replicas": sum(record.replicas for record in stack.services),
        "placed": sum(record.placed for record in stack.services),
        "pending": sum(record.pending for record in stack.services),
    }


def _whole_stack(state: ClusterState, stack: StackRecord, cluster: str, now_ms: int) -> Value:
    return _stack(stack) | {"services": [_service(state, record, cluster, now_ms) for record in stack.services]}


def _whole_service(
    state: ClusterState,
    record: ServiceRecord,
    address: Address,
    cluster: str,
    now_ms: int,
    loop: ControlLoop | None,
) -> Value:
    view = _service(state, record, cluster, now_ms)
    shares = state.load_distribution(record.name)
    view["load_distribution"] = {address(node): replicas for node, replicas in shares.items()}
    told = explain(state, record.name, NODES_TOLD, now_ms)
    if told is not None:
        view["waiting"] = {
            "replicas": told.pending.waiting,
            "summary": told.summary,
            "nodes": {address(node): why_not for node, why_not in told.nodes},
        }
    compared = compare(state, record.name, measured=None if loop is None else loop.usage.measured)
    if compared:
        view["placement"] = {
            "profile": record.spec.placement.profile or "spread",
            "nodes": {
                address(one.node): {"affinity": one.affinity}
                | ({} if one.score is None else {"score": one.score})
                for one in compared
            },
        }
    unmet = state.unmet(record.name)
    if unmet:
        view["depends_on_unmet"] = list(unmet)
    nodes = state.node_table().records
    if record.update is not None:
        view["update"]["waiting"] = why_update_waits(state, record.name)
        view["update"]["replaced"] = int((state.wanted(record.name).versions == record.template).sum())
    view["history"] = [
        {
            "slot": past.slot,
            "id": past.task,
            "node": address(nodes[past.node].name),
            "state": past.state.name,
            "version": past.version,
            "age_s": max(0, now_ms - past.at_ms) / 1_000,
        }
        for past in state.history(record.name)
    ]
    view["earlier"] = [
        {"version": version, "spec": msgspec.to_builtins(spec)} for version, spec in reversed(record.earlier)
    ]
    return view


def _task(task: TaskRecord, now_ms: int, address: Address) -> Value:
    view: Value = {
        "id": task.id,
        "service": task.service,
        "slot": task.slot,
        "node": address(task.node),
        "state": task.state.name,
        "desired": task.desired.name,
        "version": task.version,
        "slots": task.slots,
        "age_s": max(0, now_ms - task.updated_ms) / 1_000,
    }
    if task.devices:
        view["gpus"] = {"devices": list(task.devices), "milli": task.gpu_milli}
    return view


def node_facts(state: ClusterState, node: NodeRecord, now_ms: int) -> Value:
    """What a node is for, and what it has and has left, so late on the cluster's clock."""
    taken = state.node_table().taken(node.number)
    held = dict(gpus.held(Needs(more=tuple(taken.items()))))
    taken = {name: units for name, units in taken.items() if not name.startswith(gpus.DEVICE)}
    total = node.resources.get(gpus.GPUS, 0)
    facts: Value = {
        "availability": node.availability,
        "status": node.status,
        "labels": dict(node.labels),
        "resources": dict(node.resources),
        "platform": {"os": node.platform[0], "arch": node.platform[1]},
        "taken": taken,
    }
    if total:
        facts["gpus"] = {
            "model": node.gpu_model,
            "taken_milli": [held.get(device, 0) for device in range(gpus.devices_of(total))],
        }
    if node.availability == "drain":
        # The leader's next round sets the time; until then all of it is left.
        deadline = node.drain_deadline_s
        if node.drain_ms is not None:
            deadline = max(0, node.drain_ms - now_ms) / 1_000
        facts["drain"] = {
            "max_parallel": node.drain_parallel,
            "deadline_in_s": deadline,
            "replicas_left": int(np.count_nonzero(state.task_states(node.name)[2] == TaskState.RUNNING)),
        }
    return facts
