"""When a cron schedule is due: `cronsim` reads the expression, the system's wall clock knows the time zone.

A time that a change of the clocks leaves out comes right after it, one that comes twice counts once; a schedule whose
minute or hour begins with `*` goes by the time that really passes. So Debian's cron has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cronsim import CronSim, CronSimError

from ..state.calls import InvalidCall
from ..state.specs import ServiceSpec
from ..system.wall import UnknownZone, ms_of, time_in

__all__ = ["WrongSchedule", "check_schedule", "check_schedules", "due_after", "due_before", "how_often", "shown"]

LONGEST = 200
EXAMPLE = 'minute hour day month weekday, for example "*/5 * * * *" or "30 3 * * MON-FRI"'


class WrongSchedule(ValueError):
    """A schedule that cannot be read, or a time zone that is not known here."""


def check_schedule(spec: ServiceSpec) -> None:
    """Raises InvalidCall where a cron service's schedule or time zone is none."""
    if not spec.is_cron:
        return
    try:
        time_in(spec.time_zone, 0)
    except UnknownZone as error:
        raise InvalidCall("$.time_zone", str(error), error.hint) from None
    try:
        due = due_after(spec, 0)
    except WrongSchedule as error:
        raise InvalidCall("$.schedule", str(error), f"write {EXAMPLE}") from None
    if due is None:
        raise InvalidCall("$.schedule", f"{spec.schedule!r} is never due", f"write {EXAMPLE}")


def check_schedules(stack: str, services: Iterable[tuple[str, ServiceSpec]]) -> None:
    """The same for all services of a stack, `stack_service` by name, with paths into its document."""
    for name, spec in services:
        try:
            check_schedule(spec)
        except InvalidCall as error:
            place = f"$.services.{name.removeprefix(stack + '_')}.x-raftyard"
            raise InvalidCall(place + error.path.removeprefix("$"), error.message, error.hint) from None


def due_after(spec: ServiceSpec, wall_ms: int) -> int | None:
    """The first time after this one; None: there is none within 50 years. Raises WrongSchedule."""
    return next((due for due in _times(spec, wall_ms, is_back=False) if due > wall_ms), None)


def due_before(spec: ServiceSpec, wall_ms: int) -> int | None:
    """The last time up to this one. Raises WrongSchedule."""
    return next((due for due in _times(spec, wall_ms + 1, is_back=True) if due <= wall_ms), None)


def how_often(spec: ServiceSpec, after_ms: int, until_ms: int, most: int) -> int:
    """How often after the one time, and until the other; no more than `most` are counted."""
    count, due = 0, due_after(spec, after_ms)
    while due is not None and due <= until_ms and count < most:
        count, due = count + 1, due_after(spec, due)
    return count


def shown(wall_ms: int, zone: str) -> str:
    """As people write it, with the zone's offset. Raises WrongSchedule."""
    try:
        return time_in(zone, wall_ms).isoformat(timespec="seconds")
    except UnknownZone as error:
        raise WrongSchedule(f"{error}; {error.hint}") from None


def _times(spec: ServiceSpec, wall_ms: int, *, is_back: bool) -> Iterator[int]:
    """One after the other. In the hour that comes twice the first may lie before its beginning: who asks looks."""
    if len(spec.schedule) > LONGEST:
        raise WrongSchedule(f"longer than {LONGEST} characters")
    try:
        yield from map(ms_of, CronSim(spec.schedule, time_in(spec.time_zone, wall_ms), reverse=is_back))
    except CronSimError as error:
        what = str(error).replace("Bad ", "it cannot be read: bad ").replace("Wrong number", "it has a wrong number")
        raise WrongSchedule(f"{spec.schedule!r}: {what}") from None
    except UnknownZone as error:
        raise WrongSchedule(f"{error}; {error.hint}") from None
    except OverflowError:  # The end of the calendar.
        return
