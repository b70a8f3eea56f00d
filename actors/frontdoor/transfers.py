"""Handing the leadership over on request: asked of the leader, and done when another one claims to lead."""

from __future__ import annotations

from typing import Any

from ..errors import Conflict, NoLeader, RaftyardError, TimedOut
from ..messages import LeaderClaim, TransferRequest
from ..system import Promise
from .addresses import resolve
from .claims import Claims
from .home import Home
from .host import Host
from .questions import Answers, Questions

__all__ = ["Transfers"]

PATIENCE_S = 5.0
"""A leader gives up after its election timeout and says so; one that says nothing is gone."""


class _Transfer:
    __slots__ = ("leader", "promise", "target")

    def __init__(self, leader: str, target: str | None, promise: Promise) -> None:
        self.leader = leader
        self.target = target
        self.promise = promise


class Transfers:
    """One cluster's transfers that are under way."""

    def __init__(self, host: Host, home: Home, claims: Claims, questions: Questions) -> None:
        self._host = host
        self._home = home
        self._claims = claims
        self._questions = questions
        self._open: list[_Transfer] = []

    def request(self, request: TransferRequest) -> Promise:
        """Kept with who leads then; at once where the target leads already."""
        promise = self._host.context.promise()
        leader = self._claims.leader
        try:
            target = None if request.target is None else resolve(self._home, request.target)
        except RaftyardError as error:
            promise.fail(error)
            return promise
        if leader is None:
            promise.fail(self._claims.no_leader())
        elif leader == target:
            self._keep(promise, leader)
        else:
            self._ask(_Transfer(leader, target, promise))
        return promise

    def claimed(self, claim: LeaderClaim) -> None:
        """Somebody leads; whoever waits for that hears it."""
        for transfer in [one for one in self._open if claim.node != one.leader]:
            self._open.remove(transfer)
            if transfer.target in (None, claim.node):
                self._keep(transfer.promise, claim.node)
            else:
                why = f"{self._called(transfer.target)} was to lead, and {self._called(claim.node)} was elected"
                transfer.promise.fail(Conflict(why, hint="ask again"))

    def _ask(self, transfer: _Transfer) -> None:
        me = self._host.context.name
        self._open.append(transfer)

        def done(answers: Answers) -> None:
            if transfer in self._open:
                self._open.remove(transfer)
                answer = answers.get(transfer.leader)
                transfer.promise.fail(self._failure(transfer, None if answer is None else answer.error))

        def message(ref: int, _: str) -> TransferRequest:
            return TransferRequest(target=transfer.target, ref=ref, reply_to=me)

        self._questions.ask((transfer.leader,), message, done, PATIENCE_S)

    def _failure(self, transfer: _Transfer, reason: str | None) -> RaftyardError:
        """Why it came to nothing; `reason` is the core's."""
        target = None if transfer.target is None else self._called(transfer.target)
        match reason:
            case "not a voter":
                hint = "only voters can lead; GET /clusters/{id}/nodes shows the state of each"
                return Conflict(f"{target} has no vote", hint=hint)
            case "no other voter":
                return Conflict("there is no other voter", hint="add a node first")
            case "transferring":
                return Conflict("a transfer is under way already", hint="ask again when it is over")
            case "not leader" | "no leader":
                return NoLeader(f"{self._called(transfer.leader)} leads no more", retry_after_s=1)
            case _:
                why = f"{target or 'no other node'} did not take over in time"
                hint = "it may be down or cut off, see GET /clusters/{id}/connections; the leader serves on"
                return TimedOut(why, hint=hint)

    def _keep(self, promise: Promise, leader: str) -> None:
        kept: dict[str, Any] = {"status": "ok", "leader": self._called(leader)}
        promise.keep(kept)

    def _called(self, name: str) -> str:
        spec = self._home.nodes.get(name)
        return name if spec is None else spec.address
