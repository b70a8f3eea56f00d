"""Node: a member of a cluster: Raft, the replicated state, and on the leader the control loop.

    Member (Raft behaviour) ── applies ──> ClusterState ── read by ──> control loop (leader) ── proposes ─┐
         ^                                                                                                │
         └────────────────────────────── the replicated log <─────────────────────────────────────────────┘

The control loop is level-triggered: it compares what is desired with what is, proposes the difference, waits until
that is applied, and looks again. It never remembers what it meant to do, so a leader may be lost at any point.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec

from .control import ControlBeat, ControlLoop, ControlTick, Planning, UsageShown, answers
from .control.plans import PlanMore, Plans
from .member import Member, Observer
from .messages import (
    Addresses,
    AgentReport,
    Assign,
    Beat,
    BeatReply,
    CallsFinished,
    DescribeNode,
    DescribeState,
    Happened,
    Heard,
    Heeded,
    LeaderClaim,
    LeaderResigned,
    LinkPolicy,
    MeasureUsage,
    Message,
    NodeAnswer,
    NodeFailed,
    NodeSpec,
    PlanRebalance,
    Report,
    RunTasks,
    TellAgain,
    TransferRequest,
    Underlay,
    UsageReport,
    agent_actor,
    cluster_actor,
    node_actor,
    parent_node,
)
from .raft import sessions
from .raft.config import RaftConfig
from .raft.core import Role
from .raft.events import NO_OP, Accepted, Refused, TransferLeadership, is_application
from .raft.sessions import Applied
from .state import commands, views
from .state.machine import ClusterState
from .state.records import Outcome
from .state.untold import spelled_out
from .storage.base import Storage
from .surely import tell_surely

__all__ = ["Node"]

LOG_SHOWN = 20
LOG_LIMIT = 1000
"""Entries in one answer; a longer range is answered with its newest."""


class _Reconcile(Message, frozen=True, kw_only=True, gc=False):
    """To itself: something changed; look once, however many changes there were."""


class _SearchMore(Message, frozen=True, kw_only=True, gc=False):
    """To itself: the next slice of the rebalance plans that were asked for."""


class _Machine:
    """The cluster's state as the sessions want a machine: bytes in, outcome out, the term of the entry at hand."""

    def __init__(self, state: ClusterState, member: Node) -> None:
        self.state = state
        self._member = member
        self.outcome: Outcome | None = None

    def apply(self, index: int, command: bytes) -> dict[str, Any]:
        """The answer is what a session remembers, so it is short; `outcome` has the whole until the next command."""
        self.outcome = outcome = self.state.apply(index, self._member.entry_term, commands.decode(command))
        is_finished = outcome.call is not None and outcome.call.executed_index is not None
        return {
            "ok": outcome.ok,
            "code": outcome.code,
            "reason": outcome.reason,
            "version": outcome.version,
            "is_finished": is_finished,
        }

    def snapshot(self) -> bytes:
        return self.state.snapshot()

    def snapshot_slices(self) -> Generator[None, None, bytearray]:
        return self.state.snapshot_slices()

    def restore(self, data: bytes) -> None:
        self.state.restore(data)


