"""What a leader answers to "what would happen if": plans made on a copy of the state, a slice at a time.

The copy is of one moment, so nothing is applied while it is made; after that the plan and the cluster go their ways.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import msgspec

from ..messages import DescribeState, Message, NodeAnswer
from ..scheduling.measured import Measured
from ..scheduling.planning import FieldChange, Planned, ServicePlanned, plan_slices
from ..scheduling.survival import Survival, survival_slices
from ..scheduling.wishes import LossWish, StackWish, SurvivalWish, Wish
from ..state.forks import fork_slices
from ..state.machine import ClusterState
from ..state.specs import ServiceSpec

if TYPE_CHECKING:
    from .host import Host

__all__ = ["PlanMore", "Plans"]

MOST_WAITING = 8
"""Plans that wait for their turn; each takes a copy of the state, so one is made at a time."""
SHOWN = 100
"""Services of a plan, and nodes of a service, that an answer shows; it counts the others."""
STEPS_SHOWN = 20

Address = Callable[[str | None], str | None]
Value = dict[str, Any]


class PlanMore(Message, frozen=True, kw_only=True, gc=False):
    """To the node itself: the next slice of the plan that is being made."""


class Plans:
    """The plans that one node was asked for, in order."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._waiting: deque[DescribeState] = deque()
        self._slices: Generator[None, None, Value] | None = None

    def ask(self, asked: DescribeState) -> None:
        """Make the plan of this question when its turn comes."""
        if len(self._waiting) >= MOST_WAITING:
            self._answer(asked, {"busy": len(self._waiting)})
            return
        self._waiting.append(asked)
        if len(self._waiting) == 1:
            self._more()

    def go_on(self, _: PlanMore) -> None:
        """One slice."""
        if not self._waiting:
            return
        if self._slices is None:
            wish = self._waiting[0].question.of
            assert wish is not None, "a plan is asked for by what it is for"
            self._slices = self._make(wish)
        try:
            next(self._slices)
        except StopIteration as end:
            self._end(end.value)
        except Exception as error:
            self._host.context.log.exception("no plan made cluster=%s", self._host.cluster)
            self._end({"failed": repr(error)})
        else:
            self._more()

    def _end(self, value: Value) -> None:
        self._slices = None
        self._answer(self._waiting.popleft(), value)
        if self._waiting:
            self._more()

    def _more(self) -> None:
        self._host.to_self(PlanMore())

    def _answer(self, asked: DescribeState, value: Value) -> None:
        if asked.reply_to is not None:
            answer = NodeAnswer(ref=asked.ref, node=self._host.node, value=value)
            self._host.context.send(asked.reply_to, answer)

    def _make(self, wish: Wish) -> Generator[None, None, Value]:
        host = self._host
        host.hold_applying()
        try:
            copy = yield from fork_slices(host.state)
        finally:
            host.go_on_applying()
        if isinstance(wish, SurvivalWish):
            survival = yield from survival_slices(copy, host.raft.term, self._now_ms(copy), self._measured())
            return survival_view(survival, host.address_of) | {"voters": self._voters(1)}
        known = copy.stack(wish.name) if isinstance(wish, StackWish) else None
        planned = yield from plan_slices(copy, wish, host.raft.term, self._now_ms(copy), self._measured())
        value = plan_view(planned, host.address_of)
        if isinstance(wish, StackWish) and planned.refusal is None:
            value["version"] = 0 if known is None else known.version
        if isinstance(wish, LossWish) and planned.refusal is None:
            value["voters"] = self._voters(sum(v in wish.nodes for v in host.raft.membership.voters))
        return value

    def _now_ms(self, copy: ClusterState) -> int:
        loop = self._host.loop
        return copy.clock_ms() if loop is None else loop.clock_ms()

    def _measured(self) -> Measured | None:
        loop = self._host.loop
        return None if loop is None else loop.usage.measured

    def _voters(self, lost: int) -> Value:
        """Whether those who vote could still decide."""
        count = len(self._host.raft.membership.voters)
        return {"count": count, "left": count - lost, "is_majority": count - lost > count // 2}


def survival_view(survival: Survival, address: Address) -> Value:
    """The report, ready for JSON."""
    return {
        "index": survival.made_at,
        "summary": {
            "nodes": survival.nodes,
            "survivable": survival.survivable,
            "not_survivable": len(survival.losses),
            "not_looked_at": len(survival.unknown),
        },
        "losses": [
            {
                "node": address(loss.node),
                "waits": loss.waits,
                "services": dict(loss.services[:SHOWN]),
            }
            for loss in survival.losses[:SHOWN]
        ],
        "not_looked_at": [address(node) for node in survival.unknown[:SHOWN]],
    }


def plan_view(planned: Planned, address: Address) -> Value:
    """The plan, ready for JSON; the lists are cut, and say so."""
    if planned.refusal is not None:
        return {"refused": {"code": planned.refusal.code, "reason": planned.refusal.reason}}
    services, steps = planned.services, planned.steps
    nodes = {node for service in services for node, _, _ in service.nodes}
    summary = {
        field: sum(getattr(service, field) for service in services)
        for field in ("starts", "stops", "moves", "replaces", "keeps", "waits")
    }
    return {
        "index": planned.made_at,
        "summary": summary
        | {
            "waited": sum(service.waited for service in services),
            "services": len(services),
            "nodes": len(nodes),
            "steps": len(steps),
            "takes_s": steps[-1].at_ms / 1_000 if steps else 0.0,
        },
        "services": [_service(service, address) for service in services[:SHOWN]],
        "services_not_shown": max(0, len(services) - SHOWN),
        "steps": [
            {
                "at_s": step.at_ms / 1_000,
                "starts": step.starts,
                "stops": step.stops,
                "services": list(step.services[:STEPS_SHOWN]),
            }
            for step in steps[:STEPS_SHOWN]
        ],
        "is_complete": planned.is_complete,
    }


def _service(service: ServicePlanned, address: Address) -> Value:
    before, after = service.before, service.after
    view: Value = {
        "name": service.name,
        "version": 0 if before is None else before.version,
        "is_new": before is None,
        "is_removed": after is None,
        "replicas": {
            "before": 0 if before is None else before.replicas,
            "after": 0 if after is None else after.replicas,
        },
        "changes": [_change(change) for change in service.changes],
    }
    view |= {
        field: getattr(service, field)
        for field in ("starts", "stops", "moves", "replaces", "keeps", "waits", "waited")
    }
    view["nodes"] = {
        address(node): {"starts": starts, "stops": stops} for node, starts, stops in service.nodes[:SHOWN]
    }
    view["nodes_not_shown"] = max(0, len(service.nodes) - SHOWN)
    if service.preempted_by:
        view["preempted_by"] = dict(service.preempted_by)
    if before is None and after is not None:
        view["spec"] = _spec(after.spec)
    if service.waits:
        view["reason"] = service.reason
        view["waiting"] = {
            "replicas": service.waits,
            "summary": service.summary,
            "nodes": {address(node): why for node, why in service.obstacles[:SHOWN]},
        }
    return view


def _change(change: FieldChange) -> Value:
    return msgspec.to_builtins(change)  # type: ignore[no-any-return]


def _spec(spec: ServiceSpec) -> Value:
    return msgspec.to_builtins(spec)  # type: ignore[no-any-return]
