"""Who should vote: a small voter set over whatever nodes there are, changed one member at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..raft.events import AddLearner, PromoteLearner, RemoveMember
from ..raft.membership import Membership
from ..state.records import NodeRecord

__all__ = ["VOTERS", "next_change"]

VOTERS = 5
"""All of up to five nodes vote; the others are workers, without log or state."""


def next_change(
    membership: Membership, nodes: Sequence[NodeRecord], is_caught_up: Callable[[str], bool], ref: int
) -> AddLearner | PromoteLearner | RemoveMember | None:
    """The one change that brings the members nearer to what they should be, or None when they are.

    Members that left the cluster go first, then learners that fell silent; then a learner that has caught up is
    promoted, and at last the node that joined first becomes a learner where a voter is missing. The last voter goes
    only when another has taken its place.
    """
    ready = {record.name: record.status == "ready" for record in nodes}
    for member in membership.members:
        if member not in ready and membership.voters != (member,):
            return RemoveMember(member=member, ref=ref)
    for learner in membership.learners:
        if not ready[learner]:
            return RemoveMember(member=learner, ref=ref)
        if is_caught_up(learner):
            return PromoteLearner(member=learner, ref=ref)
    staying = [voter for voter in membership.voters if voter in ready]
    if membership.learners or len(staying) >= min(VOTERS, len(nodes)):
        return None
    for record in nodes:
        if record.status == "ready" and record.name not in membership.voters:
            return AddLearner(member=record.name, ref=ref)
    return None
