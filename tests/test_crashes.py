"""The real program is killed and paused under load, again and again; its clients' history says what must be true.

Three kinds of clients work at the same time. Those that insist repeat a call under its key until it is executed, so
each of their calls counts exactly once. Those that give up make each call once and may never hear how it went; they
share a service with each other and with those that read it, and what they all heard must have an order.

RAFTYARD_SEED repeats the times of the faults, not what the machine makes of them; RAFTYARD_CAMPAIGN=full is long.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import pytest
from program import Program, program

from raftyard.actors.scenarios.checkers.linearizability import NotLinearizable, check
from raftyard.actors.scenarios.histories import Operation

INSISTING, GIVING_UP, READING = 3, 2, 2
ROUND = 5
"""Faults after which the clients turn to another shared service: a history is short enough to be checked."""
FAULTS = ("kill", "pause", "kill at start", "kill while paused")


class Client(Thread):
    """Does something again and again until it is told that this is enough."""

    def __init__(self, number: int, it: Program, enough: Event) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.failure = ""
        self._it = it
        self._enough = enough

    def run(self) -> None:
        while not self._enough.is_set() and not self.failure:
            try:
                self.act()
            except Exception as error:
                self.failure = repr(error)

    def act(self) -> None:
        raise NotImplementedError

    def submit(self, container: dict[str, Any], key: str | None) -> dict[str, Any] | None:
        """The executed call; None: nobody knows. Any other answer is a failure of the test."""
        path = "/clusters/0/service?wait=executed&timeout=5s"
        status, answer = self._it.call("POST", path, {"container": container}, key=key, timeout_s=8)
        if status == 200 and answer["status"] == "executed":
            return dict(answer)
        if status not in (0, 200, 202, 503, 504):
            self.failure = f"{container} {key}: {status} {answer}"
        return None


class Insisting(Client):
    """Changes a service of its own, one call after the other, each with a key and repeated until it is executed."""

    def __init__(self, number: int, it: Program, enough: Event) -> None:
        super().__init__(number, it, enough)
        self.service = f"client-{number}"
        self.acknowledged: list[tuple[str, int]] = []
        self.sent = 0
        self.retries = 0

    def act(self) -> None:
        self.sent += 1
        container = {"name": self.service, "replicas": self.wanted(self.sent)}
        while not self.failure:
            answer = self.submit(container, f"{self.service}/{self.sent}")
            if answer is not None:
                self.acknowledged.append((answer["service_id"], answer["log_index"]))
                return
            self.retries += 1
            time.sleep(0.05)

    @staticmethod
    def wanted(number: int) -> int:
        """The replicas of a client's call: never the same twice in a row, so every application counts a version."""
        return 1 + number % 5


class Shared:
    """What the other clients write and read, and all that they heard of it."""

    def __init__(self) -> None:
        self.history: list[Operation] = []
        self.number = 0
        self._lock = Lock()

    @property
    def service(self) -> str:
        return f"shared-{self.number}"

    def note(self, client: str, key: str, kind: str, text: str, start: float, heard: bool) -> None:
        argument, result = (text, None) if kind == "put" else (None, text or None)
        end = time.monotonic() if heard else None
        operation = Operation(
            client=client, key=key, kind=kind, argument=argument, result=result, start=start, end=end
        )
        with self._lock:
            self.history.append(operation)


class GivingUp(Client):
    """Writes the shared service's description, each time another one, and asks only once."""

    def __init__(self, number: int, it: Program, enough: Event, shared: Shared) -> None:
        super().__init__(number, it, enough)
        self._shared = shared
        self._sent = 0

    def act(self) -> None:
        self._sent += 1
        service, text, start = self._shared.service, f"<{self.number}.{self._sent}>", time.monotonic()
        answer = self.submit({"name": service, "replicas": 1 + self._sent % 3, "description": text}, None)
        self._shared.note(f"writer {self.number}", service, "put", text, start, answer is not None)
        if answer is None:
            time.sleep(0.2)  # A history of mostly refused connections would say little.


class Reading(GivingUp):
    """Reads it."""

    def act(self) -> None:
        service, start = self._shared.service, time.monotonic()
        status, answer = self._it.call("GET", "/clusters/0/state", timeout_s=8)
        if status != 200:
            time.sleep(0.2)
            return
        found = [known.get("description", "") for known in answer["services"] if known["name"] == service]
        self._shared.note(f"reader {self.number}", service, "get", found[0] if found else "", start, True)


def hurt(it: Program, fault: str, chance: random.Random) -> None:
    """It runs again when this ends."""
    if fault in ("pause", "kill while paused"):
        it.signal(signal.SIGSTOP)
        time.sleep(chance.uniform(0.1, 1.5))
    if fault == "pause":
        it.signal(signal.SIGCONT)
        return
    it.kill()
    if fault == "kill at start":
        # While it reads its files, opens its ports, elects a leader or applies what it found.
        it.launch()
        time.sleep(chance.uniform(0.0, 1.2))
        it.kill()
    it.start()


