"""What the state machine refuses, as the error that a user gets: what happened, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import Conflict

__all__ = ["conflict"]

_HINTS = {
    "no-earlier": "send as to_version one of the versions that the service has in earlier, or PUT the spec itself",
}
_ADVISED = ("mode", "kind", "taken", "exists", "address-taken", "last-node", "invalid")
"""Codes of refusals whose reason ends with what to do, behind a semicolon."""


def conflict(refused: Mapping[str, Any]) -> Conflict:
    """The refusal with this `code` and `reason`, in which advice is found: members keep its words among what they agree
    on, so they stay as they are."""
    code, reason = refused["code"], refused["reason"]
    if code not in _ADVISED:
        return Conflict(reason, hint=_HINTS.get(code, ""))
    told, _, advice = reason.rpartition("; ")
    return Conflict(told or advice, hint=advice if told else "")
