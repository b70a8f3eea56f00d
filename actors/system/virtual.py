"""Virtual time: one thread, one heap, one seed. Hours pass in seconds, and every run can be repeated."""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from heapq import heapify, heappop, heappush
from math import inf
from random import Random
from typing import Any

import msgspec
import pykka

from .cell import Cell, Control, Item, State
from .context import Context, Timer
from .errors import AskInHandler, AskTimeout
from .promise import Promise
from .system import Scheduled, System

_MANY_CANCELLED = 512  # cancelled timers in the heap before it is worth cleaning
EPOCH_NS = 1_767_225_600 * 1_000_000_000
"""When virtual time begins for the wall clock, unless told otherwise: 2026-01-01 in UTC, a Thursday."""
_MARKS = 3 * 4096  # numbers that wait before they go into the digest


class VirtualContext(Context):
    """A context whose `send` is written out: it is most of what a message costs."""

    __slots__ = ("_clock", "_ready")

    def __init__(self, system: Virtual, cell: Cell, cells: dict[str, Cell]) -> None:
        super().__init__(system, cell, cells)
        self._clock = system
        self._ready = system.ready

    def now_ns(self) -> int:
        """Nanoseconds of virtual time."""
        return self._clock.clock_ns

    def after_ns(self, delay_ns: int, message: Any) -> Timer:
        """See Context.after_ns."""
        timer = Timer(self, message)
        clock = self._clock
        if delay_ns <= 0:
            clock.fire(timer)
        else:
            clock.sequence = sequence = clock.sequence + 1
            heappush(clock.heap, (clock.clock_ns + delay_ns, sequence, timer))
        return timer

    def send(self, to: str, message: Any) -> None:
        """See Context.send."""
        cell = self.cells.get(to)
        if cell is None:
            self.system._deliver_to(to, message, self.origin, self.cause, self.has_intake)
            return
        intake = cell.intake
        if intake is not None:
            if self.has_intake or type(self.origin) is tuple:
                self.system._deliver_to(to, message, self.origin, self.cause, self.has_intake)
                return
            # As System._offer_now does, which is left what happens seldom.
            context = cell.context
            before, context.cause = context.cause, self.cause
            try:
                is_consumed = intake(message)
            except Exception as error:
                is_consumed = self.system._crashed_in_intake(cell, message, error)
            context.cause = before
            if is_consumed:
                return
        elif len(cell.mailbox) >= cell.bound:
            self.system._deliver_to(to, message, self.origin, self.cause, self.has_intake)
            return
        if len(cell.mailbox) < cell.bound:
            cell.mailbox.append((message, self.origin, self.cause, None))
            self._ready.append(cell)
        else:
            self.system._enqueue(cell, (message, self.origin, self.cause, None))

    def deliver(self, delay_ns: int, to: str, message: Any, valid: Callable[[], bool] | None = None) -> None:
        """See Context.deliver."""
        if delay_ns <= 0 and valid is None:
            cell = self.cells.get(to)
            if cell is not None and len(cell.mailbox) < cell.bound:
                cell.mailbox.append((message, self.origin, self.cause, None))
                self._ready.append(cell)
                return
        super().deliver(delay_ns, to, message, valid)


class WrongVirtualContext(VirtualContext):
    """The context of an actor whose clock is wrong; a class of its own, so that the right ones cost nothing."""

    __slots__ = ()

    def now_ns(self) -> int:
        """What the actor's clock shows."""
        return self.wrong.at(self._clock.clock_ns)

    def after_ns(self, delay_ns: int, message: Any) -> Timer:
        """See Context.after_ns; measured by the actor's clock, so a fast one rings early."""
        return super().after_ns(self.wrong.really(delay_ns), message)


