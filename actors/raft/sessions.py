"""Client sessions: a command that is sent again, because its answer was lost, is applied once (§6.3).

`Sessions` wraps any machine.  A client names its session, numbers its commands, and repeats a number when it retries.
What is remembered, and what is forgotten, follows from the log alone, so it is the same on every member.
"""

from collections import OrderedDict
from collections.abc import Callable, Generator
from typing import Any, Protocol

import msgspec


class Machine(Protocol):
    """What is replicated. `apply` must depend on nothing but what was applied before.

    A machine whose snapshot takes long may have `snapshot_slices()`, too: a generator that yields after each bit of
    work and returns the same bytes in the end. Nothing is applied in between.
    """

    def apply(self, index: int, command: bytes) -> Any: ...

    def snapshot(self) -> bytes: ...

    def restore(self, data: bytes) -> None: ...


_ENCODER = msgspec.msgpack.Encoder()
_ENVELOPE = msgspec.msgpack.Decoder(tuple[str, int, int, bytes])
_DECODE = msgspec.msgpack.Decoder().decode
_NOTHING = _ENCODER.encode(None)


class Applied(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of one log entry."""

    session: str
    sequence: int
    answer: bytes = _NOTHING
    """The machine's, encoded: of all members only one is asked for it."""
    duplicate: bool = False
    """It had been applied before; the answer is the one of then."""
    refused: str = ""
    """Why it was not applied: `session expired`, `result forgotten`, `no envelope`."""
    decode: Callable[[bytes], Any] = _DECODE

    @property
    def result(self) -> Any:
        """The answer as a value. A retry's cannot differ from the first (a tuple comes back as a list)."""
        return self.decode(self.answer)


def encode(session: str, sequence: int, command: bytes, acknowledged: int = 0) -> bytes:
    """The log entry for a command. An empty session: apply it as often as it comes.

    `acknowledged`: the client has the answers up to this number and will not ask for them again.
    """
    return _ENCODER.encode((session, sequence, acknowledged, command))


def decode(payload: bytes) -> tuple[str, int, int, bytes]:
    """(session, sequence, acknowledged, command). Raises msgspec.DecodeError."""
    return _ENVELOPE.decode(payload)


class _Session:
    __slots__ = ("last_index", "acknowledged", "results")

    def __init__(self, last_index: int, acknowledged: int, results: dict[int, bytes]) -> None:
        self.last_index = last_index
        self.acknowledged = acknowledged
        self.results = results
        """Sequence -> encoded result, in the order of application."""


class Sessions:
    """A machine whose commands may be retried.

    A session that is not used for `idle_entries` log entries expires, and the one unused longest when there are more
    than `max_sessions`; its commands are then refused, never run again.  Its name is remembered until `max_expired`
    others expired.  A session keeps `max_results` answers that its client has not acknowledged.
    Results must be what msgpack can carry; `result_type` gives them their type back.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        idle_entries: int = 1_000_000,
        max_sessions: int = 10_000,
        max_expired: int = 100_000,
        max_results: int = 1_000,
        result_type: Any = Any,
    ) -> None:
        self.machine = machine
        self._idle_entries = idle_entries
        self._max_sessions = max_sessions
        self._max_expired = max_expired
        self._max_results = max_results
        self._decode = _DECODE if result_type is Any else msgspec.msgpack.Decoder(result_type).decode
        # Both from the longest unused to the last used. Sessions move to the end at every use; a plain dict would
        # find its first key ever more slowly, because it walks over what was taken out in front of it.
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._expired: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def apply(self, index: int, payload: bytes) -> Applied:
        """Applies the entry at index, or finds the answer that it had. Never raises for what a client sent."""
        try:
            session, sequence, acknowledged, command = _ENVELOPE.decode(payload)
        except msgspec.DecodeError:
            return Applied(session="", sequence=0, refused="no envelope")
        if not session:
            answer = _ENCODER.encode(self.machine.apply(index, command))
            return Applied(session="", sequence=sequence, answer=answer, decode=self._decode)
        if index > self._idle_entries or len(self._sessions) > self._max_sessions:
            self._expire(index - self._idle_entries)
        known = self._use(session, index, acknowledged)
        if known is None:
            return Applied(session=session, sequence=sequence, refused="session expired")
        results = known.results
        if sequence in results:
            answer = results[sequence]
            return Applied(
                session=session, sequence=sequence, answer=answer, duplicate=True, decode=self._decode
            )
        if sequence <= known.acknowledged:
            return Applied(session=session, sequence=sequence, duplicate=True, refused="result forgotten")
        answer = _ENCODER.encode(self.machine.apply(index, command))
        results[sequence] = answer
        if len(results) > self._max_results:
            self._forget_results(known, acknowledged)
        return Applied(session=session, sequence=sequence, answer=answer, decode=self._decode)

    def snapshot(self) -> bytes:
        """The machine's state and the session table: neither is any good without the other."""
        return _ENCODER.encode((self._table(), list(self._expired), self.machine.snapshot()))

    def snapshot_slices(self) -> Generator[None, None, bytes]:
        """The same bytes, bit by bit: yields after each bit that may take milliseconds, and returns them."""
        slices = getattr(self.machine, "snapshot_slices", None)
        if slices is None:
            return self.snapshot()
        machine = yield from slices()
        yield
        head = _ENCODER.encode((self._table(), list(self._expired)))
        # An array of two becomes one of three: the machine's bytes are large, and so are not encoded in one go.
        return b"".join((b"\x93", head[1:], _binary_head(len(machine)), machine))

    def restore(self, data: bytes) -> None:
        """Puts everything back as it was at the snapshot. Raises msgspec.DecodeError, and changes nothing then."""
        table, expired, machine = _SNAPSHOT.decode(data)
        self.machine.restore(machine)
        self._sessions = OrderedDict(
            (name, _Session(last_index, acknowledged, dict(results)))
            for name, last_index, acknowledged, results in table
        )
        self._expired = OrderedDict.fromkeys(expired)

    def _table(self) -> list[tuple[str, int, int, list[tuple[int, bytes]]]]:
        return [
            (name, known.last_index, known.acknowledged, list(known.results.items()))
            for name, known in self._sessions.items()
        ]

    def _use(self, name: str, index: int, acknowledged: int) -> _Session | None:
        """The session, opened if it is new; None if it expired. Who acknowledges an answer cannot be new."""
        known = self._sessions.get(name)
        if known is None:
            if acknowledged or name in self._expired:
                return None
            known = self._sessions[name] = _Session(index, 0, {})
            self._expire(0)
            return known
        self._sessions.move_to_end(name)
        known.last_index = index
        if acknowledged > known.acknowledged:
            self._forget_results(known, acknowledged)
        return known

    def _expire(self, unused_since: int) -> None:
        sessions = self._sessions
        while sessions:
            name = next(iter(sessions))
            if len(sessions) <= self._max_sessions and sessions[name].last_index >= unused_since:
                return
            del sessions[name]
            self._expired[name] = None
            if len(self._expired) > self._max_expired:
                self._expired.popitem(last=False)

    def _forget_results(self, known: _Session, acknowledged: int) -> None:
        results = known.results
        if acknowledged > known.acknowledged:
            # Whichever is shorter: a client that acknowledges one by one must not cost a look at all that is open.
            if acknowledged - known.acknowledged <= len(results):
                for number in range(known.acknowledged + 1, acknowledged + 1):
                    results.pop(number, None)
            else:
                known.results = results = {
                    number: result for number, result in results.items() if number > acknowledged
                }
            known.acknowledged = acknowledged
            if len(results) <= self._max_results:
                return
        while len(results) > self._max_results:
            # Nearly always the next number, which is found without a look at all of them.
            oldest = known.acknowledged + 1
            if oldest not in results:
                oldest = min(results)
            known.acknowledged = oldest
            del results[oldest]


def _binary_head(size: int) -> bytes:
    """How msgpack begins a byte string of this size."""
    if size < 1 << 8:
        return b"\xc4" + size.to_bytes(1, "big")
    if size < 1 << 16:
        return b"\xc5" + size.to_bytes(2, "big")
    return b"\xc6" + size.to_bytes(4, "big")


_SNAPSHOT = msgspec.msgpack.Decoder(
    tuple[list[tuple[str, int, int, list[tuple[int, bytes]]]], list[str], bytes],
)
