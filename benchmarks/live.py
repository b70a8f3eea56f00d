"""How many commands three members in one process agree on in a second of real time, and how long one takes.

A client actor keeps 1, 100 or 1,000 commands of 100 bytes outstanding at the leader; a command counts when its answer
is back, after it was applied there. Memory storage, default timeouts. PySyncObj runs beside it as three processes on
loopback with its own defaults and the client inside its leader's process, which is its quickest place.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from raftyard.actors import Actor, Live, Promise
from raftyard.actors.messages import Outcome

from . import Options, number, percentile, sample, talk
from ._members import command, start_members
from ._pysyncobj import Peers

OUTSTANDING = (1, 100, 1000)
WARM_UP_S = 0.3

Figures = dict[str, float]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Keep `outstanding` commands under way at the actor `leader` for `for_s` seconds, then answer with latencies."""

    leader: str
    outstanding: int
    for_s: float


class Client(Actor):
    """Asked for a Load, it answers (seconds it took, sorted latencies in ns); only commands after the warm-up count."""

    def on_receive(self, message: Any) -> Promise | None:
        """An answer that is followed by the next command, or the order to begin."""
        if isinstance(message, Outcome):
            self._answered(message)
            return None
        return self._begin(message)

    def _begin(self, load: Load) -> Promise:
        self._leader = load.leader
        self._sequence = 0
        self._sent: dict[int, int] = {}
        self._took_ns: list[int] = []
        self._done = self.context.promise()
        self._from_ns = self.context.now_ns() + round(WARM_UP_S * 1e9)
        self._until_ns = self._from_ns + round(load.for_s * 1e9)
        for _ in range(load.outstanding):
            self._submit(self.context.now_ns())
        return self._done

    def _submit(self, now_ns: int) -> None:
        self._sequence += 1
        self._sent[self._sequence] = now_ns
        # Answers come in the order of the log, so the client has all of those before its oldest open command.
        acknowledged = next(iter(self._sent)) - 1
        self.context.send(self._leader, command("client", self._sequence, acknowledged, self.context.name))

    def _answered(self, outcome: Outcome) -> None:
        if outcome.refused is not None:
            raise RuntimeError(
                f"the leader refused a command: {outcome.refused}; a busy machine, run it again"
            )
        now_ns = self.context.now_ns()
        sent_ns = self._sent.pop(outcome.sequence)
        if now_ns < self._until_ns:
            if now_ns >= self._from_ns:
                self._took_ns.append(now_ns - sent_ns)
            self._submit(now_ns)
        elif not self._sent:
            self._done.keep(sorted(self._took_ns))


def one_run(outstanding: int, for_s: float) -> Figures:
    """Fresh members, one load."""
    with Live() as system:
        leader = start_members(system)
        system.spawn(Client, "client")
        begin = time.process_time()
        took = system.ask(
            "client", Load(leader=leader, outstanding=outstanding, for_s=for_s), timeout_s=for_s + 20
        )
        spent = time.process_time() - begin
    return figures(took, for_s) | {"cpu_us_per_commit": 1e6 * spent / max(1, len(took)) * _share(for_s)}


def _share(for_s: float) -> float:
    """The part of the CPU time that belongs to the commands that count."""
    return for_s / (for_s + WARM_UP_S)


def figures(took_ns: list[int], for_s: float) -> Figures:
    """What a run's sorted latencies say."""
    return {
        "commits_per_s": len(took_ns) / for_s,
        "p50_ms": percentile(took_ns, 50) / 1e6,
        "p99_ms": percentile(took_ns, 99) / 1e6,
    }


def run(options: Options) -> dict[str, Any]:
    """`--runs 5 --seconds 2`: ours and the peer's runs, in turn."""
    runs, for_s = number(options, "runs", 5), float(number(options, "seconds", 2))
    ours: dict[int, list[Figures]] = {outstanding: [] for outstanding in OUTSTANDING}
    theirs: dict[int, list[Figures]] = {outstanding: [] for outstanding in OUTSTANDING}
    with Peers() as peers:
        for turn in range(runs):
            for outstanding in OUTSTANDING:
                ours[outstanding].append(one_run(outstanding, for_s))
                if peers.is_there:
                    theirs[outstanding].append(figures(peers.load(outstanding, for_s, WARM_UP_S), for_s))
            talk(f"live: run {turn + 1} of {runs}")
    return {
        "runs": runs,
        "outstanding": _told(ours),
        "pysyncobj": _told(theirs) if peers.is_there else None,
    }


def _told(taken: dict[int, list[Figures]]) -> dict[str, Any]:
    return {
        str(outstanding): {key: sample(figures[key] for figures in samples) for key in samples[0]}
        for outstanding, samples in taken.items()
    }
