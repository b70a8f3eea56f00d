"""What members say to each other survives the wire, and everything else about the words of the core."""

from typing import get_args

import msgspec
import pytest

from raftyard.actors.raft.config import RaftConfig
from raftyard.actors.raft.events import Message, PeerMessage, is_application
from raftyard.actors.raft.membership import InvalidMembership, Membership, decode_membership

VALUES = {
    int: 7,
    str: "x",
    bool: True,
    str | None: "y",
    tuple[int, ...]: (1, 2),
    tuple[bytes, ...]: (b"a", b""),
    bytes: b"z",
    Membership: Membership(voters=("a",), outgoing=("b",), learners=("c",), index=3),
}
KINDS = get_args(PeerMessage)


def example(kind: type[Message]) -> Message:
    fields = msgspec.structs.fields(kind)
    return kind(**{field.name: VALUES[field.type] for field in fields})


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_the_same_after_the_wire(kind: type[Message]) -> None:
    message = example(kind)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=PeerMessage) == message


@pytest.mark.parametrize("kind", KINDS)
def test_messages_cannot_be_changed(kind: type[Message]) -> None:
    with pytest.raises(AttributeError):
        example(kind).term = 1


@pytest.mark.parametrize(
    ("payload", "ours"), [(b"", False), (b"\x00", False), (b"\x00x", False), (b"\x01", True)]
)
def test_an_application_entry_is_told_from_the_cores_own(payload: bytes, ours: bool) -> None:
    assert is_application(payload) is ours


@pytest.mark.parametrize("payload", [b"", b"x", b"\x00", b"\x00\x93\x91\x01\x90\x90", b"\x00nonsense"])
def test_what_is_no_membership_is_refused_with_its_place(payload: bytes) -> None:
    with pytest.raises(InvalidMembership, match="entry 4"):
        decode_membership(payload, 4)


@pytest.mark.parametrize(
    ("who", "joint", "decides"),
    [
        ("ab", False, True),
        ("a", False, False),
        ("abx", True, False),
        ("abxy", True, True),
        ("xyz", True, False),
    ],
)
def test_two_voter_sets_decide_together_only_by_a_majority_of_each(
    who: str, joint: bool, decides: bool
) -> None:
    membership = Membership(voters=("a", "b", "c"), outgoing=("x", "y", "z") if joint else ())
    assert membership.is_quorum(tuple(who)) is decides


def test_timeouts_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="heartbeat_ms < election_min_ms"):
        RaftConfig(heartbeat_ms=500)
