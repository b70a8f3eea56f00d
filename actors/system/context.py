"""The context: the only window through which an actor sees the world."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, MutableMapping
from math import ceil
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from .cell import Cell, Origin, State
from .messages import Restart
from .promise import Promise

if TYPE_CHECKING:
    from pykka._envelope import Envelope

    from .actor import Actor
    from .system import System

_logger = logging.getLogger("raftyard")


class Timer:
    """A message to come, from an actor to itself.

    It belongs to one incarnation: cancelled, or its actor crashed or stopped, it is never handled, even if it lies in
    the mailbox already.
    """

    __slots__ = ("_system", "cause", "cell", "incarnation", "is_waiting", "message")

    def __init__(self, context: Context, message: Any) -> None:
        self.cell = context.cell
        self.incarnation = context.incarnation
        self.message = message
        self.cause = context.cause
        self.is_waiting = True
        self._system = context.system

    def cancel(self) -> None:
        """Take the message back. Harmless when it was handled or cancelled before."""
        if self.is_waiting:
            self.is_waiting = False
            self.message = None
            self._system.timer_cancelled()

    def is_due(self) -> bool:
        """Whether it may be handled now: not cancelled, and its incarnation lives."""
        cell = self.cell
        return self.is_waiting and self.incarnation == cell.incarnation and cell.state is State.RUNNING


class WrongClock(msgspec.Struct, frozen=True, kw_only=True):
    """A clock that showed `shown_ns` at `since_ns`, and goes `rate` times as fast since."""

    since_ns: int
    shown_ns: int
    rate: float = 1.0

    def at(self, t_ns: int) -> int:
        """What it shows."""
        return self.shown_ns + round((t_ns - self.since_ns) * self.rate)

    def really(self, delay_ns: int) -> int:
        """How long it takes until it has moved so far."""
        # Rounded up: a timer that rang early by a fraction would find nothing due, and be set again for no time at all.
        return ceil(delay_ns / self.rate)


class ActorLog(logging.LoggerAdapter[logging.Logger]):
    """The logger `raftyard` with the actor's name in front."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Called only for lines that are really written."""
        return f"{self.extra['actor']}: {msg}" if self.extra else msg, kwargs


class Context(ABC):
    """What one incarnation of an actor may do. Used from inside its handlers only."""

    __slots__ = (
        "_log",
        "_random",
        "cause",
        "cell",
        "cells",
        "has_intake",
        "incarnation",
        "name",
        "origin",
        "system",
        "wrong",
    )
    wrong: WrongClock  # only in contexts whose class is that of wrong clocks

    def __init__(self, system: System, cell: Cell, cells: dict[str, Cell]) -> None:
        self.name = cell.name
        self.incarnation = cell.incarnation
        self.system = system
        self.cell = cell
        self.cells = cells
        self.has_intake = cell.has_intake
        self.cause: int | None = None  # seq of the newest event of the chain of handlers that led here
        self.origin: Origin = cell.name  # goes with every message as its sender; while tracing a pair
        self._random: Random | None = None
        self._log: ActorLog | None = None

    # -- time and chance

    def now_ns(self) -> int:
        """Nanoseconds since the system started: monotonic live, exact in virtual time."""
        return self.system.now_ns

    def now(self) -> float:
        """Seconds since the system started."""
        return self.now_ns() / 1e9

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 in UTC: what the calendar says, and nothing to measure time with. It may jump where
        time is real; in virtual time it goes on from where the system was told to begin."""
        return self.system.wall_ns

    @property
    def random(self) -> Random:
        """A random stream of this incarnation alone: no other actor's draws change it."""
        if self._random is None:
            self._random = Random(f"{self.system.seed}/{self.name}/{self.incarnation}")
        return self._random

    @property
    def log(self) -> ActorLog:
        """Standard logging under the name `raftyard`; the program that embeds us decides where it goes."""
        if self._log is None:
            self._log = ActorLog(_logger, {"actor": self.name})
        return self._log

    # -- messages

    @abstractmethod
    def send(self, to: str, message: Any) -> None:
        """Send by name. Never raises, never blocks; a message that cannot arrive is counted as a dead letter."""

    def deliver(self, delay_ns: int, to: str, message: Any, valid: Callable[[], bool] | None = None) -> None:
        """Put a message into another's mailbox after a delay; 0 is at once.

        `valid` is asked on arrival; False makes it a dead letter, "link-cut". It is never asked while a handler or the
        intake of this actor runs in another thread if the actor overrides `intake`.
        """
        arrival = (to, message, valid, self.cell, self.origin, self.cause)
        if delay_ns <= 0:
            self.system.arrive(arrival)
        else:
            self.system.schedule(self.system.now_ns + delay_ns, arrival)

    def after(self, delay_s: float, message: Any) -> Timer:
        """Send a message to itself after `delay_s` seconds, rounded once to nanoseconds."""
        return self.after_ns(round(delay_s * 1e9), message)

    def after_ns(self, delay_ns: int, message: Any) -> Timer:
        """Send a message to itself after `delay_ns` nanoseconds."""
        timer = Timer(self, message)
        if delay_ns <= 0:
            self.system.fire(timer)
        else:
            self.system.schedule(self.now_ns() + delay_ns, timer)
        return timer

    def promise(self) -> Promise:
        """An answer to give later: return it from the handler, settle it in another one."""
        return Promise()

    # -- other actors

    def spawn(
        self,
        cls: type[Actor],
        name: str,
        *args: Any,
        parent: str | None = None,
        restart: Restart = Restart(),  # noqa: B008 (frozen)
        **kwargs: Any,
    ) -> None:
        """Start an actor, as a child of this one or of `parent`.

        Children are stopped before their parent is stopped or restarted. Raises NameTaken, NoSuchActor (parent), and
        what the class raises when it is made.
        """
        self.system.start_actor(cls, name, args, kwargs, restart, self.name if parent is None else parent)

    def stop(self, name: str | None = None) -> None:
        """Stop an actor (None: this one) after the messages that wait already; its children first, newest first."""
        self.system.request_stop(self.name if name is None else name)

    def watch(self, name: str) -> None:
        """Have `Terminated` sent to this actor whenever that one ends."""
        self.system.add_watch(self.name, name)

    def is_alive(self, name: str) -> bool:
        """Whether an actor of this name takes messages now."""
        cell = self.cells.get(name)
        return cell is not None and cell.state is State.RUNNING

    def emit(
        self,
        kind: str,
        *,
        cluster: str | None = None,
        node: str | None = None,
        term: int | None = None,
        **data: Any,
    ) -> None:
        """Write one line of the event log; messages sent from here on carry it as their cause."""
        self.cause = self.system.events.emit(
            kind, cluster=cluster, node=node, term=term, cause=self.cause, **data
        )

    # -- for Pykka's references (pykka_bridge.py)

    @property
    def is_current(self) -> bool:
        """Whether this incarnation lives."""
        return self.cell.incarnation == self.incarnation and self.cell.state is State.RUNNING

    @property
    def depth(self) -> int:
        """Messages that wait."""
        return self.cell.waiting

    def put_envelope(self, envelope: Envelope[Any]) -> None:
        """Queue a Pykka envelope."""
        self.system.put_envelope(self, envelope)

    def wait_outside(self, promise: Promise, timeout_s: float | None) -> None:
        """Make sure that a wait for `promise` can end: run virtual time, refuse inside handlers."""
        self.system.await_promise(promise, timeout_s)
