"""Health: whether the program answers, and whether it can do its work; for those who watch over it."""

from __future__ import annotations

from typing import Any, ClassVar

from falcon import Request, Response

from .answers import answer
from .ports import Clusters, Unavailable
from .shapes import Health


class HealthResource:
    """/healthz"""

    takes: ClassVar[dict[str, Any]] = {}
    gives: ClassVar[dict[str, Any]] = {"GET": Health}

    def on_get(self, req: Request, resp: Response) -> None:
        """The program runs."""
        answer(resp, {"status": "ok"})


class ReadyResource:
    """/readyz"""

    takes: ClassVar[dict[str, Any]] = {}
    gives: ClassVar[dict[str, Any]] = {"GET": Health}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response) -> None:
        """Cluster 0 has a leader; 503 while it has none."""
        if not self._clusters.is_ready():
            raise Unavailable("cluster 0 has no leader at the moment", "retry in 1 s", retry_after_s=1)
        answer(resp, {"status": "ok"})
