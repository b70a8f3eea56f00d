"""Histories of a replicated machine's clients, checked for linearizability, while links and members fail."""

from __future__ import annotations

import os
from random import Random
from typing import Any

import msgspec
import pytest

from raftyard.actors import (
    Actor,
    Answered,
    ApplyCommand,
    LinkPolicy,
    RaftConfig,
    ReadState,
    Replicated,
    Virtual,
)
from raftyard.actors.disk import LosePower
from raftyard.actors.messages import disk_actor
from raftyard.actors.scenarios.checkers.linearizability import check
from raftyard.actors.scenarios.histories import Operation
from raftyard.actors.storage.simulated import DiskFaults

FIRST = int(os.environ.get("RAFTYARD_SEED", "0"))
CAMPAIGN = 1000 if os.environ.get("RAFTYARD_CAMPAIGN") == "full" else 50
KEYS = ("x", "y")
SMALL = RaftConfig(
    snapshot_entries=10, keep_entries=3, snapshot_chunk_bytes=50, max_snapshot_inflight_bytes=100
)


class Texts:
    """Keys with texts, which grow at their end: a command that is applied twice shows."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def apply(self, command: Any) -> Any:
        key, kind, argument = command
        if kind == "cas":
            old, new = argument
            if self.texts.get(key) != old:
                return False
            self.texts[key] = new
            return True
        self.texts[key] = argument if kind == "put" else self.texts.get(key, "") + argument
        return None

    def read(self, query: str) -> str | None:
        return self.texts.get(query)

    def snapshot(self) -> bytes:
        return msgspec.json.encode(self.texts)

    def restore(self, data: bytes) -> None:
        self.texts = msgspec.json.decode(data)


class Client(Actor):
    """One operation after the other, in a session of its own; a command without an outcome is sent again."""

    def __init__(self, group: str, members: tuple[str, ...], history: list[Operation]) -> None:
        self.group = group
        self.members = members
        self.history = history
        self.sequence = 0
        self.count = 0
        self.kind = self.key = ""
        self.argument: Any = None
        self.start = 0.0
        self.is_over = False

    def on_start(self) -> None:
        self.begin()

    def begin(self) -> None:
        random = self.context.random
        self.count += 1
        self.key, self.start = random.choice(KEYS), self.context.now()
        self.kind = random.choice(("get", "get", "add", "add", "put", "cas"))
        text = f"{self.context.name}.{self.count};"
        seen = next((o.result for o in reversed(self.history) if o.key == self.key and o.kind == "get"), None)
        self.argument = {"get": None, "cas": (seen, text)}.get(self.kind, text)
        self.sequence += self.kind != "get"
        self.send()

    def send(self) -> None:
        me = {"reply_to": self.context.name, "ref": self.count, "within_s": 0.7}
        if self.kind == "get":
            member = self.context.random.choice((None, *self.members))
            message: Any = ReadState.of(self.key, member=member, **me)
        else:
            message = ApplyCommand.of(
                (self.key, self.kind, self.argument), session=self.context.name, sequence=self.sequence, **me
            )
        self.context.send(self.group, message)

    def on_receive(self, message: Any) -> None:
        if message == "go on":
            self.begin()
        elif message == "end":
            self.is_over = True
        elif isinstance(message, Answered) and message.ref == self.count:
            if message.error is not None and self.kind != "get":
                self.send()
                return
            if message.error is None:
                self.note(message.result, self.context.now())
            if not self.is_over:
                self.context.after(0.05 * self.context.random.random(), "go on")
            else:
                self.kind = ""

    def note(self, result: Any, end: float | None) -> None:
        self.history.append(
            Operation(
                client=self.context.name, key=self.key, kind=self.kind, argument=self.argument,
                result=result, start=self.start, end=end,
            )
        )  # fmt: skip

    def on_stop(self) -> None:
        if self.kind not in ("", "get"):
            self.note(None, None)


def play(seed: int) -> list[Operation]:
    """Some seconds of faults and clients, and what the clients heard."""
    random, history = Random(f"histories/{seed}"), list[Operation]()
    link = LinkPolicy(delay_s=0.005, jitter_s=0.01, loss=0.05 * (seed % 2), reorder=0.1 * (seed % 2))
    disks = DiskFaults(sync_ms=1, jitter_ms=5) if seed % 3 == 0 else None
    system = Virtual(seed=seed)
    with system, Replicated(system, "texts", Texts, raft=SMALL, link=link, disks=disks) as group:
        for number in range(4):
            system.spawn(Client, f"c{number}", group.actor, group.members, history)
        for _ in range(12):
            system.run(for_s=random.random())
            victim = random.choice([group.leader() or "member_0", *group.members])
            other = random.choice([name for name in group.members if name != victim])
            match random.randrange(6 if disks is None else 7):
                case 0 | 1:
                    group.isolate(victim)
                case 2:
                    group.cut(victim, other)
                case 3 if not system.is_alive(f"cluster/texts/node/{victim}"):
                    pass
                case 3:
                    group.crash(victim)
                case 6:
                    system.send(disk_actor("texts", victim), LosePower())
                case _:
                    group.heal()
        group.heal()
        before = len(history)
        system.run(for_s=5)
        assert len(history) > before, "with all faults gone it serves again"
        for number in range(4):
            system.send(f"c{number}", "end")
        system.run(for_s=3)
        final = {key: group.read(key, timeout_s=20) for key in KEYS}
        assert [{key: group.read(key, member=name) for key in KEYS} for name in group.members] == [final] * 3
    return history


def check_seed(seed: int) -> None:
    try:
        history = play(seed)
        assert len(history) > 50
        check(history)
    except BaseException:
        print(f"replay: RAFTYARD_SEED={seed}")
        raise


@pytest.mark.parametrize("seed", range(6))
def test_every_history_has_an_order(seed: int) -> None:
    check_seed(seed)


@pytest.mark.campaign
def test_every_history_of_many_seeds_has_an_order() -> None:
    for seed in range(FIRST, FIRST + CAMPAIGN):
        check_seed(seed)
