"""What the leader answers to questions about services, tasks and nodes: plain values, ready for JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..messages import Question
from ..scheduling.reasons import explain, why_update_waits
from ..state import gpus, views
from ..state.machine import ClusterState
from ..state.needs import Needs
from ..state.records import NodeRecord, ServiceRecord, TaskRecord
from .rebalancing import rebalance_view

__all__ = ["answer", "node_facts"]

Address = Callable[[str | None], str | None]
Value = dict[str, Any]


def answer(state: ClusterState, question: Question, address: Address) -> Value | None:
    """None where there is nothing of that name."""
    name = question.name
    match question.about:
        case "state":
            return views.state_view(state, address)
        case "call":
            call = state.last_call() if name is None else state.call(name)
            return None if call is None else views.call_view(call, address)
        case "services":
            records = state.services()
            why = {pending.service: pending.reason for pending in state.pending()}
            shown = records[question.offset : question.offset + question.limit]
            return _list(len(records), [_service(record, why) for record in shown])
        case "service":
            record = None if name is None else state.service(name)
            return None if record is None else _whole_service(state, record, address)
        case "tasks":
            if name is not None and state.service(name) is None:
                return None
            count, tasks = state.task_page(name, question.offset, question.limit)
            return _list(count, [_task(task, state.clock_ms(), address) for task in tasks])
        case "node":
            node = None if name is None else state.node(name)
            return None if node is None else {"id": node.name} | node_facts(state, node)
        case "rebalance":
            return rebalance_view(state, address)
    raise ValueError(f"nobody answers {question.about!r}")


def _list(count: int, results: list[Value]) -> Value:
    return {"metadata": {"count": count}, "results": results}


def _service(record: ServiceRecord, why: dict[str, str]) -> Value:
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
    if record.update is not None:
        view["update"] = {
            "state": record.update.state,
            "failures": record.update.failures,
            "message": record.update.message,
        }
    if record.name in why:
        view["reason"] = why[record.name]
    return view


def _whole_service(state: ClusterState, record: ServiceRecord, address: Address) -> Value:
    why = {pending.service: pending.reason for pending in state.pending()}
    view = _service(record, why)
    shares = state.load_distribution(record.name)
    view["load_distribution"] = {address(node): replicas for node, replicas in shares.items()}
    told = explain(state, record.name)
    if told is not None:
        view["waiting"] = {
            "replicas": told.pending.waiting,
            "summary": told.summary,
            "nodes": {address(node): why_not for node, why_not in told.nodes},
        }
    unmet = state.unmet(record.name)
    if unmet:
        view["depends_on_unmet"] = list(unmet)
    now_ms, nodes = state.clock_ms(), state.node_table().records
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


def node_facts(state: ClusterState, node: NodeRecord) -> Value:
    """What a node is for, and what it has and has left."""
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
        deadline = None if node.drain_ms is None else max(0, node.drain_ms - state.clock_ms()) / 1_000
        facts["drain"] = {
            "max_parallel": node.drain_parallel,
            "deadline_in_s": deadline,
            "replicas_left": len(
                [task for task in state.tasks_of(node.name) if task.desired.name == "RUNNING"]
            ),
        }
    return facts
