"""What a member is at a time, by name. Only roles.py changes it."""

from enum import Enum


class Role(Enum):
    LEADER = "leader"
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    """Asks for votes, or whether it would get them (pre-vote)."""
    LEARNER = "learner"
    """Listens, and has no vote; also a member that is not added yet, or was removed."""


# In CPython 3.11 to look up an enum's member costs ten times as much as a name, and several are asked about in a step.
LEADER, CANDIDATE = Role.LEADER, Role.CANDIDATE
