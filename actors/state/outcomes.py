"""Refusals, as values: what was wrong with a command, and what to do."""

from __future__ import annotations

from .records import Outcome


def refused(code: str, reason: str) -> Outcome:
    """`code` is for programs, `reason` for people."""
    return Outcome(ok=False, code=code, reason=reason)


def stale_term(term: int, claimed: int) -> Outcome:
    """A leader decided this that leads no more."""
    return refused("stale-term", f"decided by the leader of term {claimed}, but the entry is of term {term}")
