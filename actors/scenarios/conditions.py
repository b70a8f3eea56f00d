"""Verbs about what must be so: now, soon, or never."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .document import nearest
from .expressions import Expression
from .format import Expectation, shown_argument
from .quantities import ns_of
from .stage import Fault, Stage, StepFailed
from .views import ServiceView, View

__all__ = ["ConditionVerbs", "Wanted"]

Wanted = str | Expression | Expectation | Callable[[View], Any]
EVENTUALLY = "10s"


class _CannotBeTold(Exception):
    """Now, at least: nobody leads, say, and the condition compares the leader's name with a number."""


class ConditionVerbs(Stage):
    """A condition is an expression as in a scenario file, or in Python a function of the view."""

    def expect(self, wanted: Wanted | None = None, **expected: Any) -> None:
        """It must hold now: `expect("leader is not None")`, `expect(replicas={"web": 10})`. Raises StepFailed."""
        self.need_cluster()
        why = self._why_not(_condition(wanted, expected))
        if why is not None:
            raise StepFailed(f"expect: {why}")

    def eventually(
        self, wanted: Wanted | None = None, *, within: str | float = EVENTUALLY, **expected: Any
    ) -> None:
        """Wait until it holds. Raises StepFailed when it does not in time."""
        condition, within_ns = _condition(wanted, expected), ns_of(within)
        # Nothing that a condition sees changes without a step of a member or an event, but the time.
        is_quick = not self.is_live and not _may_see_time(condition)

        def holds() -> bool:
            if is_quick and not self.watch.is_dirty:
                return False
            self.watch.is_dirty = False
            return self._why_not(condition) is None

        self.watch.is_dirty = True
        if not self.pass_until(self.now_ns + within_ns, holds):
            why = self._why_not(condition)
            if why is not None:
                raise StepFailed(f"eventually: not within {within_ns / 1e9:g} s: {why}")

    def never(
        self, wanted: Wanted | None = None, *, for_: str | float | None = None, **expected: Any
    ) -> Fault:
        """From now on it must not hold, for a time or until the answer is undone."""
        condition = _condition(wanted, expected)
        cluster = self.cluster
        unclear: str | None = None
        was_told = False

        def why() -> str | None:
            nonlocal unclear, was_told
            with self.acting_in(cluster):
                try:
                    holds = self._why(condition) is None
                except _CannotBeTold as error:
                    unclear = str(error)
                    return None
            was_told = True
            return "it holds, and never should" if holds else None

        def why_vacuous() -> str | None:
            return None if was_told or unclear is None else f"{unclear}, not once, so nothing was watched"

        # With its text: of several, each is a promise of its own.
        number = self.watch.demand(f"never: {_shown(condition)}", why, at_last=why_vacuous)
        held = Fault(lambda: self.watch.release(number))
        if for_ is not None:
            self.later(ns_of(for_), held.undo)
        return held

    def always(self, wanted: Wanted | None = None, **expected: Any) -> Fault:
        """From now on it must hold, until the answer is undone."""
        condition = _condition(wanted, expected)
        cluster = self.cluster

        def why() -> str | None:
            with self.acting_in(cluster):
                return self._why_not(condition)

        number = self.watch.demand(f"always: {_shown(condition)}", why)
        return Fault(lambda: self.watch.release(number))

    def log(self, text: str) -> None:
        """Say something in the event log."""
        self.emit("scenario-log", text=text)

    def _why_not(self, condition: Expression | Expectation | Callable[[View], Any]) -> str | None:
        try:
            return self._why(condition)
        except _CannotBeTold as error:
            return str(error)

    def _why(self, condition: Expression | Expectation | Callable[[View], Any]) -> str | None:
        view = self.view
        if isinstance(condition, Expectation):
            return _unmet(condition, view)
        try:
            holds = condition(view)
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, NameError) as error:
            raise _CannotBeTold(f"{_shown(condition)} cannot be told: {error}") from None
        return None if holds else f"{_shown(condition)} does not hold; {summary(view)}"


def _condition(
    wanted: Wanted | None, expected: dict[str, Any]
) -> Expression | Expectation | Callable[[View], Any]:
    if wanted is None:
        for word in expected:
            if word not in Expectation.__struct_fields__:
                raise TypeError(f"unknown word {word!r}{nearest(word, Expectation.__struct_fields__)}")
        made = Expectation(**expected)
        if made == Expectation() or made.replicas == {} or made.roles == {}:
            raise ValueError("nothing is expected; write a condition, or replicas, leader, leaders, nodes or roles")
        return made
    return Expression(wanted) if isinstance(wanted, str) else wanted


def _may_see_time(condition: Expression | Expectation | Callable[[View], Any]) -> bool:
    """Nobody knows what a function sees."""
    if isinstance(condition, Expression):
        return re.search(r"\bnow\b", condition.text) is not None
    return not isinstance(condition, Expectation)


def _unmet(expected: Expectation, view: View) -> str | None:
    for service, replicas in (expected.replicas or {}).items():
        placed = view.service(service).placed
        if placed != replicas:
            return f"{service} has {placed} replicas, not {replicas}; {summary(view)}"
    if expected.leader is not None and view.leader != expected.leader:
        return f"{view.leader or 'nobody'} leads, not {expected.leader}"
    leaders = sum(node.role == "leader" for node in view.nodes)
    if expected.leaders is not None and leaders != expected.leaders:
        return f"{leaders} nodes lead, not {expected.leaders}; {summary(view)}"
    if expected.nodes is not None and len(view.nodes) != expected.nodes:
        return f"there are {len(view.nodes)} nodes, not {expected.nodes}"
    for name, role in (expected.roles or {}).items():
        found = view.node(name).role
        if found != role:
            return f"{name} is {found}, not {role}"
    return None


def summary(view: View) -> str:
    """The cluster in a line: who is what in which term, and which replicas are placed."""
    nodes = [f"{node.name} {node.role}" + (f" {node.term}" if node.term else "") for node in view.nodes[:9]]
    services = [f"{service.name} {service.placed}/{service.replicas}{_ended(service)}" for service in view.services[:9]]
    return f"now: {', '.join(nodes)}" + (f"; {', '.join(services)}" if services else "")


def _ended(service: ServiceView) -> str:
    ended = ((service.completed, "completed"), (service.given_up, "given up"))
    told = ", ".join(f"{many} {word}" for many, word in ended if many)
    return f" ({told})" if told else ""


def _shown(condition: Any) -> str:
    if isinstance(condition, Expectation):
        return shown_argument(condition)
    return condition.text if isinstance(condition, Expression) else getattr(condition, "__name__", "it")
