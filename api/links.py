"""Links: how well one direction between two nodes carries."""

from __future__ import annotations

from typing import Any, ClassVar

from falcon import Request, Response

from .addresses import canonical_address
from .answers import answer
from .body import LINK_FAULTS
from .ports import Clusters
from .shapes import LinkView


class LinkResource:
    """/clusters/{cluster}/links/{source}/{target}"""

    takes: ClassVar[dict[str, Any]] = {"PUT": LINK_FAULTS, "PATCH": LINK_FAULTS}
    gives: ClassVar[dict[str, Any]] = {"GET": LinkView, "PUT": LinkView, "PATCH": LinkView}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str, source: str, target: str) -> None:
        """What it is like, and what it did."""
        ends = canonical_address(source), canonical_address(target)
        answer(resp, self._clusters.link(cluster, *ends))

    def on_put(self, req: Request, resp: Response, cluster: str, source: str, target: str) -> None:
        """Make it as the body says, and sound in everything else."""
        self._set(req, resp, cluster, source, target, is_patch=False)

    def on_patch(self, req: Request, resp: Response, cluster: str, source: str, target: str) -> None:
        """Change what the body names."""
        self._set(req, resp, cluster, source, target, is_patch=True)

    def _set(
        self, req: Request, resp: Response, cluster: str, source: str, target: str, *, is_patch: bool
    ) -> None:
        faults = LINK_FAULTS.read(req)
        ends = canonical_address(source), canonical_address(target)
        answer(resp, self._clusters.set_link(cluster, *ends, faults, is_patch=is_patch))
