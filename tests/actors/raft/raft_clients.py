"""Clients of a replicated dictionary in the random simulation: they write and read, retry, and note what they heard.

A write is a command in a session, so that a retry is applied once; a read asks for an index (ReadIndex) and looks at
the dictionary of the member it asked.  Who hears nothing for too long notes that the outcome is unknown, and goes on
as somebody new.
"""

import random
from typing import Any

import msgspec
from raft_chaos import Chaos
from raft_simulation import MS, Member, Simulation

from raftyard.actors.raft.events import Propose, ReadFailed, ReadReady, ReadRequest, Ready
from raftyard.actors.raft.sessions import Applied, Sessions, encode
from raftyard.actors.scenarios.checkers.linearizability import check
from raftyard.actors.scenarios.histories import Operation

FIRST_READ = 1_000_000
"""Refs of our reads; the chaos numbers its own from 1."""


class Dictionary:
    """The machine: keys with texts."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def apply(self, index: int, command: bytes) -> None:
        kind, key, text = msgspec.msgpack.decode(command)
        self.texts[key] = text if kind == "put" else self.texts.get(key, "") + text

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.texts)

    def restore(self, data: bytes) -> None:
        self.texts = msgspec.msgpack.decode(data)


class View:
    """A member's dictionary, made from what that member has applied; made anew when it starts or is restored."""

    def __init__(self, applied: list[tuple[int, bytes]]) -> None:
        self.applied = applied
        self.position = 0
        self.machine = Dictionary()
        self.sessions = Sessions(self.machine)

    def catch_up(self) -> list[Applied]:
        news = []
        for index, payload in self.applied[self.position :]:
            if payload[:1] > b"\x00":
                news.append(self.sessions.apply(index, payload))
        self.position = len(self.applied)
        return news

    @property
    def index(self) -> int:
        return self.applied[-1][0] if self.applied else 0


class Client:
    """One at a time: what is under way, whom it asked, until when it waits."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.life = 0
        self.sequence = 0
        self.kind = ""
        self.key = ""
        self.text = ""
        self.start_ns = 0
        self.retry_ns = 0
        self.asked: dict[str, int] = {}
        self.ref = 0

    @property
    def session(self) -> str:
        return f"c{self.number}.{self.life}"


class ServedSimulation(Simulation):
    """A simulation whose members serve clients."""

    def __init__(self, **options: Any) -> None:
        self.views: dict[str, View] = {}
        self.clients = [Client(number) for number in range(5)]
        self.waiting: list[tuple[str, int, int]] = []
        self.history: list[Operation] = []
        self.choice = random.Random(f"clients/{options['seed']}")
        self.count_reads = FIRST_READ
        super().__init__(**options)

    # --- The members ---

    def carry_out(self, member: Member, ready: Ready) -> None:
        incarnation = member.incarnation
        super().carry_out(member, ready)
        for answer in ready.reads:
            if answer.ref >= FIRST_READ:
                self.read_is_answered(member.name, incarnation, answer)
        self.serve(member)

    def read_answered(self, answer: ReadReady | ReadFailed) -> None:
        if answer.ref < FIRST_READ:
            super().read_answered(answer)

    def serve(self, member: Member) -> None:
        view = self.views.get(member.name)
        if view is None or view.applied is not member.applied:
            view = self.views[member.name] = View(member.applied)
        for applied in view.catch_up():
            self.is_applied(member, applied)
        for waiting in [item for item in self.waiting if item[0] == member.name and item[1] <= view.index]:
            self.waiting.remove(waiting)
            for client in self.clients:
                if client.kind == "get" and client.ref == waiting[2]:
                    self.finish(client, view.machine.texts.get(client.key))

    def start(self, name: str) -> None:
        self.waiting = [item for item in self.waiting if item[0] != name]
        super().start(name)

    # --- The clients ---

    def act(self) -> None:
        for client in self.clients:
            if not client.kind:
                if self.choice.random() < 0.3:
                    self.begin(client)
            elif self.now_ns - client.start_ns > 4_000 * MS:
                self.give_up(client)
            elif self.now_ns >= client.retry_ns:
                self.ask(client)

    def begin(self, client: Client) -> None:
        client.kind = self.choice.choice(("get", "get", "put", "add", "add"))
        client.key = self.choice.choice("xyz")
        client.start_ns = self.now_ns
        client.asked = {}
        if client.kind != "get":
            client.sequence += 1
            client.text = f"{client.session}.{client.sequence} "
        self.ask(client)

    def ask(self, client: Client) -> None:
        """Anybody, more often a leader."""
        alive = list(self.awake)
        client.retry_ns = self.now_ns + self.choice.choice((100, 500, 2_000)) * MS
        if not alive:
            return
        name = self.choice.choice(self.leaders() if self.leaders() and self.choice.random() < 0.5 else alive)
        client.asked[name] = self.members[name].incarnation
        if client.kind == "get":
            self.count_reads += 1
            client.ref = self.count_reads
            self.step(name, ReadRequest(ref=client.ref))
        else:
            command = msgspec.msgpack.encode((client.kind, client.key, client.text))
            payload = encode(client.session, client.sequence, command, acknowledged=client.sequence - 1)
            self.step(name, Propose(payloads=(payload,)))

    def is_applied(self, member: Member, applied: Applied) -> None:
        for client in self.clients:
            mine = (client.session, client.sequence) == (applied.session, applied.sequence)
            asked_here = client.asked.get(member.name) == member.incarnation
            if mine and asked_here and client.kind not in ("", "get") and not applied.refused:
                self.finish(client, applied.result)

    def read_is_answered(self, name: str, incarnation: int, answer: ReadReady | ReadFailed) -> None:
        if isinstance(answer, ReadReady) and self.members[name].incarnation == incarnation:
            self.waiting.append((name, answer.index, answer.ref))

    def finish(self, client: Client, result: Any) -> None:
        self.note(client, result, self.now_ns / MS)
        client.kind = ""

    def give_up(self, client: Client) -> None:
        if client.kind != "get":
            self.note(client, None, None)
        client.kind = ""
        client.life += 1
        client.sequence = 0

    def note(self, client: Client, result: Any, end: float | None) -> None:
        self.history.append(
            Operation(
                client=client.session,
                key=client.key,
                kind=client.kind,
                argument=None if client.kind == "get" else client.text,
                result=result,
                start=client.start_ns / MS,
                end=end,
            )
        )


class ServedChaos(Chaos):
    """The chaos with clients; at its end their history must have an order."""

    simulation_class = ServedSimulation
    simulation: ServedSimulation

    def run(self, actions: int = 60) -> None:
        for _ in range(actions):
            self.act()
            self.let(self.random.choice(self.pauses_ms))
        self.peace()
        self.let(2_000)
        self.check_history()

    def let(self, ms: float) -> None:
        """Time passes, and the clients do something every 20 ms of it."""
        for _ in range(int(ms) // 20):
            self.simulation.act()
            self.simulation.run(20)
        self.simulation.run(ms % 20)

    def check_history(self) -> None:
        open_writes = [client for client in self.simulation.clients if client.kind not in ("", "get")]
        for client in open_writes:
            self.simulation.give_up(client)
        check(self.simulation.history)

    def read(self) -> None:
        """The clients read; the simulation's own check of reads stays out of it."""
