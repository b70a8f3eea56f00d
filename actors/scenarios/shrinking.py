"""Shrinks a scenario that fails: leaves out steps and kinds of random faults while the same promise is broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import yaml

from .document import WrongScenario
from .format import Scenario, Step
from .reading import read_scenario
from .running import Failure, Outcome, play

__all__ = ["as_yaml", "shrink"]

_Item = TypeVar("_Item")


def shrink(
    scenario: Scenario,
    seed: int,
    *,
    most_runs: int = 200,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> tuple[Scenario, Outcome]:
    """The smallest scenario that was found to break the same promise with this seed, and how it fails.

    Kinds of random faults are left out first, then single ones, then steps: ever fewer at a time. `progress(runs, steps
    left)`. On the live clock it may not fail again: then it comes back as it is, with an outcome that passed.
    """
    outcome = play(scenario, seed=seed)
    if outcome.failure is None:
        return scenario, outcome
    shrinker = _Shrinker(seed, _promise(outcome.failure), most_runs, progress)
    candidates = _fewer_faults(scenario)
    while candidates and shrinker.may_try:
        candidate = candidates.pop(0)
        if (found := shrinker.fails(candidate)) is not None:
            scenario, outcome = candidate, found
            candidates = _fewer_faults(scenario)
    if scenario.chaos is not None:
        kept, at_once = struck(outcome), scenario

        def with_only(numbers: list[int]) -> Scenario:
            assert at_once.chaos is not None, "steps are left out later"
            chaos = msgspec.structs.replace(at_once.chaos, only=numbers)
            return msgspec.structs.replace(at_once, chaos=chaos)

        numbers, found = shrinker.fewest(kept, with_only)
        if found is not None:
            scenario, outcome = with_only(numbers), found
    whole = scenario
    steps, found = shrinker.fewest(list(scenario.steps), lambda left: _with_steps(whole, left))
    if found is not None:
        scenario, outcome = _with_steps(whole, steps), found
    return scenario, outcome


class _Shrinker:
    """Plays candidates, and counts."""

    def __init__(self, seed: int, promise: str, most_runs: int, progress: Callable[[int, int], None]) -> None:
        self._seed = seed
        self._promise = promise
        self._most_runs = most_runs
        self._progress = progress
        self._runs = 0

    @property
    def may_try(self) -> bool:
        return self._runs < self._most_runs

    def fails(self, candidate: Scenario) -> Outcome | None:
        """How it breaks the same promise, or None."""
        if not candidate.steps and candidate.chaos is None:
            return None
        try:
            # It is written to a file in the end: what would be a mistake there is no candidate.
            read_scenario(as_yaml(candidate, self._seed))
        except WrongScenario:
            return None
        self._runs += 1
        found = play(candidate, seed=self._seed)
        self._progress(self._runs, len(candidate.steps))
        return found if found.failure is not None and _promise(found.failure) == self._promise else None

    def fewest(
        self, items: list[_Item], scenario_of: Callable[[list[_Item]], Scenario]
    ) -> tuple[list[_Item], Outcome | None]:
        """So few of the items that the scenario made of them still fails, and how; None: all are needed."""
        outcome, many = None, max(1, len(items) // 2)
        while self.may_try and items:
            at, before = 0, len(items)
            while at < len(items) and self.may_try:
                fewer = items[:at] + items[at + many :]
                found = self.fails(scenario_of(fewer))
                if found is not None:
                    items, outcome = fewer, found
                else:
                    at += many
            if many == 1 and len(items) == before:
                break
            many = max(1, many // 2)
        return items, outcome


def _promise(failure: Failure) -> str:
    """The promise; of a step that failed without its number, which changes when others are left out."""
    return re.sub(r"^step \d+ ", "step ", failure.promise)


def _with_steps(scenario: Scenario, left: list[Step]) -> Scenario:
    """Numbered anew, as they will be in a file: what a step draws depends on its number."""
    steps = tuple(msgspec.structs.replace(step, number=number) for number, step in enumerate(left, start=1))
    return msgspec.structs.replace(scenario, steps=steps)


def struck(outcome: Outcome) -> list[int]:
    """The numbers of the random faults that came before it failed."""
    shown = [str(event.data["what"]) for event in outcome.events if event.kind == "scenario-step"]
    return [int(found[1]) for what in shown if (found := re.match(r"chaos (\d+): ", what))]


def _fewer_faults(scenario: Scenario) -> list[Scenario]:
    """The same scenario without its chaos, and with each kind of random fault left out."""
    if scenario.chaos is None:
        return []
    found = [msgspec.structs.replace(scenario, chaos=None)] if scenario.steps else []
    for verb in scenario.chaos.faults:
        faults = {name: weight for name, weight in scenario.chaos.faults.items() if name != verb}
        if faults:
            chaos = msgspec.structs.replace(scenario.chaos, faults=faults)
            found.append(msgspec.structs.replace(scenario, chaos=chaos))
    return found


def as_yaml(scenario: Scenario, seed: int, about: str = "") -> str:
    """A scenario as a file that can be played again."""
    head: dict[str, Any] = {"scenario": scenario.title, "version": 1, "seed": seed, "clock": scenario.clock}
    if about or scenario.about:
        head["about"] = about or scenario.about
    cluster = msgspec.to_builtins(scenario.cluster)
    if cluster:
        head["cluster"] = cluster
    if scenario.always or scenario.conditions:
        head["always"] = [*scenario.always, *(condition.text for condition in scenario.conditions)]
    if scenario.steps:
        head["steps"] = [_step(step) for step in scenario.steps]
    if scenario.chaos is not None:
        head["chaos"] = msgspec.to_builtins(scenario.chaos)
    return str(yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=100))


def _step(step: Step) -> dict[str, Any]:
    words = msgspec.to_builtins(msgspec.structs.replace(step, condition=None))
    kept = {word: words[word] for word in ("at", "for", "within", "name", "repeat", "in") if word in words}
    return {step.verb: msgspec.to_builtins(step.argument)} | kept
