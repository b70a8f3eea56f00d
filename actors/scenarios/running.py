"""Plays a scenario step by step, and tells how it went."""

from __future__ import annotations

import time
from random import Random, SystemRandom
from typing import Any

import msgspec

from ..system import Event
from .chaos import play_chaos
from .document import Mistake, WrongScenario
from .format import (
    ClusterSettings,
    Delay,
    Drain,
    Expectation,
    NewNode,
    Read,
    Rebalance,
    Repeat,
    Scenario,
    Shares,
    Step,
)
from .quantities import ns_of
from .simulation import Simulation
from .stage import CLUSTER, Door, ScenarioFailed
from .tracing import Messages, Sent

__all__ = ["Failure", "Interrupted", "Outcome", "check_outside", "play"]

TAIL = 12
"""So many events before a failure are told."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a scenario failed: what was promised, why it does not hold, when (ns), in which step, what came before."""

    promise: str
    reason: str
    t_ns: int
    step: str
    line: int
    column: int
    before: tuple[Event, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run went. Equal scenarios, seeds and versions of the program have equal digests on the virtual clock."""

    title: str
    file: str
    seed: int
    clock: str
    digest: str
    t_ns: int
    """How long it took on its own clock."""
    cpu_s: float
    events: tuple[Event, ...]
    failure: Failure | None
    messages: tuple[Sent, ...] = ()
    """Between nodes, where they were asked for."""
    not_watched: tuple[str, ...] = ()
    clock_of_file: str = "virtual"
    """What the scenario itself says."""
    url: str | None = None
    """Where the cluster runs, if it ran already."""
    not_mended: tuple[str, ...] = ()
    """What is still broken there, because it did not answer."""

    @property
    def passed(self) -> bool:
        return self.failure is None


class Interrupted(KeyboardInterrupt):
    """A run was ended by Ctrl-C or a signal: when (ns), in which step, where the cluster runs if it ran already, and
    what is still broken there. The cause is what ended it."""

    def __init__(self, t_ns: int, step: str, url: str | None, not_mended: tuple[str, ...]) -> None:
        super().__init__(f"ended at {t_ns / 1e9:.3f} s, {step}")
        self.t_ns = t_ns
        self.step = step
        self.url = url
        self.not_mended = not_mended


def play(
    scenario: Scenario,
    *,
    seed: int | None = None,
    clock: str | None = None,
    with_messages: bool = False,
    door: Door | None = None,
) -> Outcome:
    """Play it once. `seed` and `clock` override those of the scenario; without any a seed is drawn.

    With a `door` it is played on a cluster that runs already (see Stage). Raises WrongScenario for what cannot be done
    there, and Interrupted at Ctrl-C, when everything that was broken there has been mended."""
    if door is not None:
        check_outside(scenario)
        clock = "live"
    if seed is None:
        seed = scenario.seed if scenario.seed is not None else SystemRandom().getrandbits(32)
    return _Run(scenario, seed, clock or scenario.clock, with_messages, door).play()


_INSIDE = ("crash", "restart", "pause", "resume", "wipe", "disk", "clock")


def check_outside(scenario: Scenario) -> None:
    """Raise WrongScenario for verbs that reach into the program of the cluster."""
    why = "cannot be done to a cluster that runs already"
    wrong = [
        Mistake(file=scenario.file, line=step.line, column=step.column, message=f"{step.verb} {why}")
        for step in scenario.steps
        if step.verb in _INSIDE
    ]
    wrong += [
        Mistake(file=scenario.file, line=step.line, column=step.column, message=f"what is done in {step.in_} {why}")
        for step in scenario.steps
        if step.in_ not in (None, CLUSTER) and step.verb not in _INSIDE
    ]
    if scenario.chaos is not None and (inside := [verb for verb in scenario.chaos.faults if verb in _INSIDE]):
        wrong.append(Mistake(file=scenario.file, line=1, column=1, message=f"chaos: {', '.join(inside)} {why}"))
    if wrong:
        raise WrongScenario(wrong)


class _Run:
    """One run of one scenario."""

    def __init__(
        self, scenario: Scenario, seed: int, clock: str, with_messages: bool, door: Door | None
    ) -> None:
        self.door = door
        self.url: str | None = getattr(door, "url", None)
        self.with_messages = with_messages
        self.scenario = scenario
        self.seed = seed
        self.clock = clock
        self.step: Step | None = None

    def play(self) -> Outcome:
        began = time.process_time()
        always = tuple(name for name in self.scenario.always if name != "converges")
        sim = Simulation(
            seed=self.seed, clock=self.clock, always=always, cluster=self.scenario.cluster, door=self.door
        )
        messages = Messages(sim.system) if self.with_messages else None
        failure = None
        try:
            with sim:
                self._play_steps(sim)
        except ScenarioFailed as error:
            failure = self._failure(sim, error)
        except KeyboardInterrupt as error:
            where = "after the last step" if self.step is None else str(self.step)
            raise Interrupted(sim.now_ns, where, self.url, tuple(sim.not_mended())) from error
        except Exception as error:  # an actor crashed: the scenario has found a bug of the program
            error.add_note(f"while playing {self.scenario.file} with seed {self.seed}")
            failure = self._crashed(sim, error)
        return Outcome(
            title=self.scenario.title,
            file=self.scenario.file,
            seed=self.seed,
            clock=self.clock,
            digest=sim.digest(),
            t_ns=sim.now_ns,
            cpu_s=time.process_time() - began,
            events=tuple(sim.events),
            failure=failure,
            messages=() if messages is None else tuple(messages.sent),
            not_watched=tuple(sim.watch.not_watched),
            clock_of_file=self.scenario.clock,
            url=self.url,
            not_mended=tuple(sim.not_mended()),
        )

    def _play_steps(self, sim: Simulation) -> None:
        sim.emit("scenario-started", scenario=self.scenario.title, seed=self.seed, clock=self.clock)
        for condition in self.scenario.conditions:
            sim.always(condition)
        for step in self.scenario.steps:
            self.step = step
            self._play_step(sim, step)
        self.step = None
        if self.scenario.chaos is not None:
            play_chaos(sim, self.scenario.chaos)
        while sim._agenda:
            sim.pass_until(sim._agenda[0][0])
        if "converges" in self.scenario.always:
            sim.settle()
        sim.end()
        sim.emit("scenario-ended", passed=True)

    def _play_step(self, sim: Simulation, step: Step) -> None:
        # Each step has its own stream: what is drawn does not change when other steps are left out.
        sim.random = Random(f"scenario/{self.seed}/{step.number}")
        if step.at is not None:
            sim.pass_until(ns_of(step.at))
        repeat = step.repeat if isinstance(step.repeat, Repeat) else Repeat(times=step.repeat)
        for time_no in range(repeat.times):
            began_ns = sim.now_ns
            sim.emit("scenario-step", step=step.number, verb=step.verb, what=str(step))
            with sim.acting_in(step.in_ or sim.cluster):
                _carry_out(sim, step)
            if time_no + 1 == repeat.times:
                break
            if repeat.every is not None:
                sim.pass_until(began_ns + ns_of(repeat.every))
            elif step.for_ is not None:
                sim.pass_until(sim.now_ns + ns_of(step.for_))

    # -- when it fails

    def _failure(self, sim: Simulation, error: ScenarioFailed) -> Failure:
        broken = sim.watch.broken
        step = self.step
        where = "after the last step" if step is None else str(step)
        many = len(sim.events) if broken is None else broken.events
        return Failure(
            promise=where if broken is None else broken.promise,
            reason=str(error) if broken is None else broken.reason,
            t_ns=sim.now_ns if broken is None else broken.t_ns,
            step=where,
            line=0 if step is None else step.line,
            column=0 if step is None else step.column,
            before=tuple(sim.events[max(0, many - TAIL) : many]),
        )

    def _crashed(self, sim: Simulation, error: Exception) -> Failure:
        reason = f"{type(error).__name__}: {error}"
        failed = self._failure(sim, ScenarioFailed(reason))
        return msgspec.structs.replace(failed, promise="no actor crashes", reason=reason)


def _carry_out(sim: Simulation, step: Step) -> None:
    """The step's verb as a call of the method of that name."""
    verb, argument = step.verb, step.argument
    words: dict[str, Any] = {}
    if step.for_ is not None:
        words["for_"] = step.for_
    if step.within is not None:
        words["within"] = step.within
    match verb, argument:
        case "delay", Delay():
            sim.delay(argument.by, jitter=argument.jitter, links=argument.links, **words)
        case (("loss" | "duplicate" | "reorder"), Shares()):
            getattr(sim, verb)(argument.share, links=argument.links, **words)
        case "add", NewNode():
            sim.add(argument.name, capacity=argument.capacity, **words)
        case "drain", Drain():
            sim.drain(argument.of, max_parallel=argument.max_parallel, deadline=argument.deadline, **words)
        case "settings", ClusterSettings():
            sim.settings(preemption=argument.preemption)
        case "rebalance", Rebalance():
            sim.rebalance(argument.max_moves, max_parallel=argument.max_parallel, **words)
        case "read", Read():
            sim.read(argument.key, via=argument.via, **words)
        case (("disk" | "clock"), _):
            getattr(sim, verb)(**{name: value for name, value in _fields(argument) if value is not None}, **words)
        case (("eventually" | "never" | "expect"), _):
            wanted = argument if isinstance(argument, Expectation) else step.condition
            getattr(sim, verb)(wanted, **words)
        case _:
            getattr(sim, verb)(argument, **words)


def _fields(struct: msgspec.Struct) -> list[tuple[str, Any]]:
    return [(name, getattr(struct, name)) for name in struct.__struct_fields__]
