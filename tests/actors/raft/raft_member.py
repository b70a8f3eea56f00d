"""One bare member for tests that speak to it message by message."""

import random
from typing import Any

from raftyard.actors.raft.core import Raft, RaftConfig, Restored
from raftyard.actors.raft.events import (
    Append,
    AppendReply,
    DeadlineReached,
    HardState,
    Persist,
    PreVoteReply,
    Ready,
    VoteReply,
    VoteRequest,
)
from raftyard.actors.raft.membership import Membership

MS = 1_000_000


class Alone:
    """A member whose peers are the test. Writes are durable only when the test says so (`durable`)."""

    def __init__(
        self,
        *terms: int,
        voters: tuple[str, ...] = ("a", "b", "c"),
        term: int | None = None,
        voted_for: str | None = None,
        sync: bool = True,
        payloads: tuple[bytes, ...] | None = None,
        incarnation: int = 1,
        **config: Any,
    ) -> None:
        hard = HardState(term=max(terms, default=0) if term is None else term, voted_for=voted_for)
        payloads = payloads or tuple(b"%d" % index for index in range(1, len(terms) + 1))
        membership = Membership(voters=voters)
        restored = Restored(hard_state=hard, membership=membership, terms=terms, payloads=payloads)
        self.now_ns = 0
        self.sync = sync
        self.writes: list[Persist] = []
        self.core = Raft(
            member="a",
            cluster="c",
            incarnation=incarnation,
            config=RaftConfig(**config),
            random=random.Random(1),
            restored=restored,
            now_ns=0,
        )
        self.last: Ready = Ready(deadline_ns=0)

    def step(self, event: Any) -> Ready:
        ready = self.core.step(self.now_ns, event)
        self.last = ready
        if ready.persist is not None:
            self.writes.append(ready.persist)
            if self.sync:
                self.durable()
        return ready

    def durable(self) -> Ready:
        """The oldest write is done."""
        ready = self.core.step(self.now_ns, self.writes.pop(0).done)
        if ready.persist is not None:
            self.writes.append(ready.persist)
            if self.sync:
                self.durable()
        return ready

    def later(self, ms: float) -> Ready:
        self.now_ns += int(ms * MS)
        return self.step(DeadlineReached())

    def hear(
        self, kind: type, sender: str = "b", term: int | None = None, incarnation: int = 1, **fields: Any
    ) -> Ready:
        term = self.core.term if term is None else term
        if kind is Append:
            fields = {"prev_index": 0, "prev_term": 0, "terms": (), "commit": 0, "round": 0, **fields}
            fields.setdefault("payloads", tuple(b"x%d" % t for t in fields["terms"]))
        if kind is AppendReply:
            fields = {"success": True, "round": self.core.round, **fields}
        if kind is VoteRequest:
            fields = {"last_index": 99, "last_term": 99, **fields}
        message = kind(cluster="c", sender=sender, to="a", term=term, incarnation=incarnation, **fields)
        return self.step(message)

    def time_out(self) -> Ready:
        """Silence until the next deadline of its own."""
        self.now_ns = max(self.now_ns, self.core.deadline_ns)
        return self.step(DeadlineReached())

    def campaign(self) -> Ready:
        """Silence, and pre-votes from everybody."""
        self.time_out()
        ready = self.last
        for voter in self.core.membership.voters:
            if voter != "a" and self.core.is_pre_voting:
                ready = self.hear(PreVoteReply, voter, granted=True, round=self.core.ask_round)
        return ready

    def lead(self) -> Ready:
        """Wins an election; returns what it then does."""
        self.campaign()
        ready = self.last
        for voter in self.core.membership.voters:
            if voter != "a" and not self.core.is_leader:
                ready = self.hear(VoteReply, voter, granted=True)
        assert self.core.is_leader
        return ready

    def serve(self) -> None:
        """Leads, and everybody acknowledges its log."""
        self.lead()
        self.acknowledge()

    def acknowledge(self, *peers: str) -> None:
        for peer in peers or tuple(self.core.peers):
            self.hear(AppendReply, peer, match=self.core.last_index)


def sent(ready: Ready, kind: type) -> list[Any]:
    """The messages of a kind that a step sends, at once or when its write is durable."""
    return [message for message in ready.send + ready.send_after_durable if type(message) is kind]
