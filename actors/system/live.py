"""Live: real time, a few threads for any number of actors, one more for each actor that blocks, one for the timers."""

from __future__ import annotations

import asyncio
import logging
from heapq import heapify, heappop, heappush
from queue import SimpleQueue
from random import SystemRandom
from threading import TIMEOUT_MAX, Condition, Event, Lock, RLock, Thread, get_ident
from time import monotonic, monotonic_ns, time_ns
from typing import Any

from .cell import Cell, Control, Item, State
from .context import Context, Timer
from .errors import AskInHandler, AskTimeout
from .promise import Promise
from .system import Scheduled, System

_logger = logging.getLogger("raftyard")

_BATCH = 32  # messages that an actor handles before the next actor has its turn
_SLOW_NS = 10_000_000  # a handler that takes longer is counted: others wait for its thread
_MANY_CANCELLED = 512


class LiveContext(Context):
    """A context whose `send` is written out: it is most of what a message costs."""

    __slots__ = ()

    def send(self, to: str, message: Any) -> None:
        """See Context.send."""
        cell = self.cells.get(to)
        if cell is not None and cell.intake is None and len(cell.mailbox) < cell.bound:
            cell.mailbox.append((message, self.origin, self.cause, None))
            if cell.gate.acquire(False):
                cell.runq.put(cell)  # type: ignore[union-attr]
        else:
            self.system._deliver_to(to, message, self.origin, self.cause, self.has_intake)


class WrongLiveContext(LiveContext):
    """The context of an actor whose clock is wrong; a class of its own, so that the right ones cost nothing."""

    __slots__ = ()

    def now_ns(self) -> int:
        """What the actor's clock shows."""
        return self.wrong.at(self.system.now_ns)

    def after_ns(self, delay_ns: int, message: Any) -> Timer:
        """See Context.after_ns; measured by the actor's clock, so a fast one rings early."""
        timer = Timer(self, message)
        if delay_ns <= 0:
            self.system.fire(timer)
        else:
            self.system.schedule(self.system.now_ns + self.wrong.really(delay_ns), timer)
        return timer


