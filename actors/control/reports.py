"""What a node's report says without saying it: tasks that it was told to stop and no longer names are gone."""

from __future__ import annotations

import numpy as np

from ..messages import Report
from ..state.machine import ClusterState
from ..state.runs import REPORT, collect, expand, pack, unpack
from ..state.task_states import TaskState

__all__ = ["updates_of"]


def updates_of(report: Report, state: ClusterState) -> bytes:
    """The report's updates as in the command `ReportTasks`, without what is known, and SHUTDOWN for what is gone
    without a word.

    An agent that was lost cannot tell what it once ran. One that has reached the present version names all that it
    has, so the rest has ended.
    """
    named = unpack(report.updates, 3, REPORT)
    if named is None:
        return b""
    record = state.node(report.node)
    # An agent of a new life is news by itself: all that it says goes into the log.
    is_anew = record is None or report.incarnation > record.incarnation
    news = report.updates if is_anew else pack(state.news_in(report.node, named), REPORT)
    leaving = state.leaving(report.node)
    if not leaving.size or report.version != state.assignments_version(report.node):
        return news
    gone = np.setdiff1d(leaving, expand(named[:, 0], named[:, 1]))
    return news + pack(collect(gone, np.full(gone.size, int(TaskState.SHUTDOWN))), REPORT)
