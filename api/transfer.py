"""The transfer of leadership over REST."""

from __future__ import annotations

from typing import Any, ClassVar

from falcon import Request, Response

from .addresses import canonical_address
from .answers import answer
from .body import TRANSFER
from .environ import room_to_wait
from .ports import Clusters
from .shapes import TransferOrder, TransferView


class TransferResource:
    """/clusters/{cluster}/transfer"""

    takes: ClassVar[dict[str, Any]] = {"POST": TRANSFER}
    gives: ClassVar[dict[str, Any]] = {"POST": TransferView}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_post(self, req: Request, resp: Response, cluster: str) -> None:
        """Another node leads: {"target": "localhost:8002"}, or without a body whoever is furthest."""
        target = TRANSFER.read_if_any(req, TransferOrder()).target
        with room_to_wait(req.env):
            made = self._clusters.transfer(cluster, None if target is None else canonical_address(target))
        answer(resp, made)
