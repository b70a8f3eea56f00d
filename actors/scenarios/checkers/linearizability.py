"""Is there one order of all operations, each between its call and its answer, that explains every answer?

A history is checked key by key (linearizability is local) by the search of Wing and Gong with Lowe's memory: an
operation may come next if it was called before the first answer that is still open; a configuration (which operations
are done, the state) is tried once.  An operation whose outcome is unknown may take effect at any time after its call,
or never: its answer is open to the end.  Knows nothing of Raft, nor of any clock: times are any numbers that grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..histories import Operation

FEW = 16
"""So many operations are few enough to try all their orders."""

Model = Callable[[Any, Operation], tuple[Any, Any]]
"""(state, operation) -> (state after it, the answer it must have had). States are hashable; None is the first."""


def register(state: str | None, operation: Operation) -> tuple[str | None, Any]:
    """get; put VALUE; add TEXT (to the end: a command applied twice shows); cas (OLD, NEW) -> whether it was OLD."""
    if operation.kind == "get":
        return state, state
    if operation.kind == "put":
        return operation.argument, None
    if operation.kind == "add":
        return (state or "") + operation.argument, None
    old, new = operation.argument
    return (new, True) if state == old else (state, False)


class NotLinearizable(AssertionError):
    """No order explains the history; the message shows a small part of it that has none either."""


def check(history: Iterable[Operation], model: Model = register) -> None:
    """Raises NotLinearizable."""
    keys: dict[str, list[Operation]] = {}
    for operation in history:
        keys.setdefault(operation.key, []).append(operation)
    for operations in keys.values():
        operations = [operation for operation in operations if _matters(operation, operations)]
        if not is_linearizable(operations, model):
            raise NotLinearizable(explained(smallest(operations, model), model))


def is_linearizable(operations: list[Operation], model: Model = register) -> bool:
    return stuck(operations, model) is None


def stuck(operations: list[Operation], model: Model, *, is_shown: bool = False) -> list[Operation] | None:
    """None when there is an order; else the longest order that was found before nothing fitted any more. One that is
    shown to people goes on as far as it can, also where nothing could come of it."""
    operations = sorted(operations, key=lambda operation: operation.start)
    if not operations:
        return None
    known = sum(1 << at for at, operation in enumerate(operations) if operation.end is not None)
    order: list[int] = []
    best: list[int] = []
    tried: set[tuple[int, Any]] = {(0, None)}
    # A stack of (what may come next, the state before it); the operations done are those of `order`.
    worthwhile = _all_of if is_shown else _Register.of(operations, model)
    stack = [(worthwhile(_candidates(operations, 0), 0, None), None)]
    done = 0
    while stack:
        candidates, state = stack[-1]
        if done & known == known:
            return None
        moved = False
        while candidates:
            at = candidates.pop()
            operation = operations[at]
            after, answer = model(state, operation)
            fits = operation.end is None or answer == operation.result
            if fits and (done | 1 << at, after) not in tried:
                tried.add((done | 1 << at, after))
                done |= 1 << at
                order.append(at)
                stack.append((worthwhile(_candidates(operations, done), done, after), after))
                moved = True
                break
        if moved:
            if len(order) > len(best):
                best = list(order)
        else:
            stack.pop()
            if order:
                done &= ~(1 << order.pop())
    return [operations[at] for at in best]


def _all_of(candidates: list[int], done: int, state: Any) -> list[int]:
    return candidates


class _Register:
    """What need not be tried on a register to which nobody writes a value twice. Without it, writes that go on at the
    same time cost as much as all their orders."""

    @classmethod
    def of(
        cls, operations: list[Operation], model: Model
    ) -> Callable[[list[int], int, Any], list[int]]:
        """What is left of candidates, with what is done and the state; all of them where the rules do not hold."""
        written = [operation.argument for operation in operations if operation.kind == "put"]
        is_plain = all(operation.kind in ("get", "put") for operation in operations)
        if model is not register or not is_plain or len(set(written)) < len(written):
            return _all_of
        return cls(operations).left

    def __init__(self, operations: list[Operation]) -> None:
        self._operations = operations
        self._readers: dict[Any, int] = {}
        """By value, those that read it, as bits; nobody knows what a read that was not answered has read."""
        for at, operation in enumerate(operations):
            if operation.kind == "get" and operation.end is not None:
                self._readers[operation.result] = self._readers.get(operation.result, 0) | 1 << at

    def left(self, candidates: list[int], done: int, state: Any) -> list[int]:
        operations, readers = self._operations, self._readers
        puts = []
        for at in candidates:
            operation = operations[at]
            if operation.kind == "put":
                puts.append(at)
            elif operation.result == state:
                return [at]  # it changes nothing, so now is as good a time as any
        if readers.get(state, 0) & ~done:
            return []  # somebody still has to read this value, and it would never come again
        left = []
        for at in puts:
            if readers.get(operations[at].argument, 0) & ~done:
                left.append(at)
            elif operations[at].end is not None:
                return [at]  # nobody reads it, and nobody needs what it overwrites
            # else it may as well never have come about
        return left


def _candidates(operations: list[Operation], done: int) -> list[int]:
    """Those not done that were called before the first open answer. What comes last in the list is tried first."""
    found: list[int] = []
    first_answer = float("inf")
    first_open = (~done & (done + 1)).bit_length() - 1
    for at in range(first_open, len(operations)):
        if done >> at & 1:
            continue
        operation = operations[at]
        if operation.start > first_answer:
            break
        found.append(at)
        if operation.end is not None and operation.end < first_answer:
            first_answer = operation.end
    found = [at for at in found if operations[at].start <= first_answer]
    # An unknown outcome only as the last resort: most of them need not take effect now.
    found.sort(key=lambda at: (operations[at].end is None, operations[at].start), reverse=True)
    return found


def smallest(operations: list[Operation], model: Model = register) -> list[Operation]:
    """Leaves out whatever the contradiction does not need. A write that a remaining read has seen stays."""
    left = sorted(operations, key=lambda operation: operation.start)
    for operation in sorted(left, key=lambda operation: operation.kind == "get", reverse=True):
        without = [other for other in left if other is not operation]
        if not _is_seen(operation, without) and not is_linearizable(without, model):
            left = without
    return left


def _matters(operation: Operation, others: list[Operation]) -> bool:
    """An unknown outcome that nobody saw may as well never have come about; without this each doubles the search."""
    return operation.end is not None or _is_seen(operation, others)


def _is_seen(operation: Operation, others: list[Operation]) -> bool:
    if operation.kind == "get":
        return False
    if any(other.kind == "cas" and other is not operation for other in others):
        return True
    written = operation.argument[1] if operation.kind == "cas" else operation.argument
    read = [other.result for other in others if other.kind == "get"]
    if any(other.kind == "add" for other in (operation, *others)):
        return any(written in (result or "") for result in read)
    return written in read


def explained(operations: list[Operation], model: Model = register) -> str:
    """The operations as called, how far an order goes, and what does not fit after it."""
    order = stuck(operations, model, is_shown=len(operations) <= FEW) or []
    state = None
    for operation in order:
        state, _ = model(state, operation)
    rest = [operation for operation in operations if operation not in order]
    lines = [f"no order explains these {len(operations)} operations on key {operations[0].key}:"]
    lines += [f"  {operation}" for operation in operations]
    lines += ["the longest order that fits:"]
    lines += [f"  {operation}" for operation in order] or ["  (none)"]
    lines.append(f"then {operations[0].key} is {state!r}, and none of these can come next:")
    lines += [f"  {operation}" for operation in rest]
    return "\n".join(lines)