class Live(System):
    """Runs actors in real time on `threads` threads. `seed` seeds their randomness; without one it is drawn.

    More than two threads gain nothing while handlers are Python: two keep going when one handler is slow.
    """

    wrong_context = WrongLiveContext

    def __init__(self, *, threads: int = 2, seed: int | None = None, events: int = 10_000) -> None:
        super().__init__(SystemRandom().getrandbits(63) if seed is None else seed, events)
        self._origin_ns = monotonic_ns()
        self._own_threads: set[int] = set()  # only asked "is it in", never walked
        self._queue: SimpleQueue[Cell | None] = SimpleQueue()
        self._timers = _TimerThread(self)
        self._closing: _Closing | None = None
        self._workers = [self._thread(self._queue, f"raftyard-worker-{i}") for i in range(threads)]

    def _thread(self, queue: SimpleQueue[Cell | None], name: str) -> Thread:
        thread = Thread(target=self._work, args=(queue,), name=name, daemon=True)
        thread.start()
        return thread

    @property
    def now_ns(self) -> int:
        """Nanoseconds since the start, monotonic."""
        return monotonic_ns() - self._origin_ns

    @property
    def wall_ns(self) -> int:
        """Nanoseconds since 1970, by this machine's clock."""
        return time_ns()

    # -- from outside

    def ask(self, name: str, message: Any, timeout_s: float = 5.0) -> Any:
        """See System.ask."""
        self._refuse_inside("ask()")
        promise = self._post_ask(name, message)
        answered = Lock()
        answered.acquire()
        promise.on_settled(lambda _: answered.release())
        if not answered.acquire(timeout=min(max(timeout_s, 0.0), TIMEOUT_MAX)):
            raise self._timeout(name, message, timeout_s)
        return promise.result()

    async def ask_async(self, name: str, message: Any, timeout_s: float = 5.0) -> Any:
        """See System.ask_async."""
        self._refuse_inside("ask_async()")
        promise = self._post_ask(name, message)
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()
        promise.on_settled(lambda _: _call_soon(loop, answered))
        try:
            await asyncio.wait_for(answered.wait(), timeout_s)
        except TimeoutError:
            raise self._timeout(name, message, timeout_s) from None
        return promise.result()

    @staticmethod
    def _timeout(name: str, message: Any, timeout_s: float) -> AskTimeout:
        return AskTimeout(f"{name!r} did not answer {type(message).__name__} within {timeout_s:g} s")

    def close(self, timeout_s: float = 5.0) -> None:
        """See System.close. Handlers that run finish first; one that does not end in time is named in the log."""
        self._refuse_inside("close()")
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._closing = closing = _Closing(self, list(self._cells.values()))
        self._end_actors(closing, timeout_s)
        self._timers.end()
        for _ in self._workers:
            self._queue.put(None)
        for worker in self._workers:
            worker.join(0.0 if closing.stuck else 1.0)

    @staticmethod
    def _end_actors(closing: _Closing, timeout_s: float) -> None:
        """Stop one actor after the other, the newest first; pass over one that does not end."""
        deadline = monotonic() + timeout_s
        closing.go_on(None)
        before = closing.current
        # Most of what is left for whoever is slow, as a disk may be with its last write; a little for the rest.
        while not closing.done.wait((deadline - monotonic()) * 0.75) and monotonic() < deadline:
            cell = closing.current
            if cell is before and cell is not None:
                closing.stuck = True
                _logger.error("actor does not stop, its handler has not ended name=%s", cell.name)
                closing.go_on(cell)
            before = closing.current

    # -- for contexts, timers and futures

    def schedule(self, t_ns: int, thing: Scheduled) -> None:
        """See System.schedule."""
        self._timers.add(t_ns, thing)

    def timer_cancelled(self) -> None:
        """See System.timer_cancelled."""
        self._timers.cancelled()

    def await_promise(self, promise: Promise, timeout_s: float | None) -> None:
        """See System.await_promise; outside of handlers the future itself waits."""
        if not promise.kept:
            self._refuse_inside("get()")

    def _refuse_inside(self, doing: str) -> None:
        if get_ident() in self._own_threads:
            raise AskInHandler(doing)

    # -- the machine

    def _wake(self, cell: Cell) -> None:
        # The gate is taken by whoever queues the cell and given back after its turn: it is queued once, and on one
        # thread at a time.
        if cell.gate.acquire(False):
            assert cell.runq is not None
            cell.runq.put(cell)

    def _make_context(self, cell: Cell) -> Context:
        return LiveContext(self, cell, self._cells)

    def _prepare(self, cell: Cell) -> None:
        cell.runq = SimpleQueue() if cell.cls.dedicated_thread else self._queue
        if cell.has_intake:
            cell.lock = RLock()

    def _launched(self, cell: Cell) -> None:
        if cell.runq is not self._queue:
            assert cell.runq is not None
            self._thread(cell.runq, f"raftyard-{cell.name}")

    def _ended(self, cell: Cell) -> None:
        own_queue = cell.runq
        if own_queue is not self._queue and own_queue is not None:
            # The gate is shut: what comes still, say an ask that has found the cell, is answered by the shared threads.
            cell.runq = self._queue
            own_queue.put(None)
        if self._closing is not None:
            self._closing.go_on(cell)

    def _work(self, queue: SimpleQueue[Cell | None]) -> None:
        """A thread's life: give one cell after the other its turn."""
        self._own_threads.add(get_ident())
        while (cell := queue.get()) is not None:
            try:
                self._take_turn(cell)
            except BaseException:  # somebody who looks on; the actors' own errors do not come here
                _logger.exception("a turn failed name=%s", cell.name)
            cell.gate.release()
            if cell.mailbox:
                self._wake(cell)
        self._own_threads.discard(get_ident())

    def _take_turn(self, cell: Cell) -> None:
        """Handle up to a batch of items; the commonest case is written out."""
        mailbox = cell.mailbox
        is_plain = self._trace is None
        started = monotonic_ns()
        for _ in range(_BATCH):
            if not mailbox:
                return
            try:
                item = mailbox.popleft()
            except IndexError:  # drop_old took it
                return
            if is_plain and item[3] is None and cell.bound >= 0:
                cell.handled += 1
                cell.context.cause = item[2]
                try:
                    cell.receive(item[0])
                except BaseException as error:
                    self._crashed(cell, error)
            else:
                self._take_item(cell, item)
            ended = monotonic_ns()
            if ended - started > _SLOW_NS:
                self._count_slow(cell, item, ended - started)
            started = ended

    def _take_item(self, cell: Cell, item: Item) -> None:
        if self._trace is not None:
            self._trace_item(cell, item)
        self._handle(cell, item)
        cell.context.origin = cell.name

    @staticmethod
    def _count_slow(cell: Cell, item: Item, took_ns: int) -> None:
        if cell.runq is None or cell.cls.dedicated_thread:
            return  # it has a thread of its own because it is slow
        cell.slow += 1
        what = type(item[0]).__name__
        _logger.debug("slow handler name=%s message=%s ms=%d", cell.name, what, took_ns // 1_000_000)


class _Closing:
    """Who is to be stopped next while a system closes. Each end starts the next stop, in the threads of the actors."""

    def __init__(self, system: Live, cells: list[Cell]) -> None:
        self.current: Cell | None = None
        self.done = Event()
        self.stuck = False
        self._system = system
        self._left = cells
        self._lock = Lock()

    def go_on(self, ended: Cell | None) -> None:
        """Stop the next one, if `ended` is the one that everybody waits for."""
        with self._lock:
            if ended is not self.current:
                return
            while self._left:
                self.current = self._left.pop()
                if self.current.state is not State.ENDED:
                    self._system._post_control(self.current, Control.STOP)
                    return
            self.current = None
            self.done.set()


class _TimerThread:
    """One thread that waits for the earliest time in a heap."""

    def __init__(self, system: Live) -> None:
        self._system = system
        self._heap: list[tuple[int, int, Scheduled]] = []
        self._sequence = 0
        self._cancelled = 0
        self._has_ended = False
        self._condition = Condition(Lock())
        self._thread = Thread(target=self._run, name="raftyard-timers", daemon=True)
        self._thread.start()

    def add(self, t_ns: int, thing: Scheduled) -> None:
        """Have `thing` happen at `t_ns`."""
        with self._condition:
            self._sequence += 1
            entry = (t_ns, self._sequence, thing)
            heappush(self._heap, entry)
            if self._heap[0] is entry:
                self._condition.notify()

    def cancelled(self) -> None:
        """Clean the heap when most of it is cancelled timers."""
        with self._condition:
            self._cancelled += 1
            if self._cancelled > _MANY_CANCELLED and self._cancelled * 2 > len(self._heap):
                self._heap = [e for e in self._heap if type(e[2]) is not Timer or e[2].is_waiting]
                heapify(self._heap)
                self._cancelled = 0

    def end(self) -> None:
        """End the thread; what was to happen does not."""
        with self._condition:
            self._has_ended = True
            self._condition.notify()
        self._thread.join(1.0)

    def _run(self) -> None:
        self._system._own_threads.add(get_ident())
        while (due := self._wait_for_due()) is not None:
            for thing in due:
                self._happen(thing)

    def _wait_for_due(self) -> list[Scheduled] | None:
        """Everything whose time has come, in order; None at the end."""
        with self._condition:
            while not self._has_ended:
                now = self._system.now_ns
                due: list[Scheduled] = []
                while self._heap and self._heap[0][0] <= now:
                    due.append(heappop(self._heap)[2])
                if due:
                    return due
                self._condition.wait((self._heap[0][0] - now) / 1e9 if self._heap else None)
        return None

    def _happen(self, thing: Scheduled) -> None:
        try:
            if isinstance(thing, Timer):
                self._system.fire(thing)
            elif isinstance(thing, tuple):
                self._system.arrive(thing)
            else:
                thing()
        except Exception:  # a `valid` that raises must not end everybody's timers
            _logger.exception("a delivery failed")


def _call_soon(loop: asyncio.AbstractEventLoop, answered: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(answered.set)
    except RuntimeError:
        pass  # the loop was closed before the answer came: nobody waits
