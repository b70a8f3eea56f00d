"""What should change: the plan that carries out a call, and the plan that repairs what was lost."""

from __future__ import annotations

from ..state.commands import Plan, ServiceCall
from ..state.machine import ClusterState
from ..state.records import CallRecord


def plan_call(state: ClusterState, call: CallRecord | ServiceCall) -> Plan:
    raise NotImplementedError


def plan_repair(state: ClusterState) -> Plan | None:
    raise NotImplementedError
