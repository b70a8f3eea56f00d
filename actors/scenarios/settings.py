"""The verb `settings`: what is agreed on for a cluster as a whole."""

from __future__ import annotations

from typing import Any

from ..messages import ChangeSettings
from .stage import Stage

__all__ = ["SettingVerbs"]


class SettingVerbs(Stage):
    """Settings of the cluster; they stay as they are set, also in a cluster that ran before."""

    def settings(self, *, preemption: bool | None = None) -> dict[str, Any]:
        """Change those that are named; all of them, as they are then. Raises StepFailed where that is not agreed on."""
        body = {} if preemption is None else {"preemption": preemption}
        shown: dict[str, Any] = self.ask(ChangeSettings(body=body), "settings")
        return shown
