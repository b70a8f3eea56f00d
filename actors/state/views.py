"""The state as REST and embedding programs read it: plain values, ready for JSON, with addresses for names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from . import commands
from .machine import ClusterState
from .records import CallRecord, ServiceRecord
from .specs import NestedCluster, nested_cluster

__all__ = ["call_view", "cluster_view", "describe_command", "load_table", "services", "state_view"]

Address = Callable[[str | None], str | None]
View = dict[str, Any]


def services(state: ClusterState, address: Address, cluster: str = "0", now_ms: int | None = None) -> list[View]:
    """Every service, in order of creation: what is desired, what runs where, and the newest call that set it.

    Services that a call asks for which still waits stand at the end. `cluster` is the id of this one;
    `now_ms` how late it is on its clock, for who knows it better than the log.
    """
    latest = state.newest_calls()
    why = {pending.service: pending.reason for pending in state.pending(now_ms)}
    views = [
        _service(state, record, latest.pop(record.name, None), why, address)
        | cluster_view(cluster, record.name, record.spec.cluster)
        for record in state.services()
    ]
    for name, call in latest.items():
        if call.executed_index is not None:
            continue  # what it asked for was removed since, or was refused
        wanted = next(request for request in call.services if request.name == name)
        views.append(
            {
                "name": name,
                "replicas": wanted.replicas,
                "placed": 0,
                "pending": wanted.replicas,
                "reason": "the service call has not been carried out yet",
                "load_distribution": {},
            }
            | _call_fields(call)
            | cluster_view(cluster, name, wanted.cluster)
        )
    return views


def _service(
    state: ClusterState, record: ServiceRecord, call: CallRecord | None, why: dict[str, str], address: Address
) -> View:
    view: View = {
        "name": record.name,
        "description": record.description,
        "replicas": record.replicas,
        "slots_per_replica": record.slots_per_replica,
        "mode": record.spec.mode,
        "version": record.version,
        "placed": record.placed,
        "pending": record.pending,
        "completed": record.completed,
        "given_up": record.done - record.completed,
        "load_distribution": _addressed(state.load_distribution(record.name).items(), address),
    }
    if record.name in why:
        view["reason"] = why[record.name]
    if record.update is not None:
        view["update"] = {"state": record.update.state}
    return view | (_call_fields(call) if call is not None else {})


def _call_fields(call: CallRecord) -> View:
    return {"service_id": call.id, "status": call.status, "log_index": call.log_index}


def cluster_view(cluster: str, service: str, nested: NestedCluster | None) -> View:
    """Which cluster a service of this one is, if it is one."""
    return {} if nested is None else {"cluster": {"id": nested_cluster(cluster, service)}}


def call_view(call: CallRecord, address: Address, cluster: str = "0") -> View:
    """A service call: the body it came with, and what became of it."""
    body = msgspec.json.decode(call.body)
    view: View = dict(body) if isinstance(body, dict) else {}
    view |= {
        "service_id": call.id,
        "status": call.status,
        "log_index": call.log_index,
        "services": [request.name for request in call.services],
        "load_distribution": _addressed(call.load_distribution, address),
    }
    clusters = {r.name: nested_cluster(cluster, r.name) for r in call.services if r.cluster is not None}
    if clusters:
        view["clusters"] = clusters
    if call.executed_index is not None:
        view |= {"executed_index": call.executed_index, "placed": call.placed, "pending": call.pending}
    if call.reason:
        view["reason"] = call.reason
    if call.merged_into is not None:
        view["merged_into"] = call.merged_into
    return view


def state_view(state: ClusterState, address: Address, cluster: str = "0", now_ms: int | None = None) -> View:
    """What `/state` says, all from one state: services, the last call, those that wait, and how the load is spread.
    `now_ms` as above."""
    last = state.last_call()
    return {
        "services": services(state, address, cluster, now_ms),
        "last_call": None if last is None else call_view(last, address, cluster),
        "calls_waiting": [
            {
                "service_id": call.id,
                "status": call.status,
                "services": [request.name for request in call.services],
            }
            for call in state.pending_calls()[:100]
        ],
        "load_distribution": {
            address(record.name): state.load_of(record.name)
            for record in state.nodes()
            if record.status == "ready"
        },
        "pending": [
            {"service": pending.service, "replicas": pending.waiting, "reason": pending.reason}
            for pending in state.pending(now_ms)
        ],
        "statistics": dict(state.statistics()),
    }


def load_table(state: ClusterState, address: Address) -> View:
    """`{service_id: {address: replicas}}`, by the newest call of each service that is there or asked for."""
    table: View = {}
    for name, call in state.newest_calls().items():
        if call.executed_index is not None and state.service(name) is None:
            continue  # what it asked for was removed since
        row = table.setdefault(call.id, {})
        for node, replicas in _addressed(state.load_distribution(name).items(), address).items():
            row[node] = row.get(node, 0) + replicas
    return table


def describe_command(data: bytes) -> View:
    """One log entry's command, short: its kind and what it is about; not its plan."""
    try:
        command = commands.decode(data)
    except msgspec.DecodeError:
        return {"type": "unknown", "bytes": len(data)}
    view: View = {"type": type(command).__name__}
    match command:
        case commands.AddNode(name=name, capacity=capacity):
            view |= {"node": name, "capacity": capacity}
        case commands.RemoveNode(name=name) | commands.UpdateNode(name=name):
            view |= {"node": name}
        case commands.PutService(name=name, spec=spec):
            view |= {"services": {name: spec.replicas}}
        case commands.ScaleService(name=name, replicas=replicas):
            view |= {"services": {name: replicas}}
        case commands.RunDue(name=name, run_ms=run_ms):
            view |= {"services": [name], "due_ms": run_ms}
        case commands.RemoveService(name=name) | commands.RollBackService(name=name):
            view |= {"services": [name]}
        case commands.PutStack(name=name, services=services):
            view |= {"stack": name, "services": {service: spec.replicas for service, spec in services[:20]}}
        case commands.RemoveStack(name=name):
            view |= {"stack": name}
        case commands.PassTime(clock_ms=clock_ms):
            view |= {"clock_ms": clock_ms}
        case commands.MoveNodes(addresses=addresses):
            view |= {"nodes": [name for name, _, _ in addresses]}
        case commands.SetNodeStatus(name=name, status=status):
            view |= {"node": name, "status": status}
        case commands.SubmitCall(call=call):
            view |= {"service_id": call.id, "services": {r.name: r.replicas for r in call.services[:20]}}
        case commands.ExecuteCall(call_id=call_id, plan=plan):
            view |= {"service_id": call_id, "services": [part.service for part in plan.services[:20]]}
        case commands.PlaceTasks(plan=plan):
            view |= {"services": [part.service for part in plan.services[:20]]}
        case commands.ReportTasks(node=node):
            view |= {"node": node}
        case commands.ChangeSettings(preemption=preemption):
            view |= {"preemption": preemption}
        case commands.StartRebalance(moves=moves):
            view |= {"moves": len(moves)}
        case commands.Told(index=index):
            view |= {"up_to": index}
        case commands.CreateCluster(id=id) | commands.ReplaceCluster(id=id) | commands.RemoveCluster(id=id):
            view |= {"cluster": id}
    return view


def _addressed(shares: Any, address: Address) -> dict[str, int]:
    return {str(address(node)): replicas for node, replicas in shares}
