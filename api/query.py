"""Reads what stands behind the question mark: `?wait=executed&timeout=5s`, `?log=10..20`, `?limit=50&offset=100`."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from falcon import Request

from .nearest import did_you_mean
from .ports import LogRange, Malformed, Page

DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)", re.ASCII)
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
LOG = re.compile(r"(\d{0,18})\.\.(\d{0,18})", re.ASCII)
WHOLE = re.compile(r"\d{1,18}", re.ASCII)

DEFAULT_WAIT_S = 5.0
MAX_WAIT_S = 60.0
MAX_LOG_ENTRIES = 1000
MAX_PAGE = 1000


PAGE = ("limit", "offset")
EVENTS = ("since", "limit", "kinds", "wait")
VERSION = ("version",)
WAIT = ("wait", "timeout")
LOG_RANGE = ("log",)
"""What a resource's `asks` names by method, and one function below reads."""


def check_names(req: Request, known: Collection[str]) -> None:
    """Refuse a parameter that the route does not know: a typo would otherwise do nothing, silently."""
    for name in req.params:
        if name not in known:
            raise Malformed(
                f"unknown query parameter {name}", did_you_mean(name, known), code="unknown-parameter"
            )


def seconds(text: str, name: str) -> float:
    """`5s`, `500ms`, `1.5m` as seconds."""
    found = DURATION.fullmatch(text)
    if found is None:
        hint = (
            f"say the unit: {name}={text}s"
            if WHOLE.fullmatch(text)
            else f"for example {name}=5s, {name}=500ms"
        )
        raise Malformed(f"{name}={text} is not a duration", hint, code="duration")
    return float(found[1]) * SECONDS[found[2]]


def wait_seconds(req: Request) -> float | None:
    """How long `?wait=executed&timeout=5s` is willing to wait; None when it does not ask to wait."""
    wait, timeout = req.get_param("wait"), req.get_param("timeout")
    if wait is None:
        if timeout is not None:
            raise Malformed(
                "timeout is only for a call that waits",
                f"add wait=executed: ?wait=executed&timeout={timeout}",
            )
        return None
    if wait != "executed":
        raise Malformed(f"wait={wait} is not known", "use wait=executed, with timeout=5s for how long")
    wanted = DEFAULT_WAIT_S if timeout is None else seconds(timeout, "timeout")
    if wanted > MAX_WAIT_S:
        raise Malformed(
            f"timeout={timeout} is too long", f"wait for {MAX_WAIT_S:.0f}s at most, and ask again"
        )
    return wanted


def log_range(req: Request) -> LogRange:
    """`?log=10..20` by index, both included; `?log=10..` to the newest; without it the newest 20."""
    text = req.get_param("log")
    if text is None:
        return LogRange()
    found = LOG.fullmatch(text)
    if found is None:
        raise Malformed(f"log={text} is not a range", "for example ?log=10..20, ?log=10.. or ?log=..20")
    first, last = (int(bound) if bound else None for bound in found.groups())
    if first is not None and last is not None and not 0 <= last - first < MAX_LOG_ENTRIES:
        raise Malformed(
            f"log={text} is not a range", f"the first index comes first, {MAX_LOG_ENTRIES} entries at most"
        )
    return LogRange(first, last)


def page(req: Request) -> Page:
    """`?limit=50&offset=100`"""
    if not req.query_string:
        return Page()
    return Page(_whole(req, "offset", 0), _limit(req))


class EventRange(NamedTuple):
    """`?since=120&limit=50&kinds=leader-elected,link-cut&wait=10s`; None where it was not said."""

    since: int | None
    limit: int
    kinds: frozenset[str] | None
    wait_s: float | None


def event_range(req: Request, known_kinds: Collection[str]) -> EventRange:
    """Which events are wanted, and how long to wait for one."""
    since = None if req.get_param("since") is None else _whole(req, "since", 0)
    wait = req.get_param("wait")
    wait_s = None if wait is None else seconds(wait, "wait")
    if wait_s is not None and wait_s > MAX_WAIT_S:
        raise Malformed(f"wait={wait} is too long", f"wait for {MAX_WAIT_S:.0f}s at most, and ask again")
    return EventRange(since, _limit(req), _kinds(req, known_kinds), wait_s)


def _kinds(req: Request, known: Collection[str]) -> frozenset[str] | None:
    given = req.get_param_as_list("kinds")
    if given is None:
        return None
    kinds = frozenset(kind for text in given for kind in text.split(",") if kind)
    if not kinds:
        raise Malformed("kinds names no kind of event", "leave it out for all, or write for example kinds=link-cut")
    for kind in sorted(kinds):
        if kind not in known:
            raise Malformed(f"there is no kind of event {kind}", did_you_mean(kind, known))
    return kinds


def _limit(req: Request) -> int:
    limit = _whole(req, "limit", Page().limit)
    if not 1 <= limit <= MAX_PAGE:
        raise Malformed(f"limit={limit} is out of range", f"from 1 to {MAX_PAGE}")
    return limit


def version(req: Request) -> int | None:
    """`?version=3`: only if that is still the version."""
    return _whole(req, "version", 0) if req.query_string and req.get_param("version") is not None else None


def _whole(req: Request, name: str, default: int) -> int:
    text = req.get_param(name)
    if text is None:
        return default
    if WHOLE.fullmatch(text) is None:
        raise Malformed(f"{name}={text} is not a number", f"for example {name}=100")
    return int(text)
