"""Majorities and joint majorities, against an oracle that tries every set of voters.

The fast rules are the core's (`Membership.is_quorum`, `reached_by_majority`); the slow ones follow the definition word
for word: two quorums of one membership always meet, and an index is reached when some quorum has it.
"""

from itertools import combinations

import pytest
from hypothesis import given, settings, strategies as st

from raftyard.actors.raft.membership import Membership, reached_by_majority

NAMES = tuple("abcdefg")
voter_sets = st.lists(st.sampled_from(NAMES), unique=True, max_size=7).map(tuple)
some_voters = st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=7).map(tuple)


def subsets(members: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [chosen for size in range(len(members) + 1) for chosen in combinations(members, size)]


def decides(voters: tuple[str, ...], who: tuple[str, ...]) -> bool:
    """The definition: these outnumber those who are missing."""
    return len([voter for voter in voters if voter in who]) > len([v for v in voters if v not in who])


def slow_quorum(membership: Membership, who: tuple[str, ...]) -> bool:
    sets = [membership.voters, membership.outgoing] if membership.outgoing else [membership.voters]
    return all(decides(voters, who) for voters in sets)


def slow_reached(voters: tuple[str, ...], match: dict[str, int]) -> int:
    """The largest index such that those who have it are a majority."""
    for index in sorted(set(match.values()), reverse=True):  # the only order that matters is that of numbers
        if decides(voters, tuple(voter for voter in voters if match[voter] >= index)):
            return index
    return 0


@given(some_voters, voter_sets, voter_sets)
def test_a_quorum_is_a_majority_of_each_voter_set(
    voters: tuple[str, ...], outgoing: tuple[str, ...], who: tuple[str, ...]
) -> None:
    membership = Membership(voters=voters, outgoing=outgoing)
    assert membership.is_quorum(who) == slow_quorum(membership, who)


@given(some_voters, voter_sets)
@settings(max_examples=40, deadline=None)
def test_two_quorums_always_meet_also_one_of_the_joint_and_one_of_either_set(
    voters: tuple[str, ...], outgoing: tuple[str, ...]
) -> None:
    """§4.3: no two disjoint majorities while the membership goes from the old set to both and to the new one."""
    joint = Membership(voters=voters, outgoing=outgoing)
    everybody = joint.members
    neighbours = [joint, Membership(voters=voters)] + ([Membership(voters=outgoing)] if outgoing else [])
    of_joint = [who for who in subsets(everybody) if joint.is_quorum(who)]
    for other in neighbours:
        for who in (who for who in subsets(other.members) if other.is_quorum(who)):
            assert all(any(voter in who for voter in mine) for mine in of_joint)


@given(st.data(), some_voters)
def test_what_a_majority_has_reached_is_what_the_slow_search_finds(
    data: st.DataObject, voters: tuple[str, ...]
) -> None:
    match = {voter: data.draw(st.integers(0, 5)) for voter in voters}
    assert reached_by_majority([match[voter] for voter in voters]) == slow_reached(voters, match)


@given(st.data(), some_voters, some_voters)
def test_jointly_reached_is_what_every_set_has_reached(
    data: st.DataObject, voters: tuple[str, ...], outgoing: tuple[str, ...]
) -> None:
    match = {voter: data.draw(st.integers(0, 5)) for voter in NAMES}
    agreed = min(reached_by_majority([match[voter] for voter in group]) for group in (voters, outgoing))
    joint = Membership(voters=voters, outgoing=outgoing)
    reached = [index for index in range(6) if joint.is_quorum(tuple(v for v in NAMES if match[v] >= index))]
    assert agreed == max(reached)


@pytest.mark.parametrize(
    ("voters", "outgoing", "votes", "decided"),
    [
        # voters, outgoing voters, who says yes: as in etcd's tables of majority_vote and joint_vote.
        ("", "", "", False),
        ("a", "", "", False),
        ("a", "", "a", True),
        ("ab", "", "a", False),
        ("ab", "", "ab", True),
        ("abc", "", "a", False),
        ("abc", "", "ac", True),
        ("abcd", "", "ab", False),
        ("abcd", "", "abd", True),
        ("abcde", "", "ab", False),
        ("abcde", "", "abe", True),
        ("abc", "", "xyz", False),
        ("abc", "", "axyz", False),
        ("a", "b", "a", False),
        ("a", "b", "b", False),
        ("a", "b", "ab", True),
        ("abc", "abc", "ab", True),
        ("abc", "abc", "a", False),
        ("abc", "ade", "ab", False),
        ("abc", "ade", "abd", True),
        ("abc", "def", "abc", False),
        ("abc", "def", "abde", True),
        ("abc", "abcd", "ab", False),
        ("abc", "abcd", "abd", True),
        ("abcd", "ab", "abc", True),
        ("abcd", "ab", "acd", False),
    ],
)
def test_who_decides(voters: str, outgoing: str, votes: str, decided: bool) -> None:
    membership = Membership(voters=tuple(voters), outgoing=tuple(outgoing))
    assert membership.is_quorum(tuple(votes)) == decided


@pytest.mark.parametrize(
    ("values", "reached"),
    [
        ([], 0), ([0], 0), ([7], 7), ([0, 9], 0), ([5, 9], 5), ([0, 0, 9], 0), ([0, 5, 9], 5), ([9, 9, 9], 9),
        ([0, 0, 7, 9], 0), ([0, 6, 7, 9], 6), ([1, 2, 3, 4, 5], 3), ([0, 0, 0, 9, 9], 0), ([0, 0, 9, 9, 9], 9),
    ],
)  # fmt: skip
def test_how_far_a_majority_is(values: list[int], reached: int) -> None:
    assert reached_by_majority(list(values)) == reached
