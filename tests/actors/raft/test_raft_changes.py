"""Changes of membership by tables and by a slow oracle, which follows the definition with sets (dissertation §4.3).

A change of one voter is simple; any other goes through a joint membership, in which the old and the new voters decide
together, and ends by itself. Whoever is demoted votes until then. Restates etcd's tables of confchange.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from raft_member import Alone

from raftyard.actors.raft.events import AddLearner, ChangeMembership, PromoteLearner, RemoveMember
from raftyard.actors.raft.membership import Membership

NAMES = tuple("abcdef")
some = st.lists(st.sampled_from(NAMES), max_size=5).map(tuple)
one = st.sampled_from(NAMES)
changes = st.one_of(
    st.tuples(st.just("add"), one),
    st.tuples(st.just("promote"), one),
    st.tuples(st.just("remove"), one),
    st.tuples(st.just("change"), some, some),
)


def told(membership: Membership) -> str:
    """`abc&ad/e`: the voters, the outgoing ones after `&`, the learners after `/`; each in order of the alphabet."""
    outgoing = f"&{''.join(sorted(membership.outgoing))}" if membership.outgoing else ""
    learners = f"/{''.join(sorted(membership.learners))}" if membership.learners else ""
    return "".join(sorted(membership.voters)) + outgoing + learners


def leader(voters: str, learners: str = "") -> Alone:
    """Member a leads these, and everybody has all of its log."""
    member = Alone(voters=tuple(voters))
    member.serve()
    for learner in learners:
        member.step(AddLearner(member=learner))
        member.acknowledge()
    return member


def until_nothing_is_pending(member: Alone) -> None:
    """Everybody acknowledges the change, and then the end of the joint membership."""
    for _ in range(2):
        member.acknowledge()


@pytest.mark.parametrize(
    ("before", "learners", "voters", "then", "at_once", "finally_"),
    [
        # One more, one less, one that becomes a learner: simple.
        ("a", "b", "ab", "", "ab", "ab"),
        ("ab", "c", "abc", "", "abc", "abc"),
        ("abc", "", "ab", "", "ab", "ab"),
        ("abc", "", "ab", "c", "ab/c", "ab/c"),
        ("abc", "de", "abcd", "e", "abcd/e", "abcd/e"),
        # Learners alone may change in any number without a joint membership.
        ("abc", "de", "abc", "", "abc", "abc"),
        ("abc", "de", "abc", "f", "abc/f", "abc/f"),
        # Two or more voters: joint, and it ends by itself.
        ("a", "bc", "abc", "", "abc&a", "abc"),
        ("abc", "", "a", "", "a&abc", "a"),
        ("abc", "d", "abd", "", "abd&abc", "abd"),
        ("abc", "de", "ade", "", "ade&abc", "ade"),
        ("ab", "cdef", "acdef", "", "acdef&ab", "acdef"),
        # Demoted in a joint change: listed as a learner, a voter still while the old ones decide (learners_next).
        ("abc", "d", "abd", "c", "abd&abc/c", "abd/c"),
        ("abc", "de", "ade", "bc", "ade&abc/bc", "ade/bc"),
    ],
)
def test_a_change_is_simple_or_joint_and_ends(
    before: str, learners: str, voters: str, then: str, at_once: str, finally_: str
) -> None:
    member = leader(before, learners)
    assert told(member.core.membership) == before + (f"/{learners}" if learners else "")
    assert member.step(ChangeMembership(voters=tuple(voters), learners=tuple(then))).accepted
    assert told(member.core.membership) == at_once
    until_nothing_is_pending(member)
    assert told(member.core.membership) == finally_


class Oracle:
    """What a membership becomes, with sets and by the definition; it knows nothing of logs or messages."""

    def __init__(self, voters: str) -> None:
        self.voters = set(voters)
        self.learners: set[str] = set()

    def ask(self, kind: str, *wanted: Any) -> tuple[str, set[str]]:
        """Why not (empty: it is done), and who votes besides until the change is committed."""
        voters, learners = set(self.voters), set(self.learners)
        match kind:
            case "add":
                if wanted[0] in voters | learners:
                    return "already a member", set()
                learners.add(wanted[0])
            case "promote":
                if wanted[0] not in learners:
                    return "not a learner", set()
                learners.discard(wanted[0])
                voters.add(wanted[0])
            case "remove":
                if wanted[0] not in voters | learners:
                    return "not a member", set()
                if voters == {wanted[0]}:
                    return "last voter", set()
                voters.discard(wanted[0])
                learners.discard(wanted[0])
            case "change":
                if not wanted[0]:
                    return "last voter", set()
                if len(wanted[0] + wanted[1]) != len({*wanted[0], *wanted[1]}):
                    return "named twice", set()
                voters, learners = set(wanted[0]), set(wanted[1])
                if (voters, learners) == (self.voters, self.learners):
                    return "no change", set()
                if not voters <= self.voters | self.learners:
                    return "not a learner", set()
        outgoing = self.voters if len(voters ^ self.voters) > 1 else set()
        self.voters, self.learners = voters, learners
        return "", outgoing

    def told(self, outgoing: set[str]) -> str:
        return told(
            Membership(voters=tuple(self.voters), outgoing=tuple(outgoing), learners=tuple(self.learners))
        )


EVENTS = {
    "add": lambda name: AddLearner(member=name),
    "promote": lambda name: PromoteLearner(member=name),
    "remove": lambda name: RemoveMember(member=name),
    "change": lambda voters, learners: ChangeMembership(voters=voters, learners=learners),
}


def quorums(membership: Membership) -> list[set[str]]:
    """Every set of members that decides, counted by hand."""
    halves = [set(membership.voters)] + ([set(membership.outgoing)] if membership.outgoing else [])
    members = sorted(set().union(*halves))
    sets = (set(who) for size in range(len(members) + 1) for who in combinations(members, size))
    return [who for who in sets if all(len(half & who) > len(half - who) for half in halves)]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(("a", "ab", "abc", "abcd")), st.lists(changes, max_size=6))
def test_any_changes_in_a_row_come_out_as_the_oracle_says(start: str, asked: list[tuple[Any, ...]]) -> None:
    """What is refused, what is in force at once and in the end; and any two in a row cannot decide apart."""
    member, oracle = leader(start), Oracle(start)
    entered = [member.core.membership]
    for kind, *wanted in asked:
        ready = member.step(EVENTS[kind](*wanted))
        why, outgoing = oracle.ask(kind, *wanted)
        assert [refusal.reason for refusal in ready.refused] == ([why] if why else [])
        if why:
            assert member.core.membership == entered[-1]
            continue
        assert told(member.core.membership) == oracle.told(outgoing)
        entered.append(member.core.membership)
        again = member.step(EVENTS[kind](*wanted))
        if member.core.commit_index < entered[-1].index or outgoing:
            assert [refusal.reason for refusal in again.refused] == ["membership change pending"]
        until_nothing_is_pending(member)
        if not member.core.is_leader:
            assert "a" not in oracle.voters
            break
        assert told(member.core.membership) == oracle.told(set())
        if outgoing:
            entered.append(member.core.membership)
    for one_, next_ in pairwise(entered):
        apart = [(q, r) for q in quorums(one_) for r in quorums(next_) if not q & r]
        assert not apart, f"{told(one_)} and {told(next_)} could decide apart: {apart[0]}"