class Node(Member):
    """One node of one cluster. `first_nodes` is what the cluster was created with; its first leader records them."""

    def __init__(
        self,
        cluster: str,
        spec: NodeSpec,
        first_nodes: tuple[NodeSpec, ...],
        storage: Storage | str,
        config: RaftConfig,
        link_policy: LinkPolicy,
        observe: Observer | None = None,
        under: Underlay | None = None,
    ) -> None:
        self.state = ClusterState()
        self._cluster_machine = _Machine(self.state, self)
        super().__init__(cluster, spec.name, storage, self._cluster_machine, config, link_policy, observe, under)
        self.spec = spec
        self.first_nodes = first_nodes
        self.front_door = cluster_actor(cluster)
        self.loop: ControlLoop | None = None
        self.addresses: tuple[NodeSpec, ...] = ()
        """Where this host's nodes are, by the front door."""
        self._reconcile_sent = False
        self._looked_index = 0
        """Up to this entry the state is as the control loop's last round found it."""
        self._told_index = 0
        """The last entry whose events this node has told in the term that it leads."""
        self._plans = Plans(self)
        self._agent = agent_actor(cluster, spec.name)
        self._assigner = ("", 0)
        self._worker_load = 0
        self._worker_capacity: int | None = None
        self._replicas = 0
        self._handing_over: dict[int, tuple[int, str]] = {}
        """Transfers of the leadership that somebody wants to hear of: by the core's ref, theirs and who they are."""
        self._usage = UsageShown()
        self._planning = Planning(spec.name, lambda to, message: self.context.send(to, message))
        self._handlers.update(
            {
                _Reconcile: self._reconcile,
                Addresses: self._take_addresses,
                ControlTick: self._tick,
                ControlBeat: self._beat,
                Assign: self._assigned,
                Beat: self._beaten,
                Heeded: self._heeded_by_leader,
                MeasureUsage: self._measure_usage,
                UsageReport: self._usage_reported,
                BeatReply: self._beat_answered,
                Report: self._reported,
                AgentReport: self._agent_reported,
                DescribeNode: self._describe,
                DescribeState: self._describe_state,
                PlanRebalance: self._plan_rebalance,
                _SearchMore: self._search_more,
                TransferRequest: self._transfer,
                Heard: self._heard,
                TellAgain: self._tell_again,
                PlanMore: self._plans.go_on,
            }
        )

    # -- leading ---------------------------------------------------------------------------------------------

    def on_became_leader(self, term: int) -> None:
        """Claim the lead at the front door, and start the control loop."""
        self.context.log.info("became leader term=%d node=%s cluster=%s", term, self.node, self.cluster)
        self.context.emit("leader-elected", cluster=self.cluster, node=self.node, term=term)
        tell_surely(self.context, self.front_door, LeaderClaim(node=self.node, term=term))
        self._told_index = self._looked_index = 0
        self.loop = ControlLoop(self, term)
        self.loop.start()

    def on_stepped_down(self, term: int, reason: str) -> None:
        """Drop everything that only a leader knows; the next leader finds it out anew."""
        self.context.log.info("stepped down term=%d node=%s reason=%r", term, self.node, reason)
        self.context.emit(
            "leader-stepped-down", cluster=self.cluster, node=self.node, term=term, reason=reason
        )
        tell_surely(self.context, self.front_door, LeaderResigned(node=self.node, term=term, reason=reason))
        self.loop = None
        self._handing_over.clear()

    def on_storage_failed(self, reason: str, is_damaged: bool) -> None:
        """Stop; the front door starts this node anew, or says what is damaged."""
        tell_surely(self.context, self.front_door, NodeFailed(node=self.node, reason=reason, is_damaged=is_damaged))
        self.context.stop()

    def on_membership_changed(self) -> None:
        """The leader tells the front door; everybody else learns by the log."""
        membership = self.raft.membership
        if self.loop is not None:
            self.context.emit(
                "membership-changed",
                cluster=self.cluster,
                node=self.node,
                term=self.raft.term,
                voters=list(membership.voters),
                learners=list(membership.learners),
            )
            self.look_again()

    def look_again(self) -> None:
        """Ask the control loop for one more round; asking twice is asking once."""
        if not self._reconcile_sent:
            self._reconcile_sent = True
            self.to_self(_Reconcile())

    def _reconcile(self, _: _Reconcile) -> None:
        self._reconcile_sent = False
        if self.loop is not None:
            if self.applied == self.raft.commit_index:  # else there is more to look at than it can see
                self._looked_index = self.applied
            self.loop.reconcile()

    def _take_addresses(self, message: Addresses) -> None:
        self.addresses = message.nodes
        self.look_again()

    def _tick(self, tick: ControlTick) -> None:
        if self.loop is not None and self.loop.term == tick.term:
            self.loop.tick()

    def _beat(self, beat: ControlBeat) -> None:
        if self.loop is not None and self.loop.term == beat.term:
            self.loop.beat(beat.start)

    def on_accepted(self, accepted: tuple[Accepted, ...]) -> None:
        if self.loop is not None:
            for one in accepted:
                self.loop.accepted(one)

    def on_refused(self, refusal: Refused) -> None:
        asked = self._handing_over.pop(refusal.ref, None)
        if asked is not None:
            ref, reply_to = asked
            self.context.send(reply_to, NodeAnswer(ref=ref, node=self.node, error=refusal.reason))
        if self.loop is not None:
            self.loop.refused(refusal)

    # -- applying --------------------------------------------------------------------------------------------

    def on_applied(self, index: int, term: int, applied: Applied) -> None:
        """The state changed on this node; the leader tells what happened and looks whether something is to be done."""
        outcome, self._cluster_machine.outcome = self._cluster_machine.outcome, None
        if self.loop is None:
            return
        if outcome is not None:
            self.loop.applied(outcome)
        if self._looked_index == index - 1 and (outcome is None or outcome.changed_nothing):
            self._looked_index = index

    def on_slice_applied(self) -> None:
        if self.loop is not None:
            if self.applied >= self.loop.first_index:
                self._tell_happened(self._told_index)
            if self._looked_index != self.applied or self.loop.has_proposed:
                self.look_again()

    def _tell_happened(self, after: int, is_again: bool = False) -> None:
        """What the state has of entries after this one. A new leader begins when it has applied all that it found in
        its log: only then does it know what was told."""
        untold = self.state.untold
        if untold.last <= after or self.loop is None:
            return
        records = self.state.node_table().records
        for happening in untold.since(after):
            told = spelled_out(happening, records)
            self.context.send(
                self.front_door,
                Happened(node=self.node, term=self.loop.term, happening=told, is_again=is_again),
            )
        self._told_index = untold.last

    def _tell_again(self, message: TellAgain) -> None:
        self._tell_happened(message.after, is_again=True)

    def _heard(self, message: Heard) -> None:
        if self.loop is not None:
            self.loop.told(message.index)

    def tell_finished(self, calls: tuple[str, ...]) -> None:
        """Let the front door know, for those who wait."""
        self.context.send(self.front_door, CallsFinished(calls=calls))

    # -- running replicas ------------------------------------------------------------------------------------

    def send_to_node(self, node: str, message: Message) -> None:
        """To a node's actor: through the wire, or straight when it is this one."""
        if node == self.node:
            self.context.send(self.context.name, message)
        else:
            self._to_peer(node, message)

    def _assigned(self, message: Assign) -> None:
        if not self._follows(message.leader, message.term):
            return
        self._worker_load, self._worker_capacity = message.load, message.capacity
        self._replicas = message.assignments.replicas
        self._usage.assigned(message.assignments)
        self.context.send(
            self._agent,
            RunTasks(
                assignments=message.assignments,
                settled=message.settled,
                reply_to=node_actor(self.cluster, self.node),
            ),
        )

    def _beaten(self, message: Beat) -> None:
        if self._follows(message.leader, message.term):
            self._worker_load, self._worker_capacity = message.load, message.capacity
            self.send_to_node(message.leader, BeatReply(node=self.node, term=message.term))

    def _heeded_by_leader(self, message: Heeded) -> None:
        if self._follows(message.leader, message.term):
            self.context.send(self._agent, message)

    def _measure_usage(self, message: MeasureUsage) -> None:
        if self._follows(message.leader, message.term):
            self.context.send(self._agent, message)

    def _usage_reported(self, message: UsageReport) -> None:
        """From this node's agent, to be passed on; or on the leader, from a node."""
        if not message.node:
            self._usage.reported(message.services, self.context.now_ns())
            leader, term = self._assigner
            if term == message.term:
                self.send_to_node(leader, msgspec.structs.replace(message, node=self.node))
        elif self.loop is not None and message.term == self.loop.term:
            self.loop.usage.reported(message)

    def _follows(self, leader: str, term: int) -> bool:
        """Whether a leader's word counts: one of an older term than the newest heard of is deposed."""
        if term < self._assigner[1] or term < self.raft.term:
            return False
        self._assigner = (leader, term)
        return True

    def _agent_reported(self, message: AgentReport) -> None:
        leader = self.known_leader()
        if leader is not None:
            report = Report(
                node=self.node,
                incarnation=message.incarnation,
                term=max(self._assigner[1], self.raft.term),
                version=message.version,
                updates=message.updates,
                change=message.change,
            )
            self.send_to_node(leader, report)

    def _beat_answered(self, message: BeatReply) -> None:
        if self.loop is not None and message.term == self.loop.term:
            self.loop.heard(message.node)

    def _reported(self, message: Report) -> None:
        if self.loop is not None and message.term == self.loop.term:
            self.loop.reported(message)

    # -- questions -------------------------------------------------------------------------------------------

    @property
    def member_state(self) -> str:
        """LEADER, FOLLOWER, CANDIDATE, LEARNER or WORKER."""
        if self.raft.role is Role.LEADER:
            return "LEADER"
        membership = self.raft.membership
        if membership.is_voter(self.node):
            return self.raft.role.name
        return "LEARNER" if self.node in membership.learners else "WORKER"

    @property
    def capacity(self) -> int:
        """Slots, by what this node knows of what was agreed on; until it knows, what it was started with."""
        record = self.state.node(self.node)
        agreed = None if record is None else record.capacity
        if self.member_state == "WORKER":
            agreed = self._worker_capacity
        return self.spec.capacity if agreed is None else agreed

    def known_leader(self) -> str | None:
        """The leader that this node follows, by name."""
        if self.raft.role is Role.LEADER:
            return self.node
        # A learner that was dropped while it was cut off still takes itself for one: who assigns to it leads.
        leader, term = self._assigner
        if self.raft.leader is None or term > self.raft.term:
            return leader or None
        return self.raft.leader

    def _describe(self, question: DescribeNode) -> dict[str, Any] | None:
        value = self.describe(question)
        if question.reply_to is None:
            return value
        self.context.send(question.reply_to, NodeAnswer(ref=question.ref, node=self.node, value=value))
        return None

    def describe(self, question: DescribeNode) -> dict[str, Any]:
        """What the node says of itself: JSON-ready; its log's entries on request."""
        worker = self.member_state == "WORKER"
        raft = self.raft
        value: dict[str, Any] = {
            "host": self.spec.host,
            "port": self.spec.port,
            "state": self.member_state,
            "capacity": self.capacity,
            "load": self._worker_load if worker else self.state.load_of(self.node),
            "id": self.node,
            "cluster": self.cluster,
            "term": self._assigner[1] if worker else raft.term,
            "leader": self.address_of(self.known_leader()),
            "commit_index": raft.commit_index,
            "applied_index": self.applied,
            "last_index": raft.last_index,
        }
        if self._under is not None:
            value["parent_node"] = parent_node(self.node)
        record = self.state.node(self.node)
        if record is not None and not worker:
            value |= {"availability": record.availability, "labels": dict(record.labels)}
        usage = self._usage.at(self.context.now_ns())
        if usage:
            value["usage"] = usage
        if question.with_log:
            value["log"] = self._log(question.log)
        if question.with_services:
            now_ms = None if self.loop is None else self.loop.shown_ms()
            value["services"] = views.services(self.state, self.address_of, self.cluster, now_ms)
            if self.loop is not None:
                self.loop.usage.show_in(value["services"])
        if question.with_loads:
            value["loads"] = views.load_table(self.state, self.address_of)
        return value

    def _log(self, wanted: tuple[int | None, int | None] | None) -> list[dict[str, Any]]:
        raft = self.raft
        first, last = wanted or (None, None)
        last = raft.last_index if last is None else min(last, raft.last_index)
        first = last - LOG_SHOWN + 1 if first is None else first
        first = max(first, raft.first_index, last - LOG_LIMIT + 1)
        if last < first:
            return []
        terms, payloads = raft.entries(first, last + 1)
        return [
            {"index": first + offset, "term": term, "committed": first + offset <= raft.commit_index}
            | _describe_entry(payload)
            for offset, (term, payload) in enumerate(zip(terms, payloads, strict=True))
        ]

    def address_of(self, node: str | None) -> str | None:
        """What users call a node: `host:port`."""
        if node is None:
            return None
        record = self.state.node(node)
        if record is not None:
            return record.name if record.port is None else f"{record.host}:{record.port}"
        for spec in self.first_nodes:
            if spec.name == node:
                return spec.address
        return node

    def _describe_state(self, question: DescribeState) -> None:
        def answer(error: str | None) -> None:
            if error is None and question.question.about == "plan":
                self._plans.ask(question)
                return
            state, where = self.state, self.address_of
            value = None if error else answers.answer(state, question.question, where, self.loop, self.cluster)
            if question.reply_to is not None:
                self.context.send(
                    question.reply_to, NodeAnswer(ref=question.ref, node=self.node, value=value, error=error)
                )

        self.read(answer)

    def _plan_rebalance(self, request: PlanRebalance) -> None:
        def read(error: str | None) -> None:
            if error is not None:
                answer = NodeAnswer(ref=request.ref, node=self.node, error=error)
                self.context.send(request.reply_to, answer)
            elif self._planning.begin(request, self.state, self.address_of):
                self.to_self(_SearchMore())

        self.read(read)

    def _search_more(self, _: _SearchMore) -> None:
        if self._planning.go_on():
            self.to_self(_SearchMore())

    def _transfer(self, request: TransferRequest) -> None:
        ref = self.new_ref()
        if request.reply_to is not None:
            self._handing_over[ref] = (request.ref, request.reply_to)
        self.step(TransferLeadership(target=request.target, ref=ref))

    def statistics(self) -> dict[str, int | float | str]:
        state = self.member_state if self.is_running else "STARTING"
        return super().statistics() | {"state": state, "replicas": self._replicas}


def _describe_entry(payload: bytes) -> dict[str, Any]:
    """One log entry for people to read."""
    if payload == NO_OP:
        return {"type": "no-op"}
    if not is_application(payload):
        return {"type": "membership"}
    return views.describe_command(sessions.decode(payload)[3])