def campaign(it: Program, chance: random.Random, faults: int) -> tuple[list[Insisting], Shared]:
    it.start()
    enough, shared = Event(), Shared()
    insisting = [Insisting(number, it, enough) for number in range(INSISTING)]
    clients: list[Client] = [
        *insisting,
        *(GivingUp(number, it, enough, shared) for number in range(GIVING_UP)),
        *(Reading(number, it, enough, shared) for number in range(READING)),
    ]
    for client in clients:
        client.start()
    for number in range(faults):
        time.sleep(chance.uniform(0.2, 1.2))
        hurt(it, FAULTS[number % len(FAULTS)], chance)
        shared.number = (number + 1) // ROUND
    enough.set()
    for client in clients:
        client.join(60)
        assert not client.is_alive(), f"{client.name} never got its answer"
        assert not client.failure, client.failure
    return insisting, shared


def state(it: Program) -> dict[str, dict[str, Any]]:
    return {service["name"]: service for service in it.call("GET", "/clusters/0/state")[1]["services"]}


def check_insisting(services: dict[str, dict[str, Any]], clients: list[Insisting]) -> None:
    """Every call was acknowledged in the end, so each counts exactly once, and the last one stands."""
    for client in clients:
        indexes = [index for _, index in client.acknowledged]
        assert indexes == sorted(set(indexes)), "acknowledged in the order of the log, each at its own place"
        assert len({call for call, _ in client.acknowledged}) == client.sent
        service = services[client.service]
        assert service["version"] == client.sent, (
            f"{client.service}: {service['version']} of {client.sent} applied"
        )
        assert service["replicas"] == Insisting.wanted(client.sent)


def check_shared(services: dict[str, dict[str, Any]], shared: Shared) -> None:
    """One order explains what everybody heard, with what stands there now as the last read; nothing counts twice."""
    now = time.monotonic()
    for name in dict.fromkeys(operation.key for operation in shared.history):
        sent = [operation for operation in shared.history if (operation.key, operation.kind) == (name, "put")]
        last = services[name].get("description", "") if name in services else ""
        shared.note("the end", name, "get", last, now, True)
        assert name not in services or services[name]["version"] <= len(sent), "a call was applied twice"
    check(shared.history)


def run(folder: Path, faults: int) -> None:
    seed = int(os.environ.get("RAFTYARD_SEED", "0"))
    print(f"replay: RAFTYARD_SEED={seed}")
    with program(folder) as it:
        insisting, shared = campaign(it, random.Random(seed), faults)
        check_insisting(state(it), insisting)
        it.kill()
        it.start()
        check_insisting(state(it), insisting)
        check_shared(state(it), shared)
    sent, retries = sum(client.sent for client in insisting), sum(client.retries for client in insisting)
    unknown = sum(operation.end is None for operation in shared.history)
    puts, reads = (sum(operation.kind == kind for operation in shared.history) for kind in ("put", "get"))
    print(f"{faults} faults, {sent} calls, {retries} retries; {puts} writes, {unknown} unknown, {reads} reads")
    assert sent > 2 * INSISTING and puts > 2 * GIVING_UP and reads > 2 * READING
    assert retries and unknown, "no fault met a call that was under way"


def test_nothing_acknowledged_is_lost_or_applied_twice_when_the_program_is_killed(tmp_path: Path) -> None:
    run(tmp_path, len(FAULTS))


@pytest.mark.campaign
@pytest.mark.timeout(3_600)
def test_the_same_again_and_again(tmp_path: Path) -> None:
    """15 faults in the slice; 200 in all, which take 10 minutes, most of them waiting."""
    run(tmp_path, 200 if os.environ.get("RAFTYARD_CAMPAIGN") == "full" else 15)


def test_a_lost_or_doubled_or_late_answer_would_be_seen() -> None:
    """The check itself: an acknowledged write that is gone, one that came back, one that counted twice."""

    def heard(*operations: tuple[str, str, float, bool]) -> Shared:
        shared = Shared()
        for kind, text, start, known in operations:
            shared.note("a", "s", kind, text, start, known)
            shared.history[-1] = Operation(
                client="a", key="s", kind=kind, start=start, end=start + 1 if known else None,
                argument=text if kind == "put" else None, result=text or None if kind == "get" else None,
            )  # fmt: skip
        return shared

    def service(text: str, version: int) -> dict[str, dict[str, Any]]:
        return {"s": {"description": text, "version": version}}

    one, two = ("put", "<0.1>", 0.0, True), ("put", "<0.2>", 2.0, True)
    check_shared(service("<0.2>", 2), heard(one, two))
    check_shared(service("<0.2>", 1), heard(one, ("put", "<0.2>", 2.0, False)))
    check_shared(service("<0.1>", 1), heard(one, ("put", "<0.2>", 2.0, False)))
    with pytest.raises(NotLinearizable):
        check_shared(service("<0.1>", 2), heard(one, two))
    with pytest.raises(NotLinearizable):
        check_shared({}, heard(one))
    with pytest.raises(NotLinearizable):
        check_shared(service("<0.2>", 2), heard(one, two, ("get", "<0.1>", 4.0, True)))
    with pytest.raises(AssertionError, match="twice"):
        check_shared(service("<0.1>", 2), heard(one))
