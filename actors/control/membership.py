"""Who should vote: a small voter set over whatever nodes there are, and a replacement for a voter that is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..raft.events import AddLearner, ChangeMembership, PromoteLearner, RemoveMember
from ..raft.membership import Membership
from ..state.records import NodeRecord

__all__ = ["VOTERS", "VOTER_LOST_S", "MembershipEvent", "next_change"]

VOTERS = 5
"""All of up to five nodes vote; the others are workers, without log or state."""
VOTER_LOST_S = 30
"""A voter that is silent for longer is not waited for: a worker takes its place. A restart takes seconds."""
LISTENING = 2
"""So many learners catch up at a time, beside the voters."""
SILENT_LEARNERS = 2
"""So many members that do not answer may stay to be told, when they come back, what they have become."""

MembershipEvent = AddLearner | PromoteLearner | RemoveMember | ChangeMembership


def next_change(
    membership: Membership,
    nodes: Sequence[NodeRecord],
    lost: Sequence[str],
    is_caught_up: Callable[[str], bool],
    ref: int,
) -> MembershipEvent | None:
    """The one change that brings the members nearer to what they should be, or None when they are.

    Members that left the cluster go first; the last voter goes only when another has taken its place. Where a voter is
    missing or `lost` (silent for VOTER_LOST_S), the node that joined first listens until it has caught up; then it is
    promoted, or takes the lost one's place. Several that are lost are replaced in one change.
    """
    ready = {record.name: record.status == "ready" for record in nodes}
    for member in membership.members:
        if member not in ready and membership.voters != (member,):
            return RemoveMember(member=member, ref=ref)
    staying = [voter for voter in membership.voters if voter in ready]
    gone = [voter for voter in staying if voter in lost and not ready[voter]]
    listening = [learner for learner in membership.learners if ready[learner]]
    silent = [learner for learner in membership.learners if not ready[learner]]
    if len(silent) > SILENT_LEARNERS:
        return RemoveMember(member=silent[0], ref=ref)
    places = min(VOTERS, len(nodes)) - len(staying)
    if len(listening) < min(places + len(gone), LISTENING):
        newcomer = _newcomer(membership, nodes)
        if newcomer is not None:
            return AddLearner(member=newcomer, ref=ref)
    if not listening:
        return None
    if places <= 0 and not gone:
        return RemoveMember(member=listening[0], ref=ref)
    able = [learner for learner in listening if is_caught_up(learner)]
    if places > 0 and able:
        return PromoteLearner(member=able[0], ref=ref)
    if gone and len(able) == len(listening):
        return _replace(membership, dict(zip(gone, able, strict=False)), ref)
    return None


def _replace(membership: Membership, successors: dict[str, str], ref: int) -> ChangeMembership:
    """Who is replaced stays as a learner, so that it hears of it when it comes back; then it goes."""
    kept = [learner for learner in membership.learners if learner not in successors.values()]
    return ChangeMembership(
        voters=tuple([successors.get(voter, voter) for voter in membership.voters]),
        learners=(*kept, *successors),
        ref=ref,
    )


def _newcomer(membership: Membership, nodes: Sequence[NodeRecord]) -> str | None:
    """The node that joined first of those that answer and do not take part."""
    members = membership.members
    return next(
        (record.name for record in nodes if record.status == "ready" and record.name not in members), None
    )
