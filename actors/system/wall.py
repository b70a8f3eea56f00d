"""The wall clock's time of day in a time zone; what a zone's rules say is the world's business, like the clock itself.

Times are milliseconds since 1970 in UTC.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, available_timezones

__all__ = ["UnknownZone", "ms_of", "time_in"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UnknownZone(ValueError):
    """No such time zone on this machine; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def time_in(zone: str, wall_ms: int) -> datetime:
    """The date and time there. Raises UnknownZone."""
    return (_EPOCH + timedelta(milliseconds=wall_ms)).astimezone(_zone(zone))


def ms_of(moment: datetime) -> int:
    """The same back; a moment without a time zone has none."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # Needs no data.
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        known = available_timezones()
    if not known:
        raise UnknownZone(
            f"time zone {name}: this machine has no time zone data",
            "install it (`pip install tzdata`) wherever a node runs, or use UTC",
        )
    near = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"did you mean {near[0]}?" if near else "use a name such as Europe/Berlin, or UTC"
    raise UnknownZone(f"there is no time zone {name!r}", hint)
