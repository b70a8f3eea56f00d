"""Who claims to lead a cluster: pure, on the claims that it is told."""

from __future__ import annotations

from ..errors import NoLeader
from ..messages import LeaderClaim, LeaderResigned, node_actor

__all__ = ["Claim", "Claims"]

CLAIMS_KEPT = 20


class Claim:
    """A node said that it leads; `is_current` until it has resigned, died or claimed again."""

    __slots__ = ("is_current", "node", "since_s", "term")

    def __init__(self, node: str, term: int, since_s: float) -> None:
        self.node = node
        self.term = term
        self.since_s = since_s
        self.is_current = True


class Claims:
    """The newest claims of one cluster's nodes, oldest first."""

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._claims: list[Claim] = []

    @property
    def leader(self) -> str | None:
        """The node whose claim has the highest term; None while that one has resigned or died."""
        current = self.current
        return None if current is None else current.node

    @property
    def current(self) -> Claim | None:
        """The leader's claim."""
        if not self._claims:
            return None
        newest = max(self._claims, key=lambda claim: claim.term)
        return newest if newest.is_current else None

    def no_leader(self) -> NoLeader:
        """What to say to whoever needs one."""
        return NoLeader(f"cluster {self._cluster} has no leader at the moment", retry_after_s=1)

    def all(self) -> tuple[Claim, ...]:
        """Every claim that is remembered."""
        return tuple(self._claims)

    def claimed(self, claim: LeaderClaim, since_s: float) -> None:
        """A node leads, since that time of the front door."""
        for earlier in self._claims:
            if earlier.node == claim.node:
                earlier.is_current = False
        self._claims.append(Claim(claim.node, claim.term, since_s))
        del self._claims[:-CLAIMS_KEPT]

    def resigned(self, resignation: LeaderResigned) -> None:
        """A node leads no more; what it claimed in a later term stands."""
        for claim in self._claims:
            if claim.node == resignation.node and claim.term <= resignation.term:
                claim.is_current = False

    def ended(self, actor: str) -> None:
        """An actor died; if it was a node, its claims did too."""
        for claim in self._claims:
            if node_actor(self._cluster, claim.node) == actor:
                claim.is_current = False
