"""A cluster seen from inside: straight into its actors, without a message. For the virtual clock, where nothing moves
meanwhile; for conditions and checkers, which look after every event and so must be quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..agent import Agent
from ..cluster import Cluster
from ..messages import agent_actor, cluster_actor, node_actor
from ..node import Node
from ..state.machine import ClusterState
from ..system import System

__all__ = ["Inside"]


class Inside:
    """One cluster of a system. It is a `View` too; `kinds` counts the events so far by kind."""

    def __init__(self, system: System, cluster: str = "0", kinds: Mapping[str, int] | None = None) -> None:
        self.system = system
        self.cluster = cluster
        self._known: tuple[str, ...] = ()
        self._kinds = {} if kinds is None else kinds

    # -- actors

    @property
    def front(self) -> Cluster | None:
        """The front door; None while it starts anew."""
        actor = self.system.peek(cluster_actor(self.cluster))
        return actor if isinstance(actor, Cluster) else None

    def names(self) -> tuple[str, ...]:
        """The nodes, in order of joining; while the front door is away, those it had."""
        front = self.front
        if front is not None:
            self._known = tuple(front._nodes)
        return self._known

    def member(self, name: str) -> Node | None:
        """A node's actor, once it takes part."""
        actor = self.system.peek(node_actor(self.cluster, name))
        return actor if isinstance(actor, Node) and actor.is_running else None

    def members(self) -> list[Node]:
        """Those that take part now."""
        found = (self.member(name) for name in self.names())
        return [node for node in found if node is not None]

    def agent(self, name: str) -> Agent | None:
        actor = self.system.peek(agent_actor(self.cluster, name))
        return actor if isinstance(actor, Agent) else None

    def leading(self) -> list[str]:
        """Nodes that believe they lead."""
        return [node.node for node in self.members() if node.raft.is_leader]

    def state(self) -> ClusterState | None:
        """What the leader has agreed on; without one, what the node has that is furthest."""
        leader = self.leader
        node = None if leader is None else self.member(leader)
        if node is None:
            node = max(self.members(), key=lambda one: one.applied, default=None)
        return None if node is None else node.state

    # -- the view

    @property
    def now(self) -> float:
        return self.system.now_ns / 1e9

    @property
    def leader(self) -> str | None:
        front = self.front
        return None if front is None else front.leader

    @property
    def nodes(self) -> list[_NodeInside]:
        return [_NodeInside(name, self.member(name)) for name in self.names()]

    @property
    def services(self) -> list[_ServiceInside]:
        state = self.state()
        return [] if state is None else [_ServiceInside(self, state, record) for record in state.services()]

    @property
    def links(self) -> list[_LinkInside]:
        front, names = self.front, self.names()
        cuts = {} if front is None else front._cuts
        return [_LinkInside(a, b, (a, b) in cuts) for a in names for b in names if a != b]

    def node(self, name: str) -> _NodeInside:
        return _NodeInside(name, self.member(name))

    def service(self, name: str) -> _ServiceInside:
        state = self.state()
        return _ServiceInside(self, state, None if state is None else state.service(name), name)

    def usage(self, service: str) -> dict[str, float]:
        """What the mean replica of a service uses, by metric, as the leader last heard."""
        node = None if self.leader is None else self.member(self.leader)
        used = None if node is None or node.loop is None else node.loop.usage.of_service(service)
        return {} if used is None else used.means

    def happened(self, kind: str) -> int:
        return self._kinds.get(kind, 0)

    def is_cut(self, source: str, target: str) -> bool:
        front = self.front
        return front is not None and (source, target) in front._cuts


class _NodeInside:
    __slots__ = ("_node", "name")

    def __init__(self, name: str, node: Node | None) -> None:
        self.name = name
        self._node = node

    @property
    def role(self) -> str:
        return "down" if self._node is None else self._node.member_state.lower()

    @property
    def leader(self) -> str | None:
        return None if self._node is None else self._node.known_leader()

    @property
    def term(self) -> int:
        return self._ask(lambda node: node.raft.term)

    @property
    def commit(self) -> int:
        return self._ask(lambda node: node.raft.commit_index)

    @property
    def applied(self) -> int:
        return self._ask(lambda node: node.applied)

    @property
    def last(self) -> int:
        return self._ask(lambda node: node.raft.last_index)

    @property
    def load(self) -> int:
        return self._ask(lambda node: node.state.load_of(node.node))

    @property
    def capacity(self) -> int:
        return self._ask(lambda node: node.capacity)

    def _ask(self, question: Callable[[Node], int]) -> int:
        return 0 if self._node is None else question(self._node)


class _ServiceInside:
    __slots__ = ("_inside", "_record", "_state", "name")

    def __init__(self, inside: Inside, state: ClusterState | None, record: Any, name: str = "") -> None:
        self._inside = inside
        self.name = name or record.name
        self._state = state
        self._record = record

    @property
    def replicas(self) -> int:
        return 0 if self._record is None else int(self._record.replicas)

    @property
    def placed(self) -> int:
        return 0 if self._record is None else int(self._record.placed)

    @property
    def pending(self) -> int:
        return 0 if self._record is None else int(self._record.pending)

    @property
    def completed(self) -> int:
        return 0 if self._record is None else int(self._record.completed)

    @property
    def given_up(self) -> int:
        return 0 if self._record is None else int(self._record.done - self._record.completed)

    @property
    def mode(self) -> str:
        return "" if self._record is None else str(self._record.spec.mode)

    @property
    def version(self) -> int:
        return 0 if self._record is None else int(self._record.version)

    @property
    def update(self) -> str:
        update = None if self._record is None else self._record.update
        return "" if update is None else str(update.state)

    @property
    def on(self) -> dict[str, int]:
        return {} if self._state is None else self._state.load_distribution(self.name)

    @property
    def usage(self) -> dict[str, float]:
        return self._inside.usage(self.name)


class _LinkInside:
    __slots__ = ("cut", "source", "target")

    def __init__(self, source: str, target: str, cut: bool) -> None:
        self.source = source
        self.target = target
        self.cut = cut
