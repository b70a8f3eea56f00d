"""How patient and how greedy a member is: timeouts and limits."""

import msgspec


class RaftConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The same for all members of a cluster. Times in milliseconds, sizes in bytes."""

    heartbeat_ms: int = 100
    election_min_ms: int = 400
    election_max_ms: int = 800
    """A follower waits for its leader uniformly between the two, drawn anew at each reset (§3.4)."""
    commit_notice_ms: int = 20
    """Followers are told of a commit at latest this long after it, if no entry for them comes sooner."""
    pre_vote: bool = True
    check_quorum: bool = True
    """A leader that a quorum does not answer for election_max_ms steps down; who hears a leader does not vote."""
    max_inflight_messages: int = 128
    max_inflight_bytes: int = 8 << 20
    """How much may be under way to one follower without its answer."""
    max_batch_entries: int = 4096
    max_batch_bytes: int = 1 << 20
    """How much one message carries; a single larger entry travels alone."""
    max_uncommitted_bytes: int = 64 << 20
    """What a leader without a quorum takes in before it refuses; each entry counts 64 bytes more than its payload."""
    caught_up_entries: int = 256
    """A learner that lacks no more than this may become a voter."""

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_ms < self.election_min_ms <= self.election_max_ms:
            raise ValueError(
                "timeouts must satisfy 0 < heartbeat_ms < election_min_ms <= election_max_ms, not "
                f"{self.heartbeat_ms}, {self.election_min_ms}, {self.election_max_ms}"
            )
