"""The control loop of a leader: desired against observed, one difference at a time, for one term.

It is level-triggered. A round looks at the state as it is now, proposes what is missing and stops; the next round
comes when that has been applied, or when something else changed, or at the next tick. What it knows besides the state
(who is heard, which assignments a node has confirmed) dies with the term and is learnt anew by the next leader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from ..messages import (
    Assign,
    Beat,
    ChildCluster,
    ClusterSpec,
    ClusterView,
    Heeded,
    Message,
    NodeSpec,
    Report,
    nested_node,
)
from ..raft import sessions
from ..raft.events import Accepted, Propose, Refused
from ..scheduling.choosing import Scores
from ..scheduling.preempting import plan_preemption
from ..scheduling.reconcile import plan_call
from ..scheduling.repairs import Repairs
from ..state import commands
from ..state.commands import (
    AddNode,
    Command,
    ExecuteCall,
    FailCall,
    GoOnRebalance,
    MoveNodes,
    NodeReport,
    PassTime,
    PlaceTasks,
    Plan,
    ReportNodes,
    SetNodeStatus,
    Told,
)
from ..state.machine import ClusterState
from ..state.needs import Needs
from ..state.records import CallRecord, NodeRecord, Outcome
from ..units import NS_PER_MS
from .assigning import Assigning
from .autoscaler import Autoscaler
from .cron import Cron
from .liveness import TICK_MS, Liveness
from .membership import VOTER_LOST_S, next_change
from .reports import updates_of
from .usage import Usage

if TYPE_CHECKING:
    from .host import Host

__all__ = ["ControlBeat", "ControlLoop", "ControlTick"]

REPORTS_BYTES = 48_000
REPORT_BYTES = 1_000
"""Of reports in one proposal, and what a report costs beside its bytes, in the same."""
ASSIGNED_RUNS = 3_000
A_NODE = 100
"""Runs of tasks that are sent in one go, and what a node costs beside them, in the same."""
BEATS = 500
"""Workers that are beaten in one go."""
BEAT_EVERY_TICKS = 2
VIEW_EVERY_TICKS = 10
UNTOLD_KEPT = 16
"""From so many entries on the state is told which of their events need not be kept."""


class ControlTick(Message, frozen=True, kw_only=True, gc=False):
    """To the leader itself, every TICK_MS of its term."""

    term: int


class ControlBeat(Message, frozen=True, kw_only=True, gc=False):
    """To the leader itself: the workers from the node of this place on are still to be beaten."""

    term: int
    start: int


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
        self._repair: Plan | None = None
        """The last repair that was proposed since the last tick."""
        self._rests = False
        """It would be proposed again: repairs wait for the next tick."""
        self._until: int | None = None
        self._reports: dict[str, Report] = {}
        self._proposed_reports: dict[str, Report] = {}
        self._settled: dict[str, int] = {}
        self._assigning = Assigning()
        self._repairs = Repairs()
        self._is_placing = False
        """Whether the last proposal placed something: then more may follow at once."""
        self._tells_all = False
        """Since a tick: every node is told how far it is, whatever more is being placed."""
        self.usage = Usage(host, term, self.clock_ms)
        self.autoscaler = Autoscaler(host, term, self.usage)
        self.cron = Cron(host, term)
        self._is_watching = False
        """Whether any service is measured, autoscaled or run by a schedule: most clusters have none."""
        self._ticks = 0
        self._scores = Scores(self.usage.measured)
        self._view: ClusterView | None = None
        # What the view was made of: most rounds find it unchanged, and comparing the same objects costs nothing.
        self._view_basis: tuple[object, ...] = ()
        self._members_basis: tuple[object, ...] = ()
        """With which members nothing had to be changed: the same for them."""

    def start(self) -> None:
        """Begin to tick."""
        self._host.context.after_ns(TICK_MS * NS_PER_MS, ControlTick(term=self.term))

    # -- what comes in ---------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Time passed: beat the workers, look who is silent, send again what was not confirmed."""
        host = self._host
        self._ticks += 1
        self._tells_all = True
        if self._rests:
            self._repairs, self._rests = Repairs(), False
        self._repair = None
        self._liveness.tick(host.context.now_ns())
        self._repairs.look_again(host.state)
        if self._ticks % BEAT_EVERY_TICKS == 0:
            self.beat(0)
        # Once more after the last such service is gone, so that nothing is left of it.
        was_watching, self._is_watching = self._is_watching, host.state.is_watched()
        if (was_watching or self._is_watching) and host.applied >= self.first_index:
            self.autoscaler.tick()
            self.cron.tick()
        if self._ticks % VIEW_EVERY_TICKS == 0:
            self._view = None
        host.look_again()
        host.context.after_ns(TICK_MS * NS_PER_MS, ControlTick(term=self.term))

    def heard(self, node: str) -> None:
        """A node that takes no part in the consensus answered."""
        number = self._host.state.node_table().number(node)
        if number is not None:
            self._liveness.heard(number, self._host.context.now_ns())

    def reported(self, report: Report) -> None:
        """A node confirmed its assignments; what it says of its tasks is proposed with the next round."""
        self.heard(report.node)
        number = self._host.state.node_table().number(report.node)
        if number is None:
            return
        self._assigning.confirmed(number, report.version)
        updates = updates_of(report, self._host.state)
        if updates:
            self._reports[report.node] = msgspec.structs.replace(report, updates=updates)
            self._host.look_again()
        else:
            # Whatever it says is known: so it is in the log.
            self._settled[report.node] = report.version
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
                number = self._host.state.node_table().number(node)
                if number is not None:
                    self._assigning.forget(number)
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
        many = len(host.state.node_table().records)
        self._liveness.know(many, host.context.now_ns())
        self._assigning.know(many)
        if self._is_free():
            missing = self._missing()
            if missing:
                self._propose(missing)
        nodes = host.state.nodes()
        if self._tells_all or not self._is_placing:
            self._assign()
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
        changes = self._moves(nodes) or self._status_changes()
        if changes:
            return changes
        missing: list[Command] = []
        self._take_reports()
        if self._proposed_reports:
            missing.append(
                ReportNodes(
                    reports=tuple(
                        [
                            NodeReport(node=node, incarnation=report.incarnation, updates=report.updates)
                            for node, report in self._proposed_reports.items()
                        ]
                    )
                )
            )
        now_ms = self.clock_ms()
        plan = self._plan(now_ms)
        self._is_placing = plan is not None
        if plan is not None:
            missing.append(plan)
        if self._is_watching:
            missing += [*self.autoscaler.missing(), *self.cron.missing()]
        if now_ms > state.clock_ms() and (missing or state.waits_for_time(now_ms)):
            missing.insert(0, PassTime(term=self.term, clock_ms=now_ms))
        if missing and len(state.untold) >= UNTOLD_KEPT and self._told > state.untold.floor:
            # It rides with what is proposed anyway: a cluster that is idle stays so.
            missing.append(Told(index=self._told))
        return missing

    def _take_reports(self) -> None:
        """What nodes have reported, as much as is applied in a few milliseconds; the rest is for the next rounds."""
        size = 0
        self._proposed_reports = {}
        for node, report in self._reports.items():
            self._proposed_reports[node] = report
            size += REPORT_BYTES + len(report.updates)
            if size >= REPORTS_BYTES:
                break
        for node in self._proposed_reports:
            del self._reports[node]

    def _plan(self, now_ms: int) -> Command | None:
        """The oldest call first; when there is none, a slice of what is not as desired."""
        state = self._host.state
        head = state.head()
        if head is not None:
            return self._work(head)
        plan, goes_on = self._repairs.next_plan(state, now_ms, self._scores)
        if plan is None and not goes_on:
            plan = plan_preemption(state, now_ms)
        if plan is not None and plan == self._repair:
            # It changed nothing: the state would not have it. The same again at once would meet the same answer.
            self._rests = True
            return None
        if plan is not None:
            self._repair = plan
            return PlaceTasks(term=self.term, made_at=state.applied_index, plan=plan)
        if goes_on:
            self._host.look_again()
        elif state.rebalance_is_due():
            return GoOnRebalance(term=self.term)
        return None

    def clock_ms(self) -> int:
        """How late it is on the cluster's clock: as late as the log says, and the time since this leader began."""
        now_ms = self._host.context.now_ns() // NS_PER_MS
        if self._clock_began_ms is None:
            self._clock_began_ms = now_ms - self._host.state.clock_ms()
        return now_ms - self._clock_began_ms

    def shown_ms(self) -> int:
        """The same for answers: before this leader's first round, what the log says."""
        return self._host.state.clock_ms() if self._clock_began_ms is None else self.clock_ms()

    def _work(self, call: CallRecord) -> Command:
        """Carry out the oldest call. One that cannot be planned fails, so that those behind it are not held up."""
        state = self._host.state
        fault = state.why_not(call.services)
        if fault:
            return FailCall(call_id=call.id, term=self.term, reason=fault)
        try:
            plan = plan_call(state, call, self._scores)
        except Exception as error:
            self._host.context.log.exception("no plan call=%s cluster=%s", call.id, self._host.cluster)
            return FailCall(call_id=call.id, term=self.term, reason=f"it could not be planned: {error!r}")
        return ExecuteCall(call_id=call.id, term=self.term, made_at=state.applied_index, plan=plan)

    def _first_nodes(self) -> tuple[AddNode, ...]:
        return tuple(
            AddNode(
                name=spec.name,
                host=spec.host,
                port=spec.port,
                capacity=spec.capacity,
                resources=spec.resources,
            )
            for spec in self._host.first_nodes
        )

    def _moves(self, nodes: tuple[NodeRecord, ...]) -> list[Command]:
        """A node's port may be another one after a start of the program. Looked at once: the log has later news."""
        if not self._host.addresses:
            return []
        known = {record.name: (record.host, record.port) for record in nodes}
        moved = tuple(
            (spec.name, spec.host, spec.port)
            for spec in self._host.addresses
            if known.get(spec.name, (spec.host, spec.port)) != (spec.host, spec.port)
        )
        self._host.addresses = ()
        return [MoveNodes(addresses=moved)] if moved else []

    def _status_changes(self) -> list[Command]:
        host, table = self._host, self._host.state.node_table()
        now_ns = host.context.now_ns()
        self.heard(host.node)
        for member in host.raft.membership.members:
            progress, number = host.raft.progress(member), table.number(member)
            # An answer counts, not any message: who asks for votes because it hears nobody cannot be told what to run.
            if progress is not None and number is not None and progress.last_heard_ns > self._since_ns:
                self._liveness.heard(number, progress.last_heard_ns)
        down, ready = self._liveness.changes(now_ns, table.is_present, table.ready)
        statuses: dict[int, Literal["ready", "down"]] = {}
        statuses.update(dict.fromkeys(down, "down"))
        statuses.update(dict.fromkeys(ready, "ready"))
        return [
            SetNodeStatus(name=table.records[number].name, status=status, term=self.term)
            for number, status in sorted(statuses.items())
        ]

    def _propose(self, missing: list[Command]) -> None:
        host = self._host
        self._proposal, self._until = host.new_ref(), None
        payloads = tuple(sessions.encode("", 0, commands.encode(command)) for command in missing)
        host.step(Propose(payloads=payloads, ref=self._proposal, forward=False))

    # -- what goes out ---------------------------------------------------------------------------------------

    def _assign(self) -> None:
        """Send every node its assignments until it confirms them; in slices, as they are long."""
        host, table = self._host, self._host.state.node_table()
        now_ns = host.context.now_ns()
        size = 0
        for number in self._assigning.due(now_ns, table.versions, table.is_present):
            if size >= ASSIGNED_RUNS:
                host.look_again()
                return
            assign = self._assignment(table.records[number].name)
            self._assigning.sent(number, assign.assignments.version, now_ns)
            host.send_to_node(assign.assignments.node, assign)
            size += A_NODE + len(assign.assignments.runs)
        self._tells_all = False

    def _assignment(self, node: str) -> Assign:
        state = self._host.state
        record = state.node(node)
        return Assign(
            leader=self._host.node,
            term=self.term,
            load=state.load_of(node),
            assignments=state.assignments(node),
            settled=self._settled.get(node, -1),
            capacity=None if record is None else record.capacity,
        )

    def beat(self, start: int) -> None:
        """Beat the workers from this one of the nodes on; in slices, as they are many."""
        host = self._host
        members = host.raft.membership.members
        end = start + BEATS
        for record in host.state.nodes()[start:end]:
            if record.name not in members:
                load = host.state.load_of(record.name)
                beat = Beat(leader=host.node, term=self.term, load=load, capacity=record.capacity)
                host.send_to_node(record.name, beat)
        if end < len(host.state.nodes()):
            host.to_self(ControlBeat(term=self.term, start=end))

    def _change_membership(self, nodes: tuple[NodeRecord, ...]) -> None:
        host = self._host
        raft = host.raft
        if not nodes or not raft.has_committed_own_term or raft.membership.index > raft.commit_index:
            return
        if raft.membership.outgoing:
            return  # The change that is under way ends by itself.
        membership, table = raft.membership, host.state.node_table()
        numbers = [number for voter in membership.voters if (number := table.number(voter)) is not None]
        silent = self._liveness.lost(host.context.now_ns(), numbers, VOTER_LOST_S)
        lost = [table.records[number].name for number in silent]
        basis = (nodes, membership, lost)
        if basis == self._members_basis:
            return
        change = next_change(membership, nodes, lost, raft.is_caught_up, host.new_ref())
        if change is not None:
            host.step(change)
        elif not membership.learners:  # of which one catches up, and nothing else has changed
            self._members_basis = basis

    def _push_view(self, nodes: tuple[NodeRecord, ...]) -> None:
        """Show the front door who is in the cluster, whenever that changed, and once a second anyway."""
        host = self._host
        membership, clusters = host.raft.membership, host.state.clusters()
        if host.raft.commit_index < membership.index or not nodes:
            return
        if host.applied < host.raft.commit_index:
            # Entries are applied in slices: a node that joins in a later one is not yet in the state, but has not left.
            return
        table = host.state.node_table()
        children = _children(host.state)
        draining = host.state.draining()
        drained = tuple([name for name in draining if not host.state.task_states(name)[0].size])
        basis = (table.roster, membership, clusters, children, drained)
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
            children=children,
            draining=draining,
            drained=drained,
        )
        if view != self._view:
            self._view = view
            host.context.send(host.front_door, view)


def _children(state: ClusterState) -> tuple[ChildCluster, ...]:
    """The services that are clusters, each with the nodes that it should have."""
    return tuple(
        ChildCluster(
            service=record.service,
            generation=record.generation,
            nodes=tuple(_nested_node(state, *task) for task in record.tasks),
        )
        for record in state.nested()
    )


def _nested_node(state: ClusterState, task: int, node: str, has: Needs) -> NodeSpec:
    record = state.node(node)
    host = "" if record is None else record.host
    return NodeSpec(
        name=nested_node(node, task), host=host, port=None, capacity=has.slots, resources=dict(has.more)
    )


def _spec(record: NodeRecord | commands.ClusterNode) -> NodeSpec:
    return NodeSpec(name=record.name, host=record.host, port=record.port, capacity=record.capacity)
