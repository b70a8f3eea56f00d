"""Cron: which services have become due by the leader's wall clock, proposed as commands.

What is agreed on is which times are decided, so a leader with another clock repeats nothing: at most it is late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..state.commands import Command, RunDue
from ..state.records import CronService, ServiceRecord
from ..units import NS_PER_MS
from .schedules import WrongSchedule, due_after, due_before, how_often, shown

if TYPE_CHECKING:
    from .host import Host

__all__ = ["Cron"]

MOST_COUNTED = 100
"""Of what was missed; a schedule of seconds and an outage of years have more than anybody wants to count."""
MOST_AT_ONCE = 30
"""Looks into the calendar in one tick, so that midnight does not hold up everything else."""


class _Next(msgspec.Struct, frozen=True, kw_only=True):
    """When a service is due next, as of this version and what was decided; None: never, or the reason why not."""

    version: int
    decided_ms: int | None
    due_ms: int | None
    problem: str = ""


class Cron:
    """One leader's look at the clock in one term."""

    def __init__(self, host: Host, term: int) -> None:
        self._host = host
        self._term = term
        self._next: dict[str, _Next] = {}
        self._has_ticked = False
        self._looks = 0

    def tick(self) -> None:
        """Time passed: look at the clock once more."""
        self._has_ticked = True

    def missing(self) -> list[Command]:
        """What has become due; looked at once a tick."""
        if not self._has_ticked:
            return []
        self._has_ticked = False
        crons = self._host.state.crons()
        if len(self._next) > len(crons):
            self._next = {}
        if not crons:
            return []
        wall_ms = self._host.context.wall_ns() // NS_PER_MS
        due: list[Command] = []
        self._looks = MOST_AT_ONCE
        for service in crons:
            command = self._due(service, wall_ms)
            if command is not None:
                due.append(command)
            if self._looks <= 0:
                break
        return due

    def _due(self, service: CronService, wall_ms: int) -> RunDue | None:
        spec = service.spec
        if not spec.replicas:
            return None  # It rests until it is given a number again.
        if service.decided_ms is None:
            self._looks -= 1
            return self._command(service, up_to_ms=wall_ms)
        due = self._known(service)
        if due.due_ms is None or due.due_ms > wall_ms:
            return None
        self._looks -= 1
        last_ms = due_before(spec, wall_ms)
        last_ms = due.due_ms if last_ms is None else max(last_ms, due.due_ms)
        times = how_often(spec, service.decided_ms, last_ms, MOST_COUNTED)
        if wall_ms - last_ms > spec.window_s * 1_000:
            return self._command(service, up_to_ms=last_ms, missed=times)
        return self._command(service, up_to_ms=last_ms, run_ms=last_ms, missed=times - 1)

    def _command(self, service: CronService, **rest: Any) -> RunDue:
        return RunDue(name=service.name, version=service.version, term=self._term, **rest)

    def _known(self, service: CronService) -> _Next:
        known = self._next.get(service.name)
        if known is None or (known.version, known.decided_ms) != (service.version, service.decided_ms):
            known = self._find(service)
            self._next[service.name] = known
        return known

    def _find(self, service: CronService) -> _Next:
        due_ms, problem, decided_ms = None, "", service.decided_ms or 0
        self._looks -= 1
        try:
            due_ms = due_after(service.spec, decided_ms)
        except WrongSchedule as error:
            # Whoever made the service could read it: this machine has no data of its time zone, or other data.
            problem = str(error)
            self._host.context.log.warning(
                "cannot tell when a service is due service=%s: %s", service.name, problem
            )
        return _Next(version=service.version, decided_ms=decided_ms, due_ms=due_ms, problem=problem)

    def view(self, record: ServiceRecord) -> dict[str, Any]:
        """When it is due next, and why not; ready for JSON."""
        decided_ms = None if record.cron is None else record.cron.decided_ms
        value: dict[str, Any] = {"next_run": None}
        if decided_ms is None or not record.spec.replicas:
            return value
        due = self._known(CronService(record.name, record.version, record.spec, decided_ms))
        if due.due_ms is not None:
            value["next_run"] = shown(due.due_ms, record.spec.time_zone)
        return value | ({"problem": due.problem} if due.problem else {})
