"""Reads an event log back: that of a scenario, or one that a running program wrote."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ...system import Event
from ..document import Mistake, WrongScenario

__all__ = ["read_events"]


def read_events(file: Path | str) -> tuple[Event, ...]:
    """JSON lines, one event each. Raises WrongScenario, which names the first line that is no event."""
    events = []
    try:
        lines = Path(file).read_bytes().splitlines()
    except OSError as error:
        raise _wrong(file, 1, f"cannot be read: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        try:
            events.append(msgspec.json.decode(line, type=Event))
        except msgspec.MsgspecError as error:
            raise _wrong(file, number, f"not an event of a log: {error}") from None
    return tuple(events)


def _wrong(file: Path | str, line: int, message: str) -> WrongScenario:
    return WrongScenario([Mistake(file=str(file), line=line, column=1, message=message)])
