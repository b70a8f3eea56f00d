"""Units that appear in more than one room: time is whole nanoseconds inside, seconds at the edge."""

from __future__ import annotations

__all__ = ["NS_PER_MS", "NS_PER_S", "ns_from_s", "s_from_ns"]

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


def ns_from_s(seconds: float) -> int:
    """Whole nanoseconds, rounded once, so that equal inputs give equal times on every machine."""
    return round(seconds * NS_PER_S)


def s_from_ns(nanoseconds: int) -> float:
    """Seconds for people; never fed back into a deadline."""
    return nanoseconds / NS_PER_S
