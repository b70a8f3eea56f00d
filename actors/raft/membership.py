"""Who takes part in a cluster's decisions: voters, and learners that only listen."""

import msgspec


class Membership(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One configuration (§4). It is in force as soon as its entry is in the log, at `index`; 0: from the start."""

    voters: tuple[str, ...] = ()
    outgoing: tuple[str, ...] = ()
    """The old voters while two voter sets decide together (joint consensus, §4.3); else empty."""
    learners: tuple[str, ...] = ()
    """Once no two sets decide together. Who is listed here and is still an outgoing voter, votes until then."""
    index: int = 0

    @property
    def members(self) -> tuple[str, ...]:
        """Everybody, each once: voters, outgoing voters, learners."""
        return tuple(dict.fromkeys(self.voters + self.outgoing + self.learners))

    def is_voter(self, member: str) -> bool:
        return member in self.voters or member in self.outgoing

    def is_quorum(self, who: tuple[str, ...]) -> bool:
        """Whether these members suffice to decide: a majority of the voters, and of the outgoing ones if any."""
        return _is_majority(self.voters, who) and (not self.outgoing or _is_majority(self.outgoing, who))


class InvalidMembership(ValueError):
    """A payload that claims to be a membership change and is none."""


def encode_membership(membership: Membership) -> bytes:
    """The log entry that brings a membership into force; its index is where it stands."""
    columns = (membership.voters, membership.outgoing, membership.learners)
    return b"\x00" + msgspec.msgpack.encode(columns)


def decode_membership(payload: bytes, index: int) -> Membership:
    """Reads an entry's payload. Raises InvalidMembership."""
    if payload[:1] != b"\x00":
        raise InvalidMembership(f"entry {index} is no membership change")
    try:
        voters, outgoing, learners = _COLUMNS.decode(payload[1:])
    except msgspec.DecodeError as error:
        raise InvalidMembership(f"entry {index} is no readable membership change: {error}") from None
    return Membership(voters=voters, outgoing=outgoing, learners=learners, index=index)


_COLUMNS = msgspec.msgpack.Decoder(tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]])


def _is_majority(voters: tuple[str, ...], who: tuple[str, ...]) -> bool:
    return 2 * sum(voter in who for voter in voters) > len(voters)


def reached_by_majority(values: list[int]) -> int:
    """The largest value that more than half of a voter set has reached; `values` (one a voter) is sorted in place."""
    values.sort()
    return values[(len(values) - 1) // 2] if values else 0
