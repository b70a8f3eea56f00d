"""Link: carries messages from one node to one other; cutting it drops its mailbox.

A Link's mailbox is the wire. What a node sends is decided at once, in `intake`: cut, full and lost messages are
counted and gone; the others are delivered after the link's delay. Nothing is ever queued twice: what lies in the
mailbox is what is in flight. A cut starts a new epoch, and whatever was in flight dies on arrival because it
carries the old one, so cutting costs the same however much was under way.

The wire of a nested cluster rides on its parent's: what it lets through goes on through the parent's link, as that is
at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .messages import (
    Carried,
    CutLink,
    DescribeLink,
    LinkPolicy,
    LinkStatus,
    RestoreLink,
    SetLinkPolicy,
    Underlay,
    cluster_actor,
    link_actor,
    node_actor,
    parent_node,
)
from .system import Actor, NameTaken, NoSuchActor, SystemClosed
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
    in flight); `LinkPolicy` has the units. `under` is what a nested cluster's link rides on; between two nodes that are
    on one node of the parent there is nothing to ride on.
    """

    def __init__(
        self, cluster: str, source: str, target: str, policy: LinkPolicy, under: Underlay | None = None
    ) -> None:
        super().__init__()
        self._cluster = cluster
        self._source = source
        self._target = target
        self._target_actor = node_actor(cluster, target)
        self._under = under
        self._ends = parent_node(source), parent_node(target)
        self._carrier = ""
        if under is not None and self._ends[0] != self._ends[1]:
            self._carrier = link_actor(under.cluster, *self._ends)
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
            if type(message) is Carried:
                self.context.deliver(0, message.to, message.message)
            else:
                self.context.deliver(0, self._target_actor, message)
        else:
            self._carry(message)
        return True

    def _carry(self, message: Any) -> None:
        policy = self._policy
        epoch = self._epoch
        if self._is_simple and epoch.sent == epoch.arrived:
            self._plain = True
            self.intake(message)
            return
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
        if self._is_simple:
            delay_ns = 1  # Behind what is on its way, also where that is late.
        if self._jitter_ns:
            delay_ns += int(self.context.random.random() * self._jitter_ns)
        now_ns = self.context.now_ns()
        # A wire does not reorder unless it is told to: no message arrives before the one sent ahead of it.
        if self._policy.reorder and self.context.random.random() < self._policy.reorder:
            arrival_ns = now_ns + delay_ns
        else:
            arrival_ns = max(now_ns + delay_ns, self._last_arrival_ns)
            self._last_arrival_ns = arrival_ns
        self._delivered += 1
        if self._carrier and arrival_ns <= now_ns:
            self.context.send(self._carrier, self._to_carry(message))
            return
        epoch.sent += 1
        arrive: Callable[[], bool] = epoch.arrive
        if self._carrier:
            self.context.deliver(arrival_ns - now_ns, self._carrier, self._to_carry(message), arrive)
        elif type(message) is Carried:
            self.context.deliver(arrival_ns - now_ns, message.to, message.message, arrive)
        else:
            self.context.deliver(arrival_ns - now_ns, self._target_actor, message, arrive)

    # -- riding on the parent's wire -------------------------------------------------------------------------

    def _to_carry(self, message: Any) -> Carried:
        if not self.context.is_alive(self._carrier):
            self._lay_carrier()
        return message if type(message) is Carried else Carried(to=self._target_actor, message=message)

    def _lay_carrier(self) -> None:
        """The parent's nodes may never have spoken to each other on this wire."""
        under = self._under
        assert under is not None
        if not all(self.context.is_alive(node_actor(under.cluster, end)) for end in self._ends):
            return  # One has left, and its wires with it; what we carry ends soon too.
        try:
            self.context.spawn(
                Link,
                self._carrier,
                under.cluster,
                *self._ends,
                under.policy,
                under.under,
                parent=cluster_actor(under.cluster),
            )
        except (NameTaken, NoSuchActor, SystemClosed):
            pass  # Somebody was quicker, or all of it ends.

    # -- control ---------------------------------------------------------------------------------------------

    def on_receive(self, message: Any) -> LinkStatus | None:
        """Carry out a control message and answer with the state that is in force now; carry on what it was given."""
        match message:
            case Carried():
                self.intake(message)
                return None
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
        self._is_simple = not (self._delay_ns or self._jitter_ns or faults or self._carrier)
        # From the first message on that finds nothing on its way: what was slower is not overtaken.
        self._plain = self._is_simple and self._epoch.sent == self._epoch.arrived

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
