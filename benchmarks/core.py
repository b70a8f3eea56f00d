"""How many entries three members agree on in a second of CPU time, when nothing but the core runs.

One proposal is outstanding at a time.  Every write is a step, its completion another, as with a real disk; every
feature is on, at the defaults.  An entry counts when the leader hands it out to be applied.
"""

import random
import time
from collections import deque
from typing import Any

from raftyard.actors.raft.core import Raft, RaftConfig, Restored
from raftyard.actors.raft.events import NEVER_NS, DeadlineReached, Event, Propose, Ready

from . import Options, number, sample

BATCHES = (1, 10, 100, 1000)
PAYLOAD = b"p" * 100
STEP_NS = 1_000


class Trio:
    """Three members whose messages arrive at once and in order."""

    def __init__(self, seed: int) -> None:
        names = ("a", "b", "c")
        self.now_ns = 0
        self.applied = 0
        self.queue: deque[tuple[str, Event]] = deque()
        self.members = {
            name: Raft(
                member=name,
                cluster="bench",
                incarnation=1,
                config=RaftConfig(),
                random=random.Random(f"{seed}/{name}"),
                restored=Restored.bootstrap(names),
                now_ns=0,
            )
            for name in names
        }
        self.deadlines = {name: member.deadline_ns for name, member in self.members.items()}
        self.leader = ""

    def elect(self) -> None:
        while not any(member.has_committed_own_term for member in self.members.values()):
            name = min(self.deadlines, key=lambda name: self.deadlines[name])
            self.now_ns = max(self.now_ns, self.deadlines[name])
            self.queue.append((name, DeadlineReached()))
            self.run()
        self.leader = next(name for name, member in self.members.items() if member.is_leader)
        self.applied = 0

    def propose(self, payloads: tuple[bytes, ...]) -> None:
        """One proposal, until nothing is left to do for it."""
        due = min(self.deadlines.values())
        if self.now_ns >= due < NEVER_NS:
            self.queue.extend(
                [(name, DeadlineReached()) for name, at in self.deadlines.items() if at <= self.now_ns]
            )
        self.queue.append((self.leader, Propose(payloads=payloads)))
        self.run()

    def run(self) -> None:
        queue, members, deadlines, leader = self.queue, self.members, self.deadlines, self.leader
        now_ns = self.now_ns
        while queue:
            name, event = queue.popleft()
            now_ns += STEP_NS
            ready: Ready = members[name].step(now_ns, event)
            for message in ready.send:
                queue.append((message.to, message))
            persist = ready.persist
            if persist is not None:
                for message in ready.send_after_durable:
                    queue.append((message.to, message))
                queue.append((name, persist.done))
            if ready.apply is not None and name == leader:
                self.applied += len(ready.apply.terms)
            deadlines[name] = ready.deadline_ns
        self.now_ns = now_ns


def commits_per_cpu_s(batch: int, seed: int, cpu_s: float) -> float:
    """One sample: proposals of `batch` entries for about cpu_s of CPU time, with fresh members."""
    trio = Trio(seed)
    trio.elect()
    payloads = (PAYLOAD,) * batch
    chunk = max(1, 2_000 // batch)
    begin = time.process_time()
    spent = 0.0
    while spent < cpu_s:
        for _ in range(chunk):
            trio.propose(payloads)
        spent = time.process_time() - begin
    return trio.applied / spent


def run(options: Options) -> dict[str, Any]:
    """`core` of BENCHMARKS.md. `--runs` samples of each batch, interleaved, of `--sample-ms` CPU each."""
    runs = number(options, "runs", 5)
    cpu_s = number(options, "sample_ms", 500) / 1_000
    taken: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for seed in range(runs):
        for batch in BATCHES:
            taken[batch].append(commits_per_cpu_s(batch, seed, cpu_s))
    return {
        "runs": runs,
        "commits_per_cpu_s": {str(batch): sample(values) for batch, values in taken.items()},
    }
