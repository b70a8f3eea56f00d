"""The messages, settings and reports of the system itself."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Terminated(msgspec.Struct, frozen=True, kw_only=True):
    """Tells a watcher that an actor ended.

    `crashed`: it will be restarted, and the watch stays. The others are final: `stopped` on purpose, `gave-up` after a
    crash that is not followed by a restart, `never-existed` when there was nobody to watch.
    """

    name: str
    incarnation: int
    reason: Literal["stopped", "crashed", "gave-up", "never-existed"]


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Ask any actor this and it answers with its counters (`dict[str, int | float | str]`)."""


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """How often a crashed actor may come back: at most `limit` times within `within_s` seconds, each after `delay_s`.

    One crash more, and the actor is given up: its parent crashes in its turn, if it has one.
    """

    limit: int = 3
    within_s: float = 60.0
    delay_s: float = 0.0

    @classmethod
    def never(cls) -> Restart:
        """No restart; and a crash of this actor is no crash of its parent."""
        return cls(limit=0)


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """One handled message: who sent it, to whom, what, when, and in the handling of which other message it was sent.

    `number` counts handled messages from 1; `caused_by` is such a number, None for what came from outside or was sent
    before tracing began.
    """

    number: int
    t_ns: int
    sender: str | None
    to: str
    message: Any
    caused_by: int | None
