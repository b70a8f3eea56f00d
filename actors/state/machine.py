"""The replicated state of a cluster: every member applies the same commands in the same order and so agrees.

This is the signature; the working state follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .commands import Command
from .records import (
    Assignments,
    CallRecord,
    ClusterRecord,
    NodeRecord,
    Outcome,
    Pending,
    ServiceRecord,
    TaskRecord,
)


class ClusterState:
    applied_index: int

    def apply(self, index: int, term: int, command: Command) -> Outcome: raise NotImplementedError
    def snapshot(self) -> bytes: raise NotImplementedError
    def restore(self, data: bytes) -> None: raise NotImplementedError
    def digest(self) -> str: raise NotImplementedError
    def check(self) -> None: raise NotImplementedError

    def nodes(self) -> tuple[NodeRecord, ...]: raise NotImplementedError
    def node(self, name: str) -> NodeRecord | None: raise NotImplementedError
    def services(self) -> tuple[ServiceRecord, ...]: raise NotImplementedError
    def service(self, name: str) -> ServiceRecord | None: raise NotImplementedError
    def load_of(self, name: str) -> int: raise NotImplementedError
    def load_distribution(self, service: str) -> dict[str, int]: raise NotImplementedError
    def tasks_of(self, node: str) -> Iterable[TaskRecord]: raise NotImplementedError
    def assignments(self, node: str) -> Assignments: raise NotImplementedError
    def pending(self) -> tuple[Pending, ...]: raise NotImplementedError

    def head(self) -> CallRecord | None: raise NotImplementedError          # the oldest unfinished call, `spreading`
    def call(self, id: str) -> CallRecord | None: raise NotImplementedError
    def last_call(self) -> CallRecord | None: raise NotImplementedError
    def pending_calls(self) -> tuple[CallRecord, ...]: raise NotImplementedError
    def clusters(self) -> tuple[ClusterRecord, ...]: raise NotImplementedError
    def cluster(self, id: str) -> ClusterRecord | None: raise NotImplementedError
    def statistics(self) -> Mapping[str, int]: raise NotImplementedError
