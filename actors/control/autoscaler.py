"""Autoscaling: when a round of measuring has ended, how many replicas each service should have, as a command.

Nothing here is agreed on but the command: a new leader measures anew, and begins with the number that it finds as if
that had just been recommended, so that a change of leaders scales nothing down.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ..scheduling.autoscaling import Calm, level_of, verdict
from ..state.commands import Command, ScaleService
from ..units import NS_PER_MS
from .liveness import TICK_MS
from .usage import ROUND_S, Usage

if TYPE_CHECKING:
    from .host import Host

__all__ = ["Autoscaler"]

DECISIONS_A_TICK = 100


class Autoscaler:
    """One leader's decisions in one term."""

    def __init__(self, host: Host, term: int, usage: Usage) -> None:
        self._host = host
        self._term = term
        self._usage = usage
        self._round = 0
        self._waiting: deque[str] = deque()
        self._calm: dict[str, Calm] = {}
        self._decided_ns: dict[str, int] = {}
        self._wanted: dict[str, ScaleService] = {}
        self._why: dict[str, str] = {}

    def tick(self) -> None:
        """Time passed: measure, and decide on what was measured."""
        services = self._host.state.autoscaled()
        self._keep_only(services)
        if not self._waiting:  # A new round would mix its answers into those that are still looked at.
            self._usage.tick(min([ROUND_S, *services.values()]))
        if self._usage.has_ended and self._round != self._usage.round:
            self._round, self._waiting = self._usage.round, deque(services)
        for _ in range(min(DECISIONS_A_TICK, len(self._waiting))):
            self._decide(self._waiting.popleft())

    def _keep_only(self, services: dict[str, float]) -> None:
        """Forget those that are autoscaled no more."""
        kept: dict[str, Any]
        for kept in (self._calm, self._decided_ns, self._wanted, self._why):
            for name in [name for name in kept if name not in services]:
                del kept[name]

    def _decide(self, name: str) -> None:
        record = self._host.state.service(name)
        if record is None or record.spec.autoscale is None:
            return
        policy, now_ns = record.spec.autoscale, self._host.context.now_ns()
        if self._usage.is_more(name):
            return
        # From the beginning of a round to that of another: one that waits for a node that is silent takes longer. A
        # tick early is not too early, because rounds begin on ticks.
        since_ns = self._usage.began_ns - self._decided_ns.get(name, -1 << 62)
        if since_ns < policy.every_s * 1e9 - TICK_MS * NS_PER_MS:
            return
        self._decided_ns[name] = self._usage.began_ns
        now_ms = now_ns // NS_PER_MS
        if name not in self._calm:
            self._calm[name] = Calm(now_ms, record.replicas)
        used = self._usage.of_service(name)
        level = None if used is None else level_of(record.spec, used.means)
        if used is None or level is None:
            self._why[name] = f"nothing has said how much {policy.metric} its replicas use"
            return
        found = verdict(record.spec, self._calm[name], now_ms, record.replicas, used.replicas, level)
        self._why[name] = found.why
        self._wanted.pop(name, None)
        if found.replicas != record.replicas:
            self._wanted[name] = ScaleService(
                name=name,
                version=record.version,
                term=self._term,
                was=record.replicas,
                replicas=found.replicas,
                usage=round(level, 6),
                why=found.why,
            )

    def missing(self) -> list[Command]:
        """What was decided and is not so yet; what somebody has changed meanwhile is decided anew."""
        for name, command in tuple(self._wanted.items()):
            record = self._host.state.service(name)
            if record is None or (record.version, record.replicas) != (command.version, command.was):
                del self._wanted[name]
        return list(self._wanted.values())

    def why(self, service: str) -> str:
        """The last decision in a sentence."""
        return self._why.get(service, "nothing has been measured yet")
