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
    lease_reads: bool = False
    """A leader that a quorum has just answered serves reads without asking again (§6.4.1). Needs check_quorum, and
    clocks that do not drift apart by more than clock_drift; wrong clocks then give stale reads."""
    clock_drift: float = 0.1
    """By how much, relatively, one member's clock may run faster than another's."""
    max_inflight_messages: int = 128
    max_inflight_bytes: int = 8 << 20
    """How much may be under way to one follower unanswered; after a refusal one message, doubled by each success."""
    max_batch_entries: int = 4096
    max_batch_bytes: int = 1 << 20
    """How much one message carries; a single larger entry travels alone."""
    max_uncommitted_bytes: int = 64 << 20
    """What a leader takes in before it refuses, of what is not committed or not durable at itself; each entry counts 64
    bytes more than its payload."""
    storage_patience_ms: int = 5_000
    """A leader whose own storage has completed nothing for so long, though something is to be written, hands over to
    another voter, once. It leads on if nobody takes over."""
    max_snapshot_inflight_bytes: int = 1 << 20
    snapshot_chunk_bytes: int = 256 << 10
    """How much of a snapshot may be under way to one follower without its answer, and how much one message carries."""
    snapshot_entries: int = 10_000
    snapshot_bytes: int = 64 << 20
    """A snapshot is due when so much was applied since the last one; at four times of that even if somebody is being
    sent the last one, and so has to begin again."""
    keep_entries: int = 2_000
    keep_bytes: int = 16 << 20
    """So many entries before a snapshot stay in the log, as far as their payloads are no more than so many bytes
    together: a follower that lacks no more needs no snapshot."""
    caught_up_entries: int = 256
    """A learner that lacks no more than this may become a voter."""

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_ms < self.election_min_ms <= self.election_max_ms:
            raise ValueError(
                "timeouts must satisfy 0 < heartbeat_ms < election_min_ms <= election_max_ms, not "
                f"{self.heartbeat_ms}, {self.election_min_ms}, {self.election_max_ms}"
            )
        if self.lease_reads and not (self.check_quorum and 0 <= self.clock_drift < 1):
            raise ValueError(
                f"lease_reads needs check_quorum, and a clock_drift from 0 to 1, not {self.clock_drift}"
            )
        if not 0 < self.snapshot_chunk_bytes <= self.max_snapshot_inflight_bytes:
            raise ValueError(
                "a snapshot's pieces must satisfy 0 < snapshot_chunk_bytes <= max_snapshot_inflight_bytes, not "
                f"{self.snapshot_chunk_bytes}, {self.max_snapshot_inflight_bytes}"
            )
