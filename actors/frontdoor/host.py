"""What the pieces of a front door need of the actor that runs them."""

from __future__ import annotations

from typing import Protocol

from ..system import Context

__all__ = ["Host"]


class Host(Protocol):
    """The actor, as its pieces see it; `Cluster` is one. There is a `context` from `on_start` on."""

    id: str
    context: Context
