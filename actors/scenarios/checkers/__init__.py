"""The promises that a scenario can watch, one a file: each can be broken, and says by what.

    always: [raft, no-replica-lost]

`CHECKERS` has them by name; a test breaks each of them twice.
"""

from __future__ import annotations

from .base import Checker, PromiseBroken
from .calls import CallsExecutedOnce
from .capacity import CapacityNeverExceeded
from .committed import CommittedNeverLost
from .converges import Converges
from .disks import DurableStaysDurable
from .histories import Linearizable
from .one_leader import AtMostOneLeaderPerTerm
from .raft import RaftInvariants
from .replicas_lost import NoReplicaLost
from .replicas_twice import NoReplicaTwice
from .tasks import TaskStatesOnlyForward

__all__ = [
    "CHECKERS",
    "AtMostOneLeaderPerTerm",
    "CallsExecutedOnce",
    "CapacityNeverExceeded",
    "Checker",
    "CommittedNeverLost",
    "Converges",
    "DurableStaysDurable",
    "Linearizable",
    "NoReplicaLost",
    "NoReplicaTwice",
    "PromiseBroken",
    "RaftInvariants",
    "TaskStatesOnlyForward",
]

CHECKERS: dict[str, type[Checker]] = {
    checker.name: checker
    for checker in (
        RaftInvariants,
        AtMostOneLeaderPerTerm,
        CommittedNeverLost,
        DurableStaysDurable,
        NoReplicaLost,
        NoReplicaTwice,
        CapacityNeverExceeded,
        TaskStatesOnlyForward,
        CallsExecutedOnce,
        Converges,
        Linearizable,
    )
}
