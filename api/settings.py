"""The settings of a cluster over REST."""

from __future__ import annotations

from typing import Any, ClassVar

from falcon import Request, Response

from .answers import answer
from .body import SETTINGS
from .ports import Clusters
from .shapes import SettingsView


class SettingsResource:
    """/clusters/{cluster}/settings"""

    takes: ClassVar[dict[str, Any]] = {"PATCH": SETTINGS}
    gives: ClassVar[dict[str, Any]] = {"GET": SettingsView, "PATCH": SettingsView}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str) -> None:
        """What is agreed on for the cluster as a whole."""
        answer(resp, self._clusters.settings(cluster))

    def on_patch(self, req: Request, resp: Response, cluster: str) -> None:
        """Change what the body names: {"preemption": true}."""
        answer(resp, self._clusters.change_settings(cluster, SETTINGS.read(req)))
