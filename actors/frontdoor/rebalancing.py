"""Rebalancing from outside: a plan from the leader, and where it is not only a plan, its moves put into the log."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import Conflict, InvalidRequest, QueueFull, RaftyardError
from ..messages import DescribeRebalance, Message, PlanRebalance, Question, RebalanceRequest, StopRebalance
from ..state import commands
from ..state.moves import MOST_MOVES, MOST_PARALLEL
from ..system import Promise
from .courier import CHANGE_S, Courier
from .host import Host
from .questions import Questions

__all__ = ["Rebalancing"]

PLAN_S = 8.0
"""How long a plan may take: large clusters are searched a slice at a time."""


class Rebalancing:
    """One cluster's rebalances, for those who ask for them."""

    def __init__(self, host: Host, courier: Courier, questions: Questions) -> None:
        self._host = host
        self._courier = courier
        self._questions = questions

    def request(self, request: RebalanceRequest) -> Promise:
        """A plan; unless it is a dry run its moves begin, and it says at which index they were agreed on."""
        promise = self._host.context.promise()
        for field, value, most in (
            ("max_moves", request.max_moves, MOST_MOVES),
            ("max_parallel", request.max_parallel, MOST_PARALLEL),
        ):
            if not 1 <= value <= most:
                promise.fail(InvalidRequest(f"{value} is out of range", path=f"$.{field}", hint=f"use 1 to {most}"))
                return promise

        def planned(value: Any) -> None:
            if isinstance(value, RaftyardError):
                promise.fail(value)
                return
            moves = value.pop("plan")
            answer = value | {"max_parallel": request.max_parallel, "dry_run": request.dry_run}
            if request.dry_run or not moves:
                promise.keep({"state": "planned" if moves else "even"} | answer)
            else:
                self._start(answer, moves, promise)

        def message(ref: int, _: str) -> Message:
            return PlanRebalance(ref=ref, reply_to=self._host.context.name, max_moves=request.max_moves)

        self._questions.ask_leader_with(message, planned, PLAN_S)
        return promise

    def _start(self, answer: dict[str, Any], moves: Any, promise: Promise) -> None:
        command = commands.StartRebalance(
            made_at=answer["made_at"],
            max_parallel=answer["max_parallel"],
            cost_before=answer["cost_before"],
            cost_after=answer["cost_after"],
            moves=msgspec.convert(moves, tuple[commands.RebalanceMove, ...]),
        )
        self._send(command, {"state": "running"} | answer, promise)

    def describe(self, _: DescribeRebalance) -> Promise:
        """How far the last one has come."""
        promise = self._host.context.promise()

        def answer(value: Any) -> None:
            promise.fail(value) if isinstance(value, RaftyardError) else promise.keep(value)

        self._questions.ask_about(Question(about="rebalance"), answer)
        return promise

    def stop(self, _: StopRebalance) -> Promise:
        """No further moves; those under way arrive."""
        promise = self._host.context.promise()
        self._send(commands.StopRebalance(), {"status": "ok"}, promise)
        return promise

    def _send(self, command: commands.Command, answer: dict[str, Any], promise: Promise) -> None:
        def done(result: Any, index: int) -> None:
            if isinstance(result, RaftyardError):
                promise.fail(result)
            elif not result["ok"]:
                hint = f"GET /clusters/{self._host.id}/rebalance shows it"
                promise.fail(Conflict(result["reason"], hint=hint))
            else:
                promise.keep(answer | {"log_index": index})

        try:
            self._courier.send(command, done, within_s=CHANGE_S)
        except QueueFull as error:
            done(error, 0)
