"""The nodes of a nested cluster: replicas of a service of its parent.

Two things are followed, each said again and again by whoever knows it, so that none needs to arrive:

- the parent's leader says which tasks there should be: they are the nodes that the cluster should have. Those that are
  missing join; once nobody is waited for, those that are too many leave, one at a time, when nothing is on them.
- the agents of the parent's nodes say which of them have their place there. A node runs while that agent and its node
  do, and only then.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..control import VOTERS
from ..errors import Conflict, RaftyardError
from ..messages import (
    ClusterView,
    FollowService,
    HostedNodes,
    NodeSpec,
    Parent,
    SpawnCluster,
    agent_actor,
    disk_actor,
    node_actor,
    parent_node,
)
from ..state import commands
from ..system import Context
from .courier import Applied
from .home import Home
from .questions import Questions

__all__ = ["Hosting", "check_not_nested"]

START_AGAIN_S = 0.05
"""A node that is still ending is started again after this."""


class Yard(Protocol):
    """What this needs of the front door."""

    id: str
    context: Context

    @property
    def leader(self) -> str | None: ...
    def start_node(self, spec: NodeSpec) -> None: ...
    def change(self, command: commands.Command, done: Applied) -> None: ...


def check_not_nested(home: Home, why: str, how: str) -> None:
    """Raise Conflict for a nested cluster: it is changed by way of its service."""
    parent = home.spec.parent
    if parent is not None:
        raise Conflict(
            f"cluster {home.spec.cluster} is the service {parent.service!r} of cluster {parent.cluster}, so {why}",
            hint=f"{how} /clusters/{parent.cluster}/services/{parent.service}",
        )


class Hosting:
    """Where the nodes of one nested cluster run, and which there should be."""

    def __init__(self, yard: Yard, home: Home, parent: Parent, questions: Questions) -> None:
        self._yard = yard
        self._home = home
        self._parent = parent
        self._questions = questions
        self._hosts: dict[str, dict[str, bool]] = {}
        """By the parent's node: the nodes that have their place there, and whether they are to leave."""
        self._due: dict[str, None] = {}
        """To be started as soon as what they were before has ended."""
        self._desired: dict[str, NodeSpec] | None = None
        self._busy: tuple[str, ...] = ()
        self._view: ClusterView | None = None
        self._changing: dict[str, None] = {}

    def may_run(self, node: str) -> bool:
        """Whether a node has its place on a node of the parent that is there."""
        return node in self._hosts.get(parent_node(node), {})

    # -- where they run --------------------------------------------------------------------------------------

    def spawn(self, wanted: SpawnCluster) -> None:
        """An agent says which nodes have their place with it."""
        host, context = wanted.node, self._yard.context
        agent, node = agent_actor(self._parent.cluster, host), node_actor(self._parent.cluster, host)
        if not (context.is_alive(agent) and context.is_alive(node)):
            return
        context.watch(agent)
        context.watch(node)
        before = self._hosts.get(host, {})
        self._hosts[host] = now = dict(wanted.nodes)
        for name in before:
            if name not in now:
                self._halt(name)
        for name in now:
            if name not in before:
                self._due[name] = None
        self._start_due()
        self._change_members()
        self._answer(host)

    def ended(self, actor: str) -> None:
        """An actor ended: what ran on that node of the parent ends with it, until its agent says so anew."""
        for host in tuple(self._hosts):
            if actor in (agent_actor(self._parent.cluster, host), node_actor(self._parent.cluster, host)):
                for name in self._hosts.pop(host):
                    self._halt(name)

    def added(self, name: str) -> None:
        """A node lives here from now on."""
        if self.may_run(name):
            self._due[name] = None
            self._start_due()

    def _halt(self, name: str) -> None:
        self._due.pop(name, None)
        context = self._yard.context
        for actor in (node_actor, agent_actor, disk_actor):
            if context.is_alive(actor(self._yard.id, name)):
                context.stop(actor(self._yard.id, name))

    def _start_due(self) -> None:
        context, late = self._yard.context, False
        for name in tuple(self._due):
            spec = self._home.nodes.get(name)
            if spec is None:
                continue  # It has not joined yet, or has left.
            if any(actor(self._yard.id, name) in context.cells for actor in (node_actor, agent_actor, disk_actor)):
                late = True
                continue
            del self._due[name]
            self._yard.start_node(spec)
        if late:
            self._questions.later(START_AGAIN_S, self._start_due)

    def _answer(self, host: str) -> None:
        """Tell an agent which of its nodes belong to the cluster, and which have left it."""
        nodes = self._hosts.get(host)
        if not nodes:
            return
        known = () if self._view is None else tuple([spec.name for spec in self._view.nodes])
        answer = HostedNodes(
            cluster=self._yard.id,
            generation=self._home.spec.version,
            joined=tuple([name for name in nodes if name in known and name in self._home.nodes]),
            gone=tuple([name for name, leaves in nodes.items() if leaves and self._is_gone(name)]),
        )
        if answer.joined or answer.gone:
            self._yard.context.send(agent_actor(self._parent.cluster, host), answer)

    def _is_gone(self, name: str) -> bool:
        if self._desired is None or name in self._desired or name in self._changing:
            return False
        return name not in self._home.nodes

    # -- which there should be -------------------------------------------------------------------------------

    def follow(self, message: FollowService) -> None:
        """The parent's leader says which nodes there should be."""
        self._desired = {spec.name: spec for spec in message.nodes}
        self._busy = message.busy
        self._change_members()

    def viewed(self, view: ClusterView) -> None:
        """The cluster's own leader says which there are."""
        self._view = view
        self._start_due()
        self._change_members()
        for host in tuple(self._hosts):
            self._answer(host)

    def _change_members(self) -> None:
        """One step: who is missing joins; then one that is too many leaves, unless another has to replace it first."""
        view, desired = self._view, self._desired
        if view is None or not desired or self._yard.leader is None or self._changing:
            return
        there = [spec.name for spec in view.nodes]
        missing = [spec for name, spec in desired.items() if name not in there]
        if missing:
            for spec in missing:
                self._join(spec)
            return
        surplus = [name for name in there if name not in desired]
        leaving = [voter for voter in view.voters if voter not in there]
        awaited = [name for name in desired if name not in view.voters and self.may_run(name)]
        if not surplus or leaving or (awaited and len(view.voters) < VOTERS):
            return
        # Those that are lost first: they are no help any more.
        name = min(surplus, key=self.may_run)
        if name not in view.draining:
            self._send(name, commands.UpdateNode(name=name, availability="drain"))
        elif name in view.drained if self.may_run(name) else name not in self._busy:
            # What is nested in this cluster keeps its word only if it is asked before a node of its own goes.
            self._send(name, commands.RemoveNode(name=name))

    def _join(self, spec: NodeSpec) -> None:
        command = commands.AddNode(
            name=spec.name, host=spec.host, port=None, capacity=spec.capacity, resources=spec.resources
        )

        def done(result: Any, _: int) -> None:
            self._changing.pop(spec.name, None)
            if isinstance(result, RaftyardError) or not result["ok"]:
                return
            if spec.name not in self._home.nodes:
                self._home.add(spec)
            self.added(spec.name)

        self._changing[spec.name] = None
        self._yard.change(command, done)

    def _send(self, name: str, command: commands.Command) -> None:
        def done(_: Any, __: int) -> None:
            self._changing.pop(name, None)

        self._changing[name] = None
        self._yard.change(command, done)
