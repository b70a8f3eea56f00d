"""What is refused, and what fails here, as the error that a user gets: what happened, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import Conflict, RaftyardError
from ..system import Context

__all__ = ["answered", "conflict"]

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


def answered(context: Context, handler: Callable[[Any], Any], request: Any) -> Any:
    """What `handler` answers to what somebody asks and waits for. What it raises is our own mistake; yet one request
    must not end an actor, whose nodes would all start anew: the asker is told, and the log says why."""
    try:
        return handler(request)
    except Exception:
        kind = type(request).__name__
        context.log.exception("request failed kind=%s", kind)
        promise = context.promise()
        promise.fail(RaftyardError(f"{kind} failed here", hint="the program's log says why; please report it"))
        return promise
