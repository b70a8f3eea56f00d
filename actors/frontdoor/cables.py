"""The cables of one cluster: which links are up, and how well they carry.

What is cut is kept in the cluster's Home, not in the log: see docs/decisions/front-door-owns-cuts.md.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import InvalidRequest, RaftyardError, UnknownNode
from ..messages import (
    CutLink,
    DescribeConnections,
    DescribeLink,
    DescribeLinkRequest,
    LinkShown,
    LinkStatus,
    Message,
    RestoreLink,
    SetConnections,
    SetLinkPolicy,
    SetLinkPolicyRequest,
    link_actor,
)
from ..system import Promise
from .addresses import resolve
from .home import Home
from .host import Host

__all__ = ["Cables", "Recut"]

FULL_MATRIX_NODES = 50
RECUT_S = 0.01

Pair = tuple[str, str]
"""Source and target: one direction."""
Matrix = dict[str, dict[str, int]]
"""By the addresses of source and target: 1 is up, 0 is cut."""
Lay = Callable[[str, str], None]
"""Starts the link from a source to a target, which is not there."""


class Recut(Message, frozen=True, kw_only=True, gc=False):
    """To the front door itself: a wire that was cut has crashed and starts anew."""

    source: str
    target: str


class Cables:
    """The links between the nodes that live at `home`; `lay` starts one that nobody has used yet."""

    def __init__(self, host: Host, home: Home, lay: Lay) -> None:
        self._host = host
        self._home = home
        self._lay = lay
        self._next_ref = 0
        self._waiting: dict[int, Callable[[LinkStatus], object]] = {}

    # -- as they are -----------------------------------------------------------------------------------------

    def matrix(self) -> Matrix:
        """Every direction, or only those that are cut where there are too many to read."""
        nodes = self._home.nodes
        if len(nodes) <= FULL_MATRIX_NODES:
            return {spec.address: self._row(spec.name) for spec in nodes.values()}
        matrix: Matrix = {}
        for source, target in self._home.cuts:
            matrix.setdefault(nodes[source].address, {})[nodes[target].address] = 0
        return matrix

    def describe(self, question: DescribeConnections) -> Matrix | Promise:
        """The matrix, or one node's row of it."""
        if question.node is None:
            return self.matrix()
        promise = self._host.context.promise()
        try:
            promise.keep(self._row(resolve(self._home, question.node)))
        except UnknownNode as error:
            promise.fail(error)
        return promise

    def describe_link(self, question: DescribeLinkRequest) -> Promise:
        """One direction: what it is like, and what it did."""
        promise = self._host.context.promise()
        wire = self._named_wire(question.source, question.target, promise)
        if wire is not None:
            ref, me = self._expect(lambda status: promise.keep(self._shown(status))), self._host.context.name
            self._host.context.send(wire, DescribeLink(ref=ref, reply_to=me))
        return promise

    def _shown(self, status: LinkStatus) -> LinkShown:
        nodes = self._home.nodes
        source, target = (
            nodes[name].address if name in nodes else name for name in (status.source, status.target)
        )
        return LinkShown(source=source, target=target, status=status)

    def _row(self, node: str) -> dict[str, int]:
        return {
            spec.address: 0 if (node, spec.name) in self._home.cuts else 1
            for spec in self._home.nodes.values()
            if spec.name != node
        }

    # -- as they should be -----------------------------------------------------------------------------------

    def change(self, request: SetConnections) -> Promise:
        """Cut and restore. All or nothing: every name is looked up before the first wire is touched."""
        promise = self._host.context.promise()
        try:
            row_of = None if request.row_of is None else resolve(self._home, request.row_of)
            changes = self._read(request.matrix)
        except RaftyardError as error:
            promise.fail(error)
            return promise

        def in_force() -> None:
            promise.keep(self.matrix() if row_of is None else self._row(row_of))

        waiting = len(changes)
        if not waiting:
            in_force()

        def one_done() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                in_force()

        for pair, up in changes.items():
            self._set(pair, up, one_done)
        return promise

    def set_policy(self, request: SetLinkPolicyRequest) -> Promise:
        """Make one direction slow, lossy, unruly or sound."""
        promise = self._host.context.promise()
        wire = self._named_wire(request.source, request.target, promise)
        if wire is not None:
            ref, me = self._expect(lambda status: promise.keep(self._shown(status))), self._host.context.name
            self._host.context.send(wire, SetLinkPolicy(policy=request.policy, ref=ref, reply_to=me))
        return promise

    def answered(self, status: LinkStatus) -> None:
        """A wire has done as it was told."""
        pair = (status.source, status.target)
        if status.cut:
            self._home.cuts[pair] = True
        else:
            self._home.cuts.pop(pair, None)
        done = self._waiting.pop(status.ref, None)
        if done is not None:
            done(status)

    # -- wires that start anew are whole; what was cut stays cut ---------------------------------------------

    def cut_again(self) -> None:
        """Everything that was cut when the front door was there last."""
        for pair in tuple(self._home.cuts):
            self._set(pair, 0, lambda: None)

    def crashed(self, actor: str) -> None:
        """An actor crashed and will be started again; if it was a wire that was cut, it will be cut."""
        for source, target in self._home.cuts:
            if link_actor(self._host.id, source, target) == actor:
                self._host.context.after(RECUT_S, Recut(source=source, target=target))

    def recut(self, message: Recut) -> None:
        """Cut a wire that should be there by now."""
        if (message.source, message.target) in self._home.cuts:
            wire = self._wire(message.source, message.target)
            self._host.context.send(wire, CutLink(reply_to=self._host.context.name))

    def take_up(self, node: str) -> None:
        """A node has left: so do its wires."""
        context, cluster = self._host.context, self._host.id
        for other in self._home.nodes:
            for wire in (link_actor(cluster, node, other), link_actor(cluster, other, node)):
                if context.is_alive(wire):
                    context.stop(wire)
        for pair in [pair for pair in self._home.cuts if node in pair]:
            del self._home.cuts[pair]

    # -- one wire --------------------------------------------------------------------------------------------

    def _set(self, pair: Pair, up: int, done: Callable[[], None]) -> None:
        wire = self._wire(*pair)
        self._host.context.watch(wire)
        control = RestoreLink if up else CutLink
        ref = self._expect(lambda _: done())
        self._host.context.send(wire, control(ref=ref, reply_to=self._host.context.name))

    def _wire(self, source: str, target: str) -> str:
        wire = link_actor(self._host.id, source, target)
        if not self._host.context.is_alive(wire):
            self._lay(source, target)
        return wire

    def _named_wire(self, source: str, target: str, promise: Promise) -> str | None:
        """The wire between two nodes by name or address; the promise fails where there is none."""
        try:
            pair = resolve(self._home, source), resolve(self._home, target)
        except UnknownNode as error:
            promise.fail(error)
            return None
        if pair[0] == pair[1]:
            promise.fail(UnknownNode(f"{source} has no link to itself", hint="name two different nodes"))
            return None
        return self._wire(*pair)

    def _expect(self, done: Callable[[LinkStatus], object]) -> int:
        self._next_ref += 1
        self._waiting[self._next_ref] = done
        return self._next_ref

    # -- what was asked for ----------------------------------------------------------------------------------

    def _read(self, matrix: Matrix) -> dict[Pair, int]:
        changes: dict[Pair, int] = {}
        for source_text, row in matrix.items():
            source = self._resolve(source_text, f"$.{source_text}")
            for target_text, up in row.items():
                path = f"$.{source_text}.{target_text}"
                target = self._resolve(target_text, path)
                if source == target:
                    raise InvalidRequest(
                        f"{target_text} has no link to itself", path=path, hint="name one of the other nodes"
                    )
                if up not in (0, 1) or isinstance(up, bool):
                    raise InvalidRequest(f"{up!r} is neither 0 nor 1", path=path, hint="0 cuts, 1 restores")
                changes[(source, target)] = up
        return changes

    def _resolve(self, text: str, path: str) -> str:
        try:
            return resolve(self._home, text)
        except UnknownNode as error:
            raise InvalidRequest(str(error), path=path, hint=error.hint) from None
