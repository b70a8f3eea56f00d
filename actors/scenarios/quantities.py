"""Times and shares as people write them: 250ms, 5s, 2m; 5%."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import Meta

__all__ = ["Duration", "Moment", "Share", "epoch_ns_of", "ns_of", "share_of", "text_of"]

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
# 18 digits are a long time in any unit, and no float is out of range.
_DURATION = re.compile(r"(\d{1,18}(?:\.\d+)?)(ns|us|ms|s|m|h)")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)%")
_MOMENT = r"(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?Z"

Duration = Annotated[
    str,
    Meta(
        pattern=r"^\d{1,18}(\.\d+)?(ns|us|ms|s|m|h)$",
        description="A time with its unit: 250ms, 5s, 2m.",
        extra={"means": "a time with its unit, such as 250ms, 5s or 2m"},
    ),
]
Share = Annotated[
    str,
    Meta(
        pattern=r"^(100(\.0+)?|\d{1,2}(\.\d+)?)%$",
        description="A share of all messages: 5%.",
        extra={"means": "a share from 0% to 100%, such as 5%"},
    ),
]

Moment = Annotated[
    str,
    Meta(
        pattern=f"^{_MOMENT}$",
        description="A date and time in UTC: 2026-03-28T23:59Z.",
        extra={"means": "a date and time in UTC, such as 2026-03-28T23:59Z"},
    ),
]


def epoch_ns_of(moment: str) -> int:
    """Nanoseconds since 1970 of `2026-03-28T23:59Z`; a day that a month lacks lies in the next. Raises ValueError."""
    if re.fullmatch(_MOMENT, moment) is None:
        raise ValueError(f"{moment!r} is not a moment; write it as 2026-03-28T23:59Z")
    day = timedelta(days=int(moment[8:10]) - 1)
    begun = datetime.fromisoformat(f"{moment[:8]}01{moment[10:-1]}+00:00") + day
    return int((begun - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000_000


def ns_of(time: str | float) -> int:
    """Nanoseconds of `5s`, `250ms`; a bare number is seconds, for Python callers. Raises ValueError."""
    if isinstance(time, int | float):
        if not 0 <= time < math.inf:
            raise ValueError(f"{time!r} s is no time that can pass; write 0 or more")
        return round(time * 1e9)
    found = _DURATION.fullmatch(time.strip())
    if found is None:
        raise ValueError(f"{time!r} is not a time; write it with its unit, such as 250ms, 5s or 2m")
    return round(float(found[1]) * _UNITS[found[2]])


def share_of(share: str | float) -> float:
    """From 0 to 1, of `5%`; a bare number is taken as it is, for Python callers. Raises ValueError."""
    value = share
    if isinstance(value, str):
        found = _SHARE.fullmatch(value.strip())
        if found is None:
            raise ValueError(f"{share!r} is not a share; write it as 5%")
        value = float(found[1]) / 100
    if not 0 <= value <= 1:
        raise ValueError(f"{share!r} is not between 0% and 100%")
    return float(value)


def text_of(t_ns: int) -> str:
    """`3.214 s`, for people."""
    return f"{t_ns / 1e9:.3f} s"
