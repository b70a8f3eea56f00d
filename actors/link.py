"""Link: carries messages from one node to one other; cutting it drops its mailbox.

A Link's mailbox is the wire. What a node sends is decided at once, in `intake`: cut, full and lost messages are
counted and gone; the others are delivered after the link's delay. Nothing is ever queued twice: what lies in the
mailbox is what is in flight. A cut starts a new epoch, and whatever was in flight dies on arrival because it
carries the old one, so cutting costs the same however much was under way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .messages import CutLink, DescribeLink, LinkPolicy, LinkStatus, RestoreLink, SetLinkPolicy, node_actor
from .system import Actor
from .units import ns_from_s

__all__ = ["Link"]

_CONTROL = frozenset({CutLink, RestoreLink, SetLinkPolicy, DescribeLink})


class _Epoch:
    """One life of the wire between two cuts: who is in flight, and whether arrivals still count."""

    __slots__ = ("arrived", "live", "sent")

    def __init__(self) -> None:
        self.live = True
        self.sent = 0
        self.arrived = 0

    def arrive(self) -> bool:
        self.arrived += 1
        return self.live


class Link(Actor):
    """One direction between two nodes of one cluster.

    `source` and `target` are names of nodes. The policy holds delay, jitter, loss and the window (the most messages
    in flight); `LinkPolicy` has the units.
    """

    def __init__(self, cluster: str, source: str, target: str, policy: LinkPolicy) -> None:
        super().__init__()
        self._cluster = cluster
        self._source = source
        self._target = target
        self._target_actor = node_actor(cluster, target)
        self._cut = False
        self._epoch = _Epoch()
        self._delivered = 0
        self._lost_cut = 0
        self._lost_full = 0
        self._lost_random = 0
        self._duplicated = 0
        self._last_arrival_ns = 0
        self._set_policy(policy)

    # -- the wire --------------------------------------------------------------------------------------------

    def intake(self, message: Any) -> bool:
        """Decide about one message from the node, in the sender's turn; control messages go to the mailbox."""
        if type(message) in _CONTROL:
            return False
        if self._cut:
            self._lost_cut += 1
        elif self._plain:
            self._delivered += 1
            self.context.deliver(0, self._target_actor, message)
        else:
            self._carry(message)
        return True

    def _carry(self, message: Any) -> None:
        policy = self._policy
        epoch = self._epoch
        if epoch.sent - epoch.arrived >= policy.window:
            self._lost_full += 1
            return
        random = self.context.random
        if policy.loss and random.random() < policy.loss:
            self._lost_random += 1
            return
        self._deliver(message, epoch)
        if policy.duplicate and random.random() < policy.duplicate:
            self._duplicated += 1
            self._deliver(message, epoch)

    def _deliver(self, message: Any, epoch: _Epoch) -> None:
        delay_ns = self._delay_ns
        if self._jitter_ns:
            delay_ns += int(self.context.random.random() * self._jitter_ns)
        now_ns = self.context.now_ns()
        # A wire does not reorder unless it is told to: no message arrives before the one sent ahead of it.
        if self._policy.reorder and self.context.random.random() < self._policy.reorder:
            arrival_ns = now_ns + delay_ns
        else:
            arrival_ns = max(now_ns + delay_ns, self._last_arrival_ns)
            self._last_arrival_ns = arrival_ns
        epoch.sent += 1
        self._delivered += 1
        arrive: Callable[[], bool] = epoch.arrive
        self.context.deliver(arrival_ns - now_ns, self._target_actor, message, arrive)

    # -- control ---------------------------------------------------------------------------------------------

    def on_receive(self, message: Any) -> LinkStatus:
        """Carry out a control message and answer with the state that is in force now."""
        match message:
            case CutLink():
                self._set_cut(True)
            case RestoreLink():
                self._set_cut(False)
            case SetLinkPolicy(policy=policy):
                self._set_policy(policy)
        status = self._status(message.ref)
        if message.reply_to is not None:
            self.context.send(message.reply_to, status)
        return status

    def _set_cut(self, cut: bool) -> None:
        if cut == self._cut:
            return
        self._cut = cut
        if cut:
            self._epoch.live = False
            in_flight = self._epoch.sent - self._epoch.arrived
            self._delivered -= in_flight
            self._lost_cut += in_flight
        self._epoch = _Epoch()
        self._last_arrival_ns = 0
        self.context.emit(
            "link-cut" if cut else "link-restored",
            cluster=self._cluster,
            node=self._source,
            source=self._source,
            target=self._target,
        )

    def _set_policy(self, policy: LinkPolicy) -> None:
        self._policy = policy
        self._delay_ns = ns_from_s(policy.delay_s)
        self._jitter_ns = ns_from_s(policy.jitter_s)
        faults = policy.loss or policy.duplicate or policy.reorder
        self._plain = not (self._delay_ns or self._jitter_ns or faults)

    def _status(self, ref: int) -> LinkStatus:
        return LinkStatus(
            ref=ref,
            source=self._source,
            target=self._target,
            cut=self._cut,
            in_flight=self._epoch.sent - self._epoch.arrived,
            delivered=self._delivered,
            lost_cut=self._lost_cut,
            lost_full=self._lost_full,
            lost_random=self._lost_random,
            duplicated=self._duplicated,
            policy=self._policy,
        )

    def statistics(self) -> dict[str, int | float | str]:
        return super().statistics() | {
            "cut": int(self._cut),
            "in_flight": self._epoch.sent - self._epoch.arrived,
            "delivered": self._delivered,
            "lost_cut": self._lost_cut,
            "lost_full": self._lost_full,
            "lost_random": self._lost_random,
        }
