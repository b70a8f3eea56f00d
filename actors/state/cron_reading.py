"""What can be wrong with when a spec says that a service runs; whether a schedule can be read is seen at the edge."""

from __future__ import annotations

from collections.abc import Iterator

from .calls import InvalidCall
from .specs import ServiceSpec

MOST_WINDOW_S = 1_000_000_000


def cron_faults(spec: ServiceSpec) -> Iterator[InvalidCall]:
    """Everything that is wrong with it, the first mistake first."""
    if spec.is_cron and not spec.schedule:
        hint = 'write minute hour day month weekday, for example "*/5 * * * *"'
        yield InvalidCall("$.schedule", "a cron service needs a schedule", hint)
    if not 1 <= spec.window_s <= MOST_WINDOW_S:
        yield InvalidCall("$.window_s", f"{spec.window_s:g} is out of range", f"use 1 to {MOST_WINDOW_S}")
    if spec.is_cron:
        return
    plain = ServiceSpec()
    for field in ("schedule", "time_zone", "overlap", "window_s"):
        if getattr(spec, field) != getattr(plain, field):
            hint = "leave it out, or use mode cron"
            yield InvalidCall(f"$.{field}", f"a {spec.mode} service runs by no schedule", hint)
