"""The system: names, supervision, watching, asking; all that live and virtual running have in common.

# General layout: a System knows Cells by name (cell.py). Messages are put into a cell's mailbox by `_deliver_to` (the
# slow, complete way) or by `Context.send` of live.py and virtual.py (the common case, written out), and taken out by
# the loops of those two files, which leave everything that is not an ordinary message to `_handle`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import Lock, RLock
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import pykka
from pykka._envelope import Envelope

from .actor import Actor
from .cell import REFUSE, Cell, Control, Item, Origin, State
from .context import Context, Timer, WrongClock
from .errors import ActorCrashed, ActorError, MailboxFull, NameTaken, NoSuchActor, SystemClosed
from .events import EventLog
from .messages import Restart, Statistics, Terminated, Traced
from .promise import Promise
from .pykka_bridge import Reply

_logger = logging.getLogger("raftyard")

# to, message, valid, the sender's cell, who sent it, the event that led to it
Arrival: TypeAlias = tuple[str, Any, "Callable[[], bool] | None", Cell, Origin, "int | None"]
# What lies in the heap of times: a timer, a message on its way, or something that the system itself does then.
Scheduled: TypeAlias = "Timer | Arrival | Callable[[], None]"
Number: TypeAlias = "int | float | str"


_HELD = (Control.OFFER, Control.PYKKA)  # controls that carry somebody's message
_WINDING_DOWN = (State.STOPPING, State.RESTARTING, State.ENDING)


class System(ABC):
    """Runs actors. Use `Live` or `Virtual`, as a context manager or with `close`.

    Several may live in one process: nothing here is global, logging and signals are left alone.
    """

    def __init__(self, seed: int, events: int) -> None:
        self.seed = seed
        self.events = EventLog(lambda: self.now_ns, events)
        self.dead_letters: dict[str, int] = {}
        """Messages that nobody handled, by reason: dead, link-cut, mailbox-full, stale-timer."""
        self.dead_letter_watchers: list[Callable[[str, str, Any], None]] = []
        """Called with reason, name and message for every dead letter; must be quick."""
        self._cells: dict[str, Cell] = {}
        # Of ended names, so that a name's incarnations never repeat.
        self._last_incarnations: dict[str, int] = {}
        self._started = 0
        self._lock = RLock()  # the tree of actors: who exists, whose child, who watches
        self._count_lock = Lock()
        self._is_closed = False
        self._trace: Callable[[Traced], None] | None = None
        self._traced = 0
        self._wrong_clocks: dict[str, WrongClock] = {}

    # -- what a clock supplies

    wrong_context: type[Context]
    """Of actors whose clock is wrong."""

    @property
    @abstractmethod
    def now_ns(self) -> int:
        """Nanoseconds since the system started."""

    @property
    @abstractmethod
    def wall_ns(self) -> int:
        """Nanoseconds since 1970 in UTC, as the calendar has it; not monotonic where time is real."""

    @abstractmethod
    def schedule(self, t_ns: int, thing: Scheduled) -> None:
        """Have `thing` happen at `t_ns`. For contexts; actors use `after` and `deliver`."""

    @abstractmethod
    def timer_cancelled(self) -> None:
        """Called by a timer that is cancelled; its place in the heap is empty now."""

    @abstractmethod
    def await_promise(self, promise: Promise, timeout_s: float | None) -> None:
        """Return when `promise` is settled, raise pykka.Timeout; AskInHandler inside a handler."""

    @abstractmethod
    def ask(self, name: str, message: Any, timeout_s: float = 5.0) -> Any:
        """Send a message from outside and wait for the answer, `timeout_s` seconds of the system's clock at most.

        Raises AskTimeout, NoSuchActor, MailboxFull, ActorCrashed, SystemClosed, the error of a failed promise, and
        AskInHandler when called by an actor.
        """

    @abstractmethod
    async def ask_async(self, name: str, message: Any, timeout_s: float = 5.0) -> Any:
        """As `ask`, for asyncio: the event loop goes on meanwhile."""

    @abstractmethod
    def close(self, timeout_s: float = 5.0) -> None:
        """Stop all actors, the newest first, and leave nothing running. A second call does nothing."""

    @abstractmethod
    def _wake(self, cell: Cell) -> None:
        """An item was put into the cell's mailbox: see that the cell gets its turn."""

    @abstractmethod
    def _make_context(self, cell: Cell) -> Context:
        """The context of a new incarnation."""

    def _prepare(self, cell: Cell) -> None:
        """A cell is made, without an actor yet; nothing to do by default."""

    def _launched(self, cell: Cell) -> None:
        """A cell can be found by its name now; nothing to do by default."""

    def _ended(self, cell: Cell) -> None:
        """A cell has ended; nothing to do by default."""

    # -- from outside

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def spawn(
        self,
        cls: type[Actor],
        name: str,
        *args: Any,
        parent: str | None = None,
        restart: Restart = Restart(),  # noqa: B008 (frozen)
        **kwargs: Any,
    ) -> None:
        """Start `cls(*args, **kwargs)` under a name; a crash makes it anew with the same arguments.

        Raises NameTaken, NoSuchActor (parent), SystemClosed, and what the class raises when it is made.
        """
        self.start_actor(cls, name, args, kwargs, restart, parent)

    def send(self, name: str, message: Any) -> None:
        """Send a message from outside. Never raises, never blocks; what cannot arrive is counted."""
        self._deliver_to(name, message, None, None)

    def ask_later(self, name: str, message: Any) -> Promise:
        """As `ask`, without waiting: the promise of the answer. Raises NoSuchActor, MailboxFull, SystemClosed."""
        return self._post_ask(name, message)

    def stop(self, name: str) -> None:
        """Stop an actor after the messages that wait already, its children before it. Raises NoSuchActor."""
        if name not in self._cells:
            raise NoSuchActor(name)
        self.request_stop(name)

    def crash(self, name: str) -> None:
        """Crash an actor as if its handler had raised, for tests and chaos. Raises NoSuchActor."""
        self._strike(name, ActorError(f"{name!r} was crashed on purpose"))

    def kill(self, name: str) -> None:
        """Crash an actor and do not restart it. Raises NoSuchActor."""
        cell = self._cells.get(name)
        if cell is not None:
            cell.restart = Restart.never()
        self._strike(name, ActorError(f"{name!r} was killed on purpose"))

    def pause(self, name: str) -> None:
        """Keep an actor from handling anything until `resume`, as when a process is stopped: messages, asks and timers
        wait, as many as its mailbox holds. A restart ends the pause. Raises NoSuchActor."""
        self._tell_control(name, Control.PAUSE, first=True)

    def resume(self, name: str) -> None:
        """Let a paused actor go on with what waited, in its order. Raises NoSuchActor."""
        # In its turn, so that it never overtakes the pause.
        self._tell_control(name, Control.RESUME, first=False)

    def set_clock(self, name: str, *, leap_ns: int = 0, rate: float = 1.0) -> None:
        """Let an actor's clock leap forwards now, and go `rate` times as fast from now on; its later incarnations have
        the same clock, and so has one that is only spawned later. Timers that run already ring when they would have.

        For tests and chaos. Nobody else's time changes; the event log and statistics keep to the system's."""
        if leap_ns < 0 or rate <= 0:
            raise ValueError("an actor's clock never goes back and never stands still")
        old, now_ns = self._wrong_clocks.get(name), self.now_ns
        shown_ns = (now_ns if old is None else old.at(now_ns)) + leap_ns
        self._wrong_clocks[name] = WrongClock(since_ns=now_ns, shown_ns=shown_ns, rate=rate)
        cell = self._cells.get(name)
        context = getattr(cell, "context", None)  # it has none before its first incarnation
        if context is not None:
            self._make_wrong(context)

    def _make_wrong(self, context: Context) -> None:
        context.wrong = self._wrong_clocks[context.name]
        context.__class__ = self.wrong_context

    def peek(self, name: str) -> Actor | None:
        """The actor behind a name, for checkers that look inside without a message; None where none has started.

        Look only: and on the live clock only at what its threads do not change.
        """
        cell = self._cells.get(name)
        return None if cell is None or cell.refuses or not cell.has_started else cell.actor

    def _tell_control(self, name: str, control: Control, *, first: bool) -> None:
        cell = self._cells.get(name)
        if cell is None:
            raise NoSuchActor(name)
        self._post_control(cell, control, first=first)

    def names(self) -> tuple[str, ...]:
        """The names of all actors, in order of start."""
        with self._lock:
            return tuple(self._cells)

    def is_alive(self, name: str) -> bool:
        """Whether an actor of this name takes messages now."""
        cell = self._cells.get(name)
        return cell is not None and cell.state is State.RUNNING

    def ref(self, name: str) -> pykka.ActorRef[Any]:
        """A Pykka reference to the actor's present incarnation, for `tell`, `ask` and `proxy`. Raises NoSuchActor."""
        cell = self._cells.get(name)
        if cell is None or cell.state is not State.RUNNING:
            raise NoSuchActor(name)
        return cell.actor.actor_ref

    def statistics(self) -> dict[str, Number | dict[str, int]]:
        """Counters of the whole system: actors, waiting, handled, dropped, crashes, slow handlers, dead letters."""
        with self._lock:
            cells = tuple(self._cells.values())
        return {
            "actors": len(cells),
            "waiting": sum(cell.waiting for cell in cells),
            "handled": sum(cell.handled for cell in cells),
            "dropped": sum(cell.dropped for cell in cells),
            "crashes": sum(cell.crashes for cell in cells),
            "slow_handlers": sum(cell.slow for cell in cells),
            "events": self.events.last_seq,
            "dead_letters": dict(self.dead_letters),
        }

    def trace(self, sink: Callable[[Traced], None] | None) -> None:
        """Call `sink` before every handled message; None ends it. Costs nothing while it is off."""
        self._trace = sink

    # -- starting

    def start_actor(
        self,
        cls: type[Actor],
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        restart: Restart,
        parent_name: str | None,
    ) -> None:
        """`spawn`, with its arguments as they are."""
        with self._lock:
            parent = self._check_place(name, parent_name)
            cell = Cell(
                name, self._started, cls, args, kwargs, restart, parent, cls.intake is not Actor.intake
            )
            cell.incarnation = self._last_incarnations.get(name, 0)
            self._started += 1
        self._prepare(cell)
        self._embody(cell)  # without the lock: what the class does when it is made is its own affair
        with self._lock:
            cell.parent = parent = self._check_place(name, parent_name)
            cell.mailbox.append((None, None, None, Control.START))  # before anybody can find the cell
            self._cells[name] = cell
            self._last_incarnations.pop(name, None)
            if parent is not None:
                parent.children = parent.children or {}
                parent.children[name] = cell
        self._launched(cell)
        self._wake(cell)

    def _check_place(self, name: str, parent_name: str | None) -> Cell | None:
        """Whether an actor can be started under this name and parent; the parent's cell."""
        if self._is_closed:
            raise SystemClosed
        if name in self._cells:
            raise NameTaken(name)
        if parent_name is None:
            return None
        parent = self._cells.get(parent_name)
        if parent is None:
            raise NoSuchActor(parent_name)
        # While it has others it will look for children to end again: their wires may come and go until then.
        if parent.state in (State.STOPPING, State.ENDING) and not parent.children:
            raise NoSuchActor(parent_name, "it is about to end, and nothing is started under it")
        return parent

    def _embody(self, cell: Cell) -> None:
        """Make the actor of a cell's next incarnation; raises what the class raises."""
        actor = cell.cls(*cell.args, **cell.kwargs)
        cell.incarnation += 1
        actor.context = cell.context = self._make_context(cell)
        if cell.name in self._wrong_clocks:
            self._make_wrong(cell.context)
        cell.actor = actor
        cell.receive = actor.on_receive if cell.lock is None else self._locked(cell, actor)
        cell.intake = actor.intake if cell.has_intake else None
        cell.state = State.RUNNING
        cell.bound = cell.capacity

    @staticmethod
    def _locked(cell: Cell, actor: Actor) -> Callable[[Any], Any]:
        lock, on_receive = cell.lock, actor.on_receive
        assert lock is not None

        def receive(message: Any) -> Any:
            with lock:
                return on_receive(message)

        return receive

    # -- putting messages into mailboxes

    def _deliver_to(
        self, to: str, message: Any, origin: Origin, cause: int | None, from_intake: bool = False
    ) -> None:
        """The complete way of a message from anywhere: intake, bound, dead letters."""
        cell = self._cells.get(to)
        if cell is None or cell.refuses:
            self._dead_letter("dead", to, message)
        elif cell.intake is None:
            self._enqueue(cell, (message, origin, cause, None))
        elif from_intake:
            # Two such actors that send to each other would each hold its own lock and wait for the other's.
            self._enqueue(cell, (message, origin, cause, Control.OFFER))
        elif not self._offer(cell, message, origin, cause):
            self._enqueue(cell, (message, origin, cause, None))

    def _offer(self, cell: Cell, message: Any, origin: Origin, cause: int | None) -> bool:
        """Whether the actor's intake consumed the message."""
        if cell.lock is None:
            return self._offer_now(cell, message, origin, cause)
        with cell.lock:
            return self._offer_now(cell, message, origin, cause)

    def _offer_now(self, cell: Cell, message: Any, origin: Origin, cause: int | None) -> bool:
        intake, context = cell.intake, cell.context
        if intake is None:
            return False
        before, context.cause = context.cause, cause
        if type(origin) is tuple:  # being traced: what the intake sends has the same cause
            context.origin = (cell.name, origin[1])
        try:
            return intake(message)
        except Exception as error:
            return self._crashed_in_intake(cell, message, error)
        finally:
            context.cause, context.origin = before, cell.name

    def _crashed_in_intake(self, cell: Cell, message: Any, error: Exception) -> bool:
        """A crash of this actor, not of the sender; the message is gone, so it counts as consumed."""
        self._post_control(cell, Control.CRASH, error, first=True)
        self._dead_letter("dead", cell.name, message)
        return True

    def _enqueue(self, cell: Cell, item: Item) -> None:
        """Queue an ordinary item, within the bound."""
        held = cell.held
        bound = cell.bound if held is None else cell.capacity - len(held)
        if len(cell.mailbox) >= bound and not self._make_room(cell):
            with self._count_lock:
                cell.dropped += 1
            self._dead_letter("dead" if cell.refuses else "mailbox-full", cell.name, item[0])
            return
        cell.mailbox.append(item)
        self._wake(cell)

    def _make_room(self, cell: Cell) -> bool:
        """Drop the oldest ordinary message, if that is this actor's way. Controls, timers and asks stay."""
        if cell.refuses:
            return False
        drops_old = cell.cls.overflow == "drop_old"
        # Looked at anew: it may have been paused or resumed just now. Of what it keeps, its own turn drops the oldest.
        if (len(cell.mailbox) if drops_old else cell.waiting) < cell.capacity:
            return True
        if not drops_old or cell.capacity < 1:
            return False
        kept: list[Item] = []
        try:
            while (item := cell.mailbox.popleft())[3] is not None:
                kept.append(item)
        except IndexError:  # nothing but controls, or the actor took the rest meanwhile
            return True
        finally:
            cell.mailbox.extendleft(reversed(kept))
        with self._count_lock:
            cell.dropped += 1
        self._dead_letter("mailbox-full", cell.name, item[0])
        return True

    def _post_control(
        self, cell: Cell, control: Control, message: Any = None, *, first: bool = False
    ) -> None:
        """Queue a control, whatever the bound."""
        item: Item = (message, None, None, control)
        if first:
            cell.mailbox.appendleft(item)
        else:
            cell.mailbox.append(item)
        self._wake(cell)

    def _post_ask(self, name: str, message: Any) -> Promise:
        """Queue a message from outside whose answer settles the promise. Raises NoSuchActor, MailboxFull."""
        if self._is_closed:
            raise SystemClosed
        cell = self._cells.get(name)
        if cell is None:
            raise NoSuchActor(name)
        if cell.refuses and (cell.state is not State.RESTARTING or cell.restart.delay_s > 0):
            raise self._no_answer(cell)
        if cell.waiting >= cell.capacity:  # not `bound`: one that is just restarting answers in a moment
            with self._count_lock:
                cell.dropped += 1
            raise MailboxFull(name, cell.capacity)
        promise = Promise()
        cell.mailbox.append((message, None, None, promise))
        self._wake(cell)
        return promise

    def put_envelope(self, context: Context, envelope: Envelope[Any]) -> None:
        """Queue what a Pykka reference sends."""
        cell = context.cell
        if isinstance(envelope.reply_to, Reply):
            promise = envelope.reply_to.attach(context)
            if not context.is_current:
                promise.fail(pykka.ActorDeadError(f"{context.name} has ended"))
                return
            cell.mailbox.append((envelope, None, None, promise))
        else:
            cell.mailbox.append((envelope, None, None, Control.PYKKA))
        self._wake(cell)

    def arrive(self, arrival: Arrival) -> None:
        """A message that `Context.deliver` sent on its way is there."""
        to, message, valid, sender, origin, cause = arrival
        if valid is not None and not self._is_valid(valid, sender):
            self._dead_letter("link-cut", to, message)
            return
        cell = self._cells.get(to)
        if cell is None or cell.refuses:
            self._dead_letter("dead", to, message)
        else:
            self._enqueue(cell, (message, origin, cause, None))

    @staticmethod
    def _is_valid(valid: Callable[[], bool], sender: Cell) -> bool:
        if sender.lock is None:
            return valid()
        with sender.lock:
            return valid()

    def fire(self, timer: Timer) -> None:
        """A timer's time has come: its message goes into the mailbox, whatever the bound."""
        cell = timer.cell
        if timer.is_waiting and timer.incarnation == cell.incarnation and cell.state is State.RUNNING:
            cell.mailbox.append((timer.message, cell.name, timer.cause, timer))
            self._wake(cell)
        elif timer.is_waiting:
            self._dead_letter("stale-timer", timer.cell.name, timer.message)

    def _dead_letter(self, reason: str, to: str, message: Any) -> None:
        with self._count_lock:
            self.dead_letters[reason] = self.dead_letters.get(reason, 0) + 1
        for watcher in self.dead_letter_watchers:
            try:
                watcher(reason, to, message)
            except Exception:  # a send never raises
                _logger.exception("a dead letter watcher failed")

    # -- handling what was taken out

    def _handle(self, cell: Cell, item: Item) -> None:
        """Handle one item of any kind, in the cell's turn. Never raises (but see Virtual's raise_crashes)."""
        message, _, cause, via = item
        if cell.held is not None and (not isinstance(via, Control) or via in _HELD):
            self._keep(cell, cell.held, item)
            return
        cell.context.cause = cause
        if via is None:
            self._tell(cell, message)
        elif isinstance(via, Timer):
            self._tell_timer(cell, via)
        elif isinstance(via, Promise):
            self._answer(cell, message, via)
        else:
            self._control(cell, item, via)

    def _tell(self, cell: Cell, message: Any) -> None:
        if cell.bound < 0:
            self._dead_letter("dead", cell.name, message)
            return
        cell.handled += 1
        try:
            cell.receive(message)
        except BaseException as error:  # also KeyboardInterrupt: one handler must not end the others
            self._crashed(cell, error)

    def _tell_timer(self, cell: Cell, timer: Timer) -> None:
        if timer.is_due():
            timer.is_waiting = False
            self._tell(cell, timer.message)
        elif timer.is_waiting:
            self._dead_letter("stale-timer", cell.name, timer.message)

    def _answer(self, cell: Cell, message: Any, promise: Promise) -> None:
        if cell.bound < 0:
            promise.fail(self._no_answer(cell))
            return
        cell.handled += 1
        try:
            result = self._result(cell, message)
        except BaseException as error:
            try:
                self._crashed(cell, error)
            finally:  # after the restart, so that who asks again at once finds the new one
                promise.fail(ActorCrashed(cell.name, error))
            return
        if isinstance(result, Promise):
            self._answer_later(cell, result, promise)
        else:
            promise.keep(result)

    @staticmethod
    def _no_answer(cell: Cell) -> ActorError:
        """Why a cell without a running actor does not answer."""
        return ActorCrashed(cell.name) if cell.state is State.RESTARTING else NoSuchActor(cell.name)

    def _result(self, cell: Cell, message: Any) -> Any:
        if isinstance(message, Statistics):
            return self._statistics_of(cell)
        if isinstance(message, Envelope):
            if isinstance(message.message, pykka.messages._ActorStop):
                return self._begin_stop(cell)
            return cell.actor._handle_receive(message.message)
        return cell.receive(message)

    @staticmethod
    def _answer_later(cell: Cell, result: Promise, promise: Promise) -> None:
        """Settle the ask as `result` is, or as failed when the actor ends before."""
        asks = cell.open_asks = {} if cell.open_asks is None else cell.open_asks
        asks[promise] = None
        promise.on_settled(lambda done: asks.pop(done, None))
        promise.follow(result)

    def _statistics_of(self, cell: Cell) -> dict[str, Number]:
        return {
            "class": cell.cls.__name__,
            "incarnation": cell.incarnation,
            "waiting": cell.waiting,
            "handled": cell.handled,
            "dropped": cell.dropped,
            "crashes": cell.crashes,
            "slow_handlers": cell.slow,
            **cell.actor.statistics(),
        }

    def _control(self, cell: Cell, item: Item, control: Control) -> None:
        match control:
            case Control.START:
                if cell.state is State.RUNNING:
                    self._start(cell)
            case Control.STOP:
                self._begin_stop(cell)
            case Control.CRASH:
                if cell.state is State.RUNNING:
                    self._crashed(cell, item[0], on_purpose=isinstance(item[0], ActorError))
                elif cell.state is State.RESTARTING and cell.restart.limit == 0:  # killed meanwhile
                    self._give_up(cell, "gave-up")
            case Control.WIND_DOWN:
                if cell.state in _WINDING_DOWN:
                    self._wind_down(cell)
            case Control.RESTART:
                if cell.state is State.RESTARTING:
                    self._reincarnate(cell)
            case Control.OFFER:
                if cell.bound < 0 or not self._offer(cell, item[0], item[1], item[2]):
                    self._tell(cell, item[0])
            case Control.PYKKA:
                self._tell_pykka(cell, item[0])
            case Control.PAUSE:
                if cell.state is State.RUNNING and cell.held is None:
                    self._hold(cell)
            case Control.RESUME:
                if cell.held is not None:
                    self._let_go(cell)

    @staticmethod
    def _hold(cell: Cell) -> None:
        """It refuses, so that every message comes the complete way, where it is seen that the actor is only paused."""
        cell.held, cell.bound = [], REFUSE

    def _keep(self, cell: Cell, held: list[Item], item: Item) -> None:
        """What comes to a paused actor waits; where the old is dropped, no more of it than the mailbox holds."""
        held.append(item)
        if item[3] is None and len(held) > cell.capacity and cell.cls.overflow == "drop_old":
            oldest = held.pop(next(i for i, kept in enumerate(held) if kept[3] is None))
            with self._count_lock:
                cell.dropped += 1
            self._dead_letter("mailbox-full", cell.name, oldest[0])

    def _let_go(self, cell: Cell) -> None:
        # The bound before it holds no more: who sends at this moment must find one or the other.
        cell.bound = cell.capacity
        held, cell.held = cell.held or [], None
        cell.mailbox.extendleft(reversed(held))
        for _ in held:
            self._wake(cell)

    def _run_hook(self, cell: Cell, hook: Callable[[], object]) -> bool:
        """Call what is no ordinary handler, by the same rules; False when it crashed."""
        try:
            hook()
        except BaseException as error:
            self._crashed(cell, error)
            return False
        return True

    def _tell_pykka(self, cell: Cell, envelope: Envelope[Any]) -> None:
        if isinstance(envelope.message, pykka.messages._ActorStop):
            self._begin_stop(cell)
        else:
            handle = cell.actor._handle_receive
            self._run_hook(cell, lambda: handle(envelope.message))

    # -- crashes and restarts

    def _strike(self, name: str, error: ActorError) -> None:
        cell = self._cells.get(name)
        if cell is None:
            raise NoSuchActor(name)
        self._post_control(cell, Control.CRASH, error, first=True)

    def _crashed(self, cell: Cell, error: BaseException, *, on_purpose: bool = False) -> None:
        """An incarnation ended by an exception: say so once, then restart it or give it up."""
        if cell.state is not State.RUNNING:
            return
        self._shut(cell, State.RESTARTING)
        self._log_crash(cell, error, with_trace=not on_purpose)
        self._tell_failure(cell, error)
        self._empty(cell, ActorCrashed(cell.name, error))
        self._decide_restart(cell)

    def _decide_restart(self, cell: Cell) -> None:
        cell.crashes += 1
        if self._may_restart(cell):
            self._tell_watchers(cell, "crashed")
        else:
            cell.state, cell.end = State.ENDING, "gave-up"
        self._wind_down(cell)

    @staticmethod
    def _log_crash(cell: Cell, error: BaseException, *, with_trace: bool) -> None:
        _logger.error(
            "actor crashed name=%s class=%s incarnation=%d error=%s: %s",
            *(cell.name, cell.cls.__name__, cell.incarnation, type(error).__name__, error),
            exc_info=error if with_trace else None,
        )

    def _may_restart(self, cell: Cell) -> bool:
        """Whether one more crash is within the limit; remembers it."""
        now = self.now_ns
        since = now - round(cell.restart.within_s * 1e9)
        cell.crash_times = (*(t for t in cell.crash_times if t > since), now)
        return len(cell.crash_times) <= cell.restart.limit and not self._is_closed

    @staticmethod
    def _shut(cell: Cell, state: State) -> None:
        """From now on the cell takes only controls."""
        cell.state = state
        cell.bound = REFUSE
        cell.intake = None
        if cell.held is not None:  # it ends paused: what it kept ends with it
            cell.mailbox.extendleft(reversed(cell.held))
            cell.held = None

    def _tell_failure(self, cell: Cell, error: BaseException) -> None:
        """Call the actor's `on_failure` (Pykka's name), so that it can let go of files and sockets."""
        try:
            cell.actor.on_failure(type(error), error, error.__traceback__)
        except BaseException:  # also SystemExit: the thread is everybody's
            _logger.exception("on_failure failed name=%s", cell.name)

    def _empty(self, cell: Cell, error: ActorError) -> None:
        """Throw away what waits, failing the asks; controls that concern the cell's end stay."""
        kept: list[Item] = []
        while cell.mailbox:
            item = cell.mailbox.popleft()
            via = item[3]
            if isinstance(via, Promise):
                via.fail(error)
            elif via in (Control.STOP, Control.WIND_DOWN):
                kept.append(item)
            elif via is None or via is Control.OFFER:
                self._dead_letter("dead", cell.name, item[0])
            elif isinstance(via, Timer) and via.is_waiting:
                self._dead_letter("stale-timer", cell.name, item[0])
        if kept:
            cell.mailbox.extend(kept)
            self._wake(cell)
        asks, cell.open_asks = cell.open_asks, None
        for promise in tuple(asks or ()):
            promise.fail(error)

    def _reincarnate(self, cell: Cell) -> None:
        """Make the actor anew and start it; failing to is one more crash."""
        cell.has_started = False
        try:
            self._embody(cell)
        except BaseException as error:
            self._log_crash(cell, error, with_trace=True)
            self._decide_restart(cell)
            return
        _logger.info("actor restarted name=%s incarnation=%d", cell.name, cell.incarnation)
        self._start(cell)

    def _start(self, cell: Cell) -> None:
        if self._run_hook(cell, cell.actor.on_start):
            cell.has_started = True

    # -- stopping

    def request_stop(self, name: str) -> None:
        """Ask an actor to stop; nobody of that name is fine."""
        cell = self._cells.get(name)
        if cell is not None:
            self._post_control(cell, Control.STOP)

    def _begin_stop(self, cell: Cell) -> None:
        if cell.state is State.RUNNING:
            self._shut(cell, State.STOPPING)
            self._empty(cell, NoSuchActor(cell.name))
            self._wind_down(cell)
        elif cell.state is State.RESTARTING:
            self._give_up(cell, "stopped")

    def _give_up(self, cell: Cell, end: Literal["stopped", "gave-up"]) -> None:
        """Between two incarnations: there is no actor to tell."""
        cell.state, cell.end = State.ENDING, end
        self._wind_down(cell)

    def _wind_down(self, cell: Cell) -> None:
        """End the children, the newest first and one after the other; then go on as the cell's state says."""
        with self._lock:
            child = next(reversed(cell.children.values())) if cell.children else None
        if child is not None:
            self._post_control(child, Control.STOP)
        elif cell.state is State.STOPPING:
            self._stop_now(cell)
        elif cell.state is State.ENDING:
            self._end(cell)
        elif cell.restart.delay_s > 0:
            at = self.now_ns + round(cell.restart.delay_s * 1e9)
            self.schedule(at, lambda: self._post_control(cell, Control.RESTART))
        elif cell.has_started:
            self._reincarnate(cell)
        else:  # in a turn of its own: one that never starts may be allowed a thousand times
            self._post_control(cell, Control.RESTART, first=True)

    def _stop_now(self, cell: Cell) -> None:
        try:
            cell.actor.on_stop()
        except BaseException as error:
            cell.crashes += 1
            self._log_crash(cell, error, with_trace=True)
        self._end(cell)

    def _escalate(self, cell: Cell) -> None:
        """A parent whose child was given up crashes in its turn, unless the child was never to be restarted."""
        _logger.error("actor given up name=%s crashes=%d", cell.name, cell.crashes)
        if cell.parent is not None and cell.restart.limit > 0:
            error = ActorError(f"its child {cell.name!r} crashed too often and was given up")
            self._post_control(cell.parent, Control.CRASH, error)

    def _end(self, cell: Cell) -> None:
        """The cell is over: forget the name, tell those who wait for it."""
        with self._lock:
            cell.state = State.ENDED
            self._cells.pop(cell.name, None)
            self._last_incarnations[cell.name] = cell.incarnation
            parent = cell.parent
            if parent is not None and parent.children is not None:
                parent.children.pop(cell.name, None)
            self._forget_watches(cell)
        self._empty(cell, NoSuchActor(cell.name))
        self._tell_watchers(cell, cell.end)
        self._ended(cell)
        if cell.end == "gave-up":
            self._escalate(cell)
        if parent is not None and parent.state in _WINDING_DOWN:
            self._post_control(parent, Control.WIND_DOWN)

    # -- watching

    def add_watch(self, watcher: str, name: str) -> None:
        """`Context.watch`."""
        with self._lock:
            cell = self._cells.get(name)
            if cell is not None:
                cell.watchers = cell.watchers or {}
                cell.watchers[watcher] = None
                if (mine := self._cells.get(watcher)) is not None:
                    mine.watching = mine.watching or {}
                    mine.watching[name] = None
                return
        self._notify(
            watcher,
            Terminated(name=name, incarnation=self._last_incarnations.get(name, 0), reason="never-existed"),
        )

    def _forget_watches(self, cell: Cell) -> None:
        """Watches go by name, and the next one of this name has not asked for them."""
        for name in cell.watching or ():
            watched = self._cells.get(name)
            if watched is not None and watched.watchers:
                watched.watchers.pop(cell.name, None)
        for name in cell.watchers or ():
            watcher = self._cells.get(name)
            if watcher is not None and watcher.watching:
                watcher.watching.pop(cell.name, None)

    def _tell_watchers(self, cell: Cell, reason: Any) -> None:
        with self._lock:
            watchers = tuple(cell.watchers or ())
        for watcher in watchers:
            self._notify(watcher, Terminated(name=cell.name, incarnation=cell.incarnation, reason=reason))

    def _notify(self, watcher: str, message: Terminated) -> None:
        """Past the bound: who watches must hear of it."""
        cell = self._cells.get(watcher)
        if cell is not None and not cell.refuses:
            cell.mailbox.append((message, message.name, None, None))
            self._wake(cell)

    # -- tracing

    def _trace_item(self, cell: Cell, item: Item) -> None:
        """Report an item that is about to be handled, and number it for the messages that it will cause."""
        message, origin, _, via = item
        sink = self._trace
        if sink is None or isinstance(via, Control) or (isinstance(via, Timer) and not via.is_due()):
            return
        with self._count_lock:
            self._traced += 1
            number = self._traced
        sender, caused_by = origin if isinstance(origin, tuple) else (origin, None)
        cell.context.origin = (cell.name, number)
        traced = Traced(
            number=number, t_ns=self.now_ns, sender=sender, to=cell.name, message=message, caused_by=caused_by
        )
        try:
            sink(traced)
        except Exception:  # who looks on takes nothing away
            _logger.exception("a trace sink failed name=%s", cell.name)
