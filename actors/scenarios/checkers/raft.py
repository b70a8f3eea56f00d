"""Raft's own promises, after every step of every member: raft/invariants.py, and equal states after equal entries."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from ...messages import node_actor
from ...node import Node
from ...raft.core import Raft
from ...raft.events import Ready
from ...raft.invariants import Invariants
from ...system import Event, System
from ..histories import History
from ..inside import Inside
from .base import Checker

__all__ = ["Promises", "RaftInvariants"]


class Promises:
    """Checks every node of every cluster after every event: Raft's promises, the agreed state's, equal states.

    A member's state is looked at before anything else happens to the system, that is at the next step of any member.
    Raises AssertionError.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._clusters: dict[str, Invariants] = {}
        self._gone: dict[tuple[str, str], bool] = {}
        """Nodes that left, and whether one of that name has joined since."""
        self._changed: dict[tuple[str, str], None] = {}
        self.checked_states = 0
        self.with_states = True
        system.events.subscribe(self._heard)

    def raft(self, cluster: str = "0") -> Invariants:
        return self._clusters.setdefault(cluster, Invariants())

    def observe(self, core: Any, event: Any, ready: Any) -> None:
        """What `OrchestratorSettings.observe` wants: a member has stepped."""
        if self._changed:
            self.look()
        key = (core.cluster, core.member)
        raft = self.raft(core.cluster)
        seen = raft.seen.get(core.member)
        if key in self._gone and seen is not None and seen.core is not core:
            # Somebody new by the name of one that left, or that one once more, before anybody has stopped it.
            if self._gone[key]:
                del self._gone[key]
            raft.forget(core.member)
        raft.check_step(core, event, ready)
        if ready.apply is not None and self.with_states:
            self._changed[key] = None

    def look(self) -> None:
        """Check the states that changed."""
        changed, self._changed = self._changed, {}
        for cluster, member in changed:
            node = self._system.peek(node_actor(cluster, member))
            if isinstance(node, Node) and node.applied:
                node.state.check()
                digest = sha256(node._sessions.snapshot()).digest()
                self.raft(cluster).check_state(member, node.applied, digest)
                self.checked_states += 1

    def _heard(self, event: Event) -> None:
        if event.kind == "node-removed" and event.cluster is not None:
            self._gone[event.cluster, event.data["name"]] = False
        elif event.kind == "node-added" and (event.cluster, event.data["name"]) in self._gone:
            self._gone[str(event.cluster), event.data["name"]] = True
        elif event.kind == "cluster-stopped" and event.cluster is not None:
            self._clusters.pop(event.cluster, None)
            self._changed = {key: None for key in self._changed if key[0] != event.cluster}


class RaftInvariants(Checker):
    """Every invariant of Raft, and that nodes which applied the same entries have the same state."""

    name = "raft"
    promise = "every invariant of Raft holds in every cluster, and equal logs give equal states"
    of_all_clusters = True

    def __init__(self, inside: Inside, history: History) -> None:
        super().__init__(inside, history)
        self._promises = Promises(inside.system)

    def stepped(self, core: Raft, event: Any, ready: Ready) -> None:
        self._checked(lambda: self._promises.observe(core, event, ready))

    def ended(self) -> None:
        self._checked(self._promises.look)

    def _checked(self, look: Any) -> None:
        try:
            look()
        except AssertionError as error:
            raise self.broken(str(error) or "a state breaks a promise of its own") from error
