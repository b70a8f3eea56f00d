"""What the server tells the app about a request beside WSGI's own environ: the tag of its port, and room to wait."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

TAG = "raftyard.tag"
"""The tag under which the request's port was opened; None on the orchestrator's port."""

EXTRA_THREAD = "raftyard.extra_thread"
"""A callable that makes a context, in which the request does not count among the pool's threads."""


def room_to_wait(environ: dict[str, Any]) -> AbstractContextManager[None]:
    """A context for what may take seconds, so that it holds up nobody else's request."""
    make = environ.get(EXTRA_THREAD)
    return nullcontext() if make is None else make()
