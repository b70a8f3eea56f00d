"""The control loop of a leader: desired against observed, one difference at a time, for one term.

It is level-triggered. A round looks at the state as it is now, proposes what is missing and stops; the next round
comes when that has been applied, or when something else changed, or at the next tick. What it knows besides the state
(who is heard, which assignments a node has confirmed) dies with the term and is learnt anew by the next leader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..messages import Assign, Beat, ClusterSpec, ClusterView, Heeded, Message, NodeSpec, Report
from ..raft import sessions
from ..raft.events import Accepted, Propose, Refused
from ..scheduling.reconcile import plan_call, plan_repair
from ..state import commands
from ..state.commands import (
    AddNode,
    Command,
    ExecuteCall,
    FailCall,
    GoOnRebalance,
    MoveNodes,
    PassTime,
    PlaceTasks,
    ReportTasks,
    SetNodeStatus,
    Told,
)
from ..state.records import CallRecord, NodeRecord, Outcome
from ..units import NS_PER_MS
from .liveness import TICK_MS, Liveness
from .membership import VOTER_LOST_S, next_change
from .reports import updates_of

if TYPE_CHECKING:
    from .host import Host

__all__ = ["ControlLoop", "ControlTick"]

RESEND_MS = 300
"""Assignments that a node has not confirmed are sent again this often."""
BEAT_EVERY_TICKS = 2
VIEW_EVERY_TICKS = 10
UNTOLD_KEPT = 16
"""From so many entries on the state is told which of their events need not be kept."""


class ControlTick(Message, frozen=True, kw_only=True, gc=False):
    """To the leader itself, every TICK_MS of its term."""

    term: int


class ControlLoop:
    """One leader's loop in one term. `host` is the node that leads."""

    def __init__(self, host: Host, term: int) -> None:
        self.term = term
        self._host = host
        self._since_ns = host.context.now_ns()
        self._liveness = Liveness(self._since_ns)
        self.first_index = host.raft.last_index
        """Everything committed before this leader is applied once its own first entry is."""
        self._told = 0
        self._clock_began_ms: int | None = None
        self._proposal = 0
        self._until: int | None = None
        self._reports: dict[str, Report] = {}
        self._proposed_reports: dict[str, Report] = {}
        self._settled: dict[str, int] = {}
        self._confirmed: dict[str, int] = {}
        self._sent: dict[str, tuple[int, int]] = {}
        self._ticks = 0
        self._view: ClusterView | None = None
        # What the view was made of: most rounds find it unchanged, and comparing the same objects costs nothing.
        self._view_basis: tuple[object, ...] = ()

    def start(self) -> None:
        """Begin to tick."""
        self._host.context.after_ns(TICK_MS * NS_PER_MS, ControlTick(term=self.term))

    # -- what comes in ---------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Time passed: beat the workers, look who is silent, send again what was not confirmed."""
        host = self._host
        self._ticks += 1
        self._liveness.tick(host.context.now_ns())
        if self._ticks % BEAT_EVERY_TICKS == 0:
            self._beat_workers()
        if self._ticks % VIEW_EVERY_TICKS == 0:
            self._view = None
        host.look_again()
        host.context.after_ns(TICK_MS * NS_PER_MS, ControlTick(term=self.term))

    def heard(self, node: str) -> None:
        """A node that takes no part in the consensus answered."""
        self._liveness.heard(node, self._host.context.now_ns())

    def reported(self, report: Report) -> None:
        """A node confirmed its assignments; what it says of its tasks is proposed with the next round."""
        self.heard(report.node)
        self._confirmed[report.node] = report.version
        updates = updates_of(report, self._host.state)
        if updates:
            self._reports[report.node] = msgspec.structs.replace(report, updates=updates)
            self._host.look_again()
        else:
            self._heed(report)

    def _heed(self, report: Report) -> None:
        """What the agent said of its own accord need not be said again."""
        if report.change:
            heeded = Heeded(
                leader=self._host.node,
                term=self.term,
                incarnation=report.incarnation,
                change=report.change,
            )
            self._host.send_to_node(report.node, heeded)

    def accepted(self, accepted: Accepted) -> None:
        """The loop's proposal is in the log up to this index: the next round waits until that is applied."""
        if accepted.ref == self._proposal:
            self._until = accepted.index + accepted.count - 1

    def refused(self, refusal: Refused) -> None:
        """The loop's proposal was not taken; the next tick tries again."""
        if refusal.ref == self._proposal:
            self._proposal = 0
            for node in self._proposed_reports:
                self._confirmed.pop(node, None)
            self._proposed_reports = {}

    def applied(self, outcome: Outcome) -> None:
        """A command took effect here."""
        call = outcome.call
        if outcome.queue and call is not None and call.executed_index is not None:
            self._host.tell_finished((call.id, *call.absorbed))

    def told(self, index: int) -> None:
        """The events of all entries up to this one are in the event log."""
        self._told = max(self._told, index)

    @property
    def has_proposed(self) -> bool:
        """Whether something of this loop's is under way: what becomes of it matters, even where it changes nothing."""
        return self._proposal != 0

    # -- one round -------------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Propose what is missing, unless the last proposal is still under way."""
        host = self._host
        if host.applied < self.first_index:
            return
        if self._is_free():
            missing = self._missing()
            if missing:
                self._propose(missing)
        nodes = host.state.nodes()
        self._assign(nodes)
        self._change_membership(nodes)
        self._push_view(nodes)

    def _is_free(self) -> bool:
        if not self._proposal:
            return True
        if self._until is None or self._host.applied < self._until:
            return False
        self._proposal, self._until = 0, None
        for node, report in self._proposed_reports.items():
            self._settled[node] = report.version
            self._heed(report)
        self._proposed_reports = {}
        return True

    def _missing(self) -> list[Command]:
        state = self._host.state
        nodes = state.nodes()
        if not nodes:
            return list(self._first_nodes())
        changes = self._moves(nodes) or self._status_changes(nodes)
        if changes:
            return changes
        missing: list[Command] = []
        self._proposed_reports, self._reports = self._reports, {}
        for name, report in self._proposed_reports.items():
            missing.append(ReportTasks(node=name, incarnation=report.incarnation, updates=report.updates))
        head = state.head()
        now_ms = self.clock_ms()
        if head is not None:
            missing.append(self._work(head))
        else:
            repair = plan_repair(state, now_ms)
            if repair is not None:
                missing.append(PlaceTasks(term=self.term, made_at=state.applied_index, plan=repair))
            elif state.rebalance_is_due():
                missing.append(GoOnRebalance(term=self.term))
        if now_ms > state.clock_ms() and (missing or state.waits_for_time(now_ms)):
            missing.insert(0, PassTime(term=self.term, clock_ms=now_ms))
        if missing and len(state.untold) >= UNTOLD_KEPT and self._told > state.untold.floor:
            # It rides with what is proposed anyway: a cluster that is idle stays so.
            missing.append(Told(index=self._told))
        return missing

    def clock_ms(self) -> int:
        """How late it is on the cluster's clock: as late as the log says, and the time since this leader began."""
        now_ms = self._host.context.now_ns() // NS_PER_MS
        if self._clock_began_ms is None:
            self._clock_began_ms = now_ms - self._host.state.clock_ms()
        return now_ms - self._clock_began_ms

    def _work(self, call: CallRecord) -> Command:
        """Carry out the oldest call. One that cannot be planned fails, so that those behind it are not held up."""
        state = self._host.state
        try:
            plan = plan_call(state, call)
        except Exception as error:
            self._host.context.log.exception("no plan call=%s cluster=%s", call.id, self._host.cluster)
            return FailCall(call_id=call.id, term=self.term, reason=f"it could not be planned: {error!r}")
        return ExecuteCall(call_id=call.id, term=self.term, made_at=state.applied_index, plan=plan)

    def _first_nodes(self) -> tuple[AddNode, ...]:
        return tuple(
            AddNode(name=spec.name, host=spec.host, port=spec.port, capacity=spec.capacity)
            for spec in self._host.first_nodes
        )

    def _moves(self, nodes: tuple[NodeRecord, ...]) -> list[Command]:
        """A node's port may be another one after a start of the program. Looked at once: the log has later news."""
        known = {record.name: (record.host, record.port) for record in nodes}
        moved = tuple(
            (spec.name, spec.host, spec.port)
            for spec in self._host.addresses
            if known.get(spec.name, (spec.host, spec.port)) != (spec.host, spec.port)
        )
        self._host.addresses = ()
        return [MoveNodes(addresses=moved)] if moved else []

    def _status_changes(self, nodes: tuple[NodeRecord, ...]) -> list[Command]:
        host = self._host
        now_ns = host.context.now_ns()
        self._liveness.heard(host.node, now_ns)
        for member in host.raft.membership.members:
            progress = host.raft.progress(member)
            # An answer counts, not any message: who asks for votes because it hears nobody cannot be told what to run.
            if progress is not None and progress.last_heard_ns > self._since_ns:
                self._liveness.heard(member, progress.last_heard_ns)
        return [
            SetNodeStatus(name=name, status="down" if status == "down" else "ready", term=self.term)
            for name, status in self._liveness.changes(now_ns, nodes)
        ]

    def _propose(self, missing: list[Command]) -> None:
        host = self._host
        self._proposal, self._until = host.new_ref(), None
        payloads = tuple(sessions.encode("", 0, commands.encode(command)) for command in missing)
        host.step(Propose(payloads=payloads, ref=self._proposal, forward=False))

    # -- what goes out ---------------------------------------------------------------------------------------

    def _assign(self, nodes: tuple[NodeRecord, ...]) -> None:
        """Send every node its assignments until it confirms them."""
        host = self._host
        now_ns = host.context.now_ns()
        for record in nodes:
            version = host.state.assignments_version(record.name)
            if self._confirmed.get(record.name) == version:
                continue
            sent, sent_ns = self._sent.get(record.name, (-1, 0))
            if sent == version and now_ns - sent_ns < RESEND_MS * NS_PER_MS:
                continue
            self._sent[record.name] = (version, now_ns)
            host.send_to_node(
                record.name,
                Assign(
                    leader=host.node,
                    term=self.term,
                    load=host.state.load_of(record.name),
                    assignments=host.state.assignments(record.name),
                    settled=self._settled.get(record.name, -1),
                ),
            )

    def _beat_workers(self) -> None:
        host = self._host
        members = host.raft.membership.members
        for record in host.state.nodes():
            if record.name not in members:
                host.send_to_node(
                    record.name,
                    Beat(leader=host.node, term=self.term, load=host.state.load_of(record.name)),
                )

    def _change_membership(self, nodes: tuple[NodeRecord, ...]) -> None:
        host = self._host
        raft = host.raft
        if not nodes or not raft.has_committed_own_term or raft.membership.index > raft.commit_index:
            return
        if raft.membership.outgoing:
            return  # The change that is under way ends by itself.
        membership = raft.membership
        lost = self._liveness.lost(host.context.now_ns(), membership.voters, VOTER_LOST_S)
        change = next_change(membership, nodes, lost, raft.is_caught_up, host.new_ref())
        if change is not None:
            host.step(change)

    def _push_view(self, nodes: tuple[NodeRecord, ...]) -> None:
        """Show the front door who is in the cluster, whenever that changed, and once a second anyway."""
        host = self._host
        membership, clusters = host.raft.membership, host.state.clusters()
        if host.raft.commit_index < membership.index or not nodes:
            return
        if host.applied < host.raft.commit_index:
            # Entries are applied in slices: a node that joins in a later one is not yet in the state, but has not left.
            return
        basis = (nodes, membership, clusters)
        if self._view is not None and basis == self._view_basis:
            return
        self._view_basis = basis
        view = ClusterView(
            node=host.node,
            term=self.term,
            nodes=tuple(_spec(record) for record in nodes),
            voters=membership.voters,
            learners=membership.learners,
            clusters=tuple(
                ClusterSpec(
                    cluster=record.id, nodes=tuple(_spec(node) for node in record.nodes), version=record.index
                )
                for record in clusters
            ),
        )
        if view != self._view:
            self._view = view
            host.context.send(host.front_door, view)


def _spec(record: NodeRecord | commands.ClusterNode) -> NodeSpec:
    return NodeSpec(name=record.name, host=record.host, port=record.port, capacity=record.capacity)