class Virtual(System):
    """Runs actors in virtual time, in the thread that calls `run`, `step` or `ask`.

    Equal seeds give equal runs, byte for byte, in any process. A `shuffle_seed` permutes what happens at equal times in
    different actors (each one's messages keep their order): another interleaving, as repeatable. `codec_check` passes
    every message that is a msgspec.Struct through msgpack before it is handled. With `raise_crashes` a crash that was
    not asked for is raised to the caller of `run` (after the supervision did its work). The wall clock begins at
    `epoch_ns` after 1970.
    """

    wrong_context = WrongVirtualContext

    def __init__(
        self,
        seed: int = 0,
        *,
        shuffle_seed: int | None = None,
        codec_check: bool = False,
        raise_crashes: bool = False,
        with_digest: bool = True,
        events: int = 10_000,
        epoch_ns: int = EPOCH_NS,
    ) -> None:
        super().__init__(seed, events)
        self.clock_ns = 0
        self._epoch_ns = epoch_ns
        # A cell lies here once for every item in its mailbox: whose turn it is at the present time.
        self.ready: deque[Cell] | list[Cell] = deque() if shuffle_seed is None else []
        self.observers: list[Callable[[str, Any], None]] = []
        """Called with name and message after every handled message; to check invariants."""
        self.heap: list[tuple[int, int, Scheduled]] = []
        self.sequence = 0
        self._cancelled = 0
        self._is_running = False
        self._shuffle = None if shuffle_seed is None else Random(f"shuffle/{shuffle_seed}")
        self._codec = _Codec() if codec_check else None
        self._digest = _Digest() if with_digest else None
        if self._digest is not None:
            digest = self._digest
            self.events.subscribe(lambda event: digest.fold(event.line()))
        self._raise_crashes = raise_crashes
        self._surfaced: BaseException | None = None

    # -- time

    @property
    def now_ns(self) -> int:
        """Virtual nanoseconds since the start."""
        return self.clock_ns

    @property
    def wall_ns(self) -> int:
        """Nanoseconds since 1970: the epoch and virtual time."""
        return self._epoch_ns + self.clock_ns

    def run(self, for_s: float | None = None, *, until_ns: int | None = None) -> None:
        """Run `for_s` seconds of virtual time, or until a point of it."""
        if (for_s is None) == (until_ns is None):
            raise TypeError("run takes either a number of seconds or until_ns=")
        end = until_ns if until_ns is not None else self.clock_ns + round((for_s or 0.0) * 1e9)
        with _Running(self, "run()"):
            while True:
                self._drain()
                if not self._advance(end):
                    break
        self.clock_ns = max(self.clock_ns, end)

    def run_until(self, predicate: Callable[[], bool], within_s: float) -> bool:
        """Run until `predicate` holds, asked after every message. False: not within `within_s`, or not ever."""
        end = self.clock_ns + round(within_s * 1e9)
        while not predicate():
            if not self._step(end):
                self.clock_ns = max(self.clock_ns, end)
                return predicate()
        return True

    def step(self) -> bool:
        """Handle the next item, whenever it is due. False: there is none."""
        return self._step(None)

    def digest(self) -> str:
        """SHA-256 of everything so far: the event log, and who handled which class of message when."""
        if self._digest is None:
            raise RuntimeError("this system keeps no digest; make it with with_digest=True")
        return self._digest.hexdigest()

    # -- from outside

    def ask(self, name: str, message: Any, timeout_s: float = 5.0) -> Any:
        """See System.ask. Runs the system until the answer is there."""
        if self._is_running:
            raise AskInHandler("ask()")
        promise = self._post_ask(name, message)
        if not self._run_to_promise(promise, timeout_s):
            detail = f"within {timeout_s:g} s of virtual time"
            if not self.ready and not self.heap:
                detail = "and nothing is left to happen: a deadlock"
            raise AskTimeout(f"{name!r} did not answer {type(message).__name__} {detail}")
        return promise.result()

    async def ask_async(self, name: str, message: Any, timeout_s: float = 5.0) -> Any:
        """As `ask`: virtual time takes no time."""
        return self.ask(name, message, timeout_s)

    def crash(self, name: str) -> None:
        """See System.crash. Outside of handlers it has happened when this returns."""
        super().crash(name)
        self._take_turn_now(name)

    def kill(self, name: str) -> None:
        """See System.kill. Outside of handlers it has happened when this returns."""
        super().kill(name)
        self._take_turn_now(name)

    def pause(self, name: str) -> None:
        """See System.pause. Outside of handlers it is in force when this returns."""
        super().pause(name)
        self._take_turn_now(name)

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop all actors now, the newest first. Messages that wait are not handled."""
        if self._is_closed:
            return
        with _Running(self, "close()"):
            self._is_closed = True
            for cell in reversed(tuple(self._cells.values())):
                if cell.state in (State.RUNNING, State.RESTARTING):
                    self._begin_stop(cell)
                elif (
                    cell.state is not State.ENDED
                ):  # it was waiting for its children, which have ended by now
                    self._wind_down(cell)
        self.ready.clear()
        self.heap.clear()

    # -- for contexts, timers and futures

    def schedule(self, t_ns: int, thing: Scheduled) -> None:
        """See System.schedule."""
        self.sequence += 1
        heappush(self.heap, (t_ns, self.sequence, thing))

    def timer_cancelled(self) -> None:
        """Clean the heap when most of it is cancelled timers."""
        self._cancelled += 1
        if self._cancelled > _MANY_CANCELLED and self._cancelled * 2 > len(self.heap):
            # In place: the loops hold on to the list.
            self.heap[:] = [e for e in self.heap if type(e[2]) is not Timer or e[2].is_waiting]
            heapify(self.heap)
            self._cancelled = 0

    def await_promise(self, promise: Promise, timeout_s: float | None) -> None:
        """See System.await_promise."""
        if self._is_running and not promise.kept:
            raise AskInHandler("get()")
        if not self._run_to_promise(promise, timeout_s):
            raise pykka.Timeout(f"no answer in {timeout_s} s of virtual time")

    def _run_to_promise(self, promise: Promise, timeout_s: float | None) -> bool:
        end = None
        if timeout_s is not None and timeout_s < inf:
            end = self.clock_ns + round(max(timeout_s, 0.0) * 1e9)
        while not promise.kept:
            if not self._step(end):
                if end is not None and self.heap:
                    self.clock_ns = end
                return promise.kept
        return True

    # -- the machine

    def _wake(self, cell: Cell) -> None:
        self.ready.append(cell)

    def _make_context(self, cell: Cell) -> Context:
        if self._digest is not None:
            self._digest.name(cell)
        return VirtualContext(self, cell, self._cells)

    def _advance(self, end: int | None) -> bool:
        """Go on to the next time at which something is due and make all of it ready. False: nothing until `end`."""
        heap = self.heap
        while heap:
            t_ns = heap[0][0]
            if end is not None and t_ns > end:
                return False
            while heap and heap[0][0] == t_ns:
                thing = heappop(heap)[2]
                if type(thing) is not Timer:
                    self.clock_ns = t_ns
                    self._happen(thing)
                elif not thing.is_waiting:
                    self._cancelled -= 1
                elif thing.incarnation == (cell := thing.cell).incarnation and cell.bound >= 0:
                    self.clock_ns = t_ns
                    cell.mailbox.append((thing.message, cell.name, thing.cause, thing))
                    self.ready.append(cell)
                else:
                    self.fire(thing)  # which says why not
            if self.ready:
                return True
        return False

    def _happen(self, thing: Scheduled) -> None:
        if type(thing) is tuple:
            self.arrive(thing)
        else:
            assert callable(thing)
            thing()

    def _drain(self) -> None:
        """Handle all that is ready, and what that makes ready: everything of the present time."""
        is_plain = not (self.observers or self._trace or self._codec)
        if is_plain and self._shuffle is None:
            self._drain_plain()
        while self.ready:
            self._take_turn(self._next())

    def _drain_plain(self) -> None:
        """`_drain` with the commonest case, a message or timer, written out: 1.5 to 2 times as fast."""
        ready = self.ready
        assert isinstance(ready, deque)
        next_cell = ready.popleft
        digest = self._digest
        marks, codes = (digest.marks, digest.codes) if digest is not None else (None, {})
        is_new_time = True
        while ready:
            cell = next_cell()
            mailbox = cell.mailbox
            if not mailbox:  # an emptied mailbox leaves its turns behind
                continue
            item = mailbox.popleft()
            message, _, cause, via = item
            if cell.bound < 0 or (
                via is not None
                and not (type(via) is Timer and via.is_waiting and via.incarnation == cell.incarnation)
            ):
                if digest is not None:
                    digest.mark(cell, item, self.clock_ns)
                self._handle(cell, item)
                self._raise_surfaced()
                continue
            if via is not None:
                via.is_waiting = False
            if marks is not None:
                code = codes.get(type(message))
                if code is None or is_new_time:
                    digest.mark(cell, item, self.clock_ns)  # type: ignore[union-attr]
                    is_new_time = False
                else:
                    marks.append(cell.number + code)
            cell.handled += 1
            cell.context.cause = cause
            try:
                cell.receive(message)
            except BaseException as error:
                self._crashed(cell, error)
                self._raise_surfaced()

    def _next(self) -> Cell:
        ready = self.ready
        if isinstance(ready, deque):
            return ready.popleft()
        assert self._shuffle is not None
        chosen = int(self._shuffle.random() * len(ready))
        ready[chosen], ready[-1] = ready[-1], ready[chosen]
        return ready.pop()

    def _take_turn(self, cell: Cell) -> None:
        """Handle one item of a cell, with all that may look on."""
        if not cell.mailbox:
            return
        item = cell.mailbox.popleft()
        if self._codec is not None and not isinstance(item[3], Control):
            item = (self._codec.copy(item[0]), *item[1:])
            if type(item[3]) is Timer:
                item[3].message = item[0]
        if self._digest is not None:
            self._digest.mark(cell, item, self.clock_ns)
        if self._trace is not None:
            self._trace_item(cell, item)
        before = cell.handled
        self._handle(cell, item)
        cell.context.origin = cell.name
        if cell.handled != before:
            for observer in self.observers:
                observer(cell.name, item[0])
        self._raise_surfaced()

    def _raise_surfaced(self) -> None:
        if self._surfaced is not None:
            error, self._surfaced = self._surfaced, None
            raise error

    def _step(self, end: int | None) -> bool:
        with _Running(self, "step()"):
            while True:
                while self.ready:
                    cell = self._next()
                    if cell.mailbox:
                        self._take_turn(cell)
                        return True
                if not self._advance(end):
                    return False

    def _take_turn_now(self, name: str) -> None:
        """What was put first into a mailbox from outside happens at once; its turn is left over and does no harm."""
        if not self._is_running and (cell := self._cells.get(name)) is not None:
            with _Running(self, "crash()"):
                self._take_turn(cell)

    def _crashed(self, cell: Cell, error: BaseException, *, on_purpose: bool = False) -> None:
        super()._crashed(cell, error, on_purpose=on_purpose)
        if self._raise_crashes and not on_purpose:
            self._surfaced = error
        elif isinstance(error, KeyboardInterrupt):
            raise error  # somebody pressed Ctrl-C: this thread is the program's own


class _Running:
    """Marks a system as inside its loop, where nobody may wait for it."""

    __slots__ = ("_system",)

    def __init__(self, system: Virtual, doing: str) -> None:
        if system._is_running:
            raise AskInHandler(doing)
        self._system = system

    def __enter__(self) -> None:
        self._system._is_running = True

    def __exit__(self, *_: object) -> None:
        self._system._is_running = False


class _Codec:
    """Copies messages by encoding and decoding them, as a link to another machine does."""

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {}

    def copy(self, message: Any) -> Any:
        """The same message as another object; what is no Struct is left as it is."""
        if not isinstance(message, msgspec.Struct):
            return message
        kind = type(message)
        decoder = self._decoders.get(kind)
        if decoder is None:
            decoder = self._decoders[kind] = msgspec.msgpack.Decoder(kind)
        return decoder.decode(self._encode(message))


class _Digest:
    """The running SHA-256 of a run. A handled message is a number, for its cell and its class; so is each new time.

    Names and classes are told once. What is below 0 is a time.
    """

    def __init__(self) -> None:
        self._sha = sha256()
        self.marks = array("q")
        self.codes: dict[type, int] = {}
        """What to add to a cell's number where a message of this class is handled."""
        self.marked_ns = -1

    def mark(self, cell: Cell, item: Item, t_ns: int) -> None:
        """A cell is about to handle an item."""
        kind = type(item[0])
        code = self.codes.get(kind)
        if code is None:
            code = self.codes[kind] = len(self.codes) << 40
            self.fold(f"class {code} {kind.__qualname__}".encode())
        if t_ns != self.marked_ns:
            self.marked_ns = t_ns
            self.marks.append(~t_ns)
        self.marks.append(cell.number + code)
        if len(self.marks) > _MARKS:
            self._flush()

    def name(self, cell: Cell) -> None:
        """A cell has a new incarnation."""
        self.fold(f"actor {cell.number} {cell.name} {cell.cls.__qualname__} {cell.incarnation}".encode())

    def fold(self, line: bytes) -> None:
        """Add a line in its place between the handled messages."""
        self._flush()
        self._sha.update(line + b"\n")

    def hexdigest(self) -> str:
        """The digest so far; the run may go on."""
        self._flush()
        return self._sha.hexdigest()

    def _flush(self) -> None:
        if self.marks:
            if sys.byteorder == "big":
                self.marks.byteswap()
            self._sha.update(self.marks.tobytes())
            del self.marks[:]
