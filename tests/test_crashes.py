"""The real program is killed and paused under load, again and again; its clients' history says what must be true.

RAFTYARD_SEED repeats the times of the faults, not what the machine makes of them; RAFTYARD_CAMPAIGN=full is long.
"""

import os
import random
import signal
import time
from pathlib import Path
from threading import Event, Thread

import pytest
from program import Program, program

CLIENTS = 4


class Client(Thread):
    """Changes a service of its own, one call after the other, each with a key and repeated until it is executed."""

    def __init__(self, number: int, it: Program, enough: Event) -> None:
        super().__init__(daemon=True)
        self.service = f"client-{number}"
        self.acknowledged: list[tuple[str, int]] = []
        self.sent = 0
        self.retries = 0
        self.failure = ""
        self._it = it
        self._enough = enough

    def run(self) -> None:
        while not self._enough.is_set() and not self.failure:
            self.sent += 1
            self._call(f"{self.service}/{self.sent}", self.wanted(self.sent))

    @staticmethod
    def wanted(number: int) -> int:
        """The replicas of a client's call: never the same twice in a row, so every application counts a version."""
        return 1 + number % 5

    def _call(self, key: str, replicas: int) -> None:
        body = {"container": {"name": self.service, "replicas": replicas}}
        while True:
            status, answer = self._it.call(
                "POST", "/clusters/0/service?wait=executed&timeout=5s", body, key=key, timeout_s=8
            )
            if status == 200 and answer["status"] == "executed":
                self.acknowledged.append((answer["service_id"], answer["log_index"]))
                return
            if status not in (0, 200, 202, 503, 504):
                self.failure = f"{key}: {status} {answer}"
                return
            self.retries += 1
            time.sleep(0.05)


def campaign(it: Program, chance: random.Random, faults: int) -> list[Client]:
    it.start()
    enough = Event()
    clients = [Client(number, it, enough) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for number in range(faults):
        time.sleep(chance.uniform(0.2, 1.2))
        if number % 3 == 2:
            it.signal(signal.SIGSTOP)
            time.sleep(chance.uniform(0.1, 1.5))
            it.signal(signal.SIGCONT)
        else:
            it.kill()
            it.start()
    enough.set()
    for client in clients:
        client.join(60)
        assert not client.is_alive(), f"{client.service} never got its answer"
        assert not client.failure, client.failure
    return clients


def check(it: Program, clients: list[Client]) -> None:
    """Every call was acknowledged in the end, so each counts exactly once, and the last one stands."""
    services = {service["name"]: service for service in it.call("GET", "/clusters/0/state")[1]["services"]}
    for client in clients:
        indexes = [index for _, index in client.acknowledged]
        assert indexes == sorted(set(indexes)), "acknowledged in the order of the log, each at its own place"
        assert len({call for call, _ in client.acknowledged}) == client.sent
        service = services[client.service]
        assert service["version"] == client.sent, (
            f"{client.service}: {service['version']} of {client.sent} applied"
        )
        assert service["replicas"] == Client.wanted(client.sent)


def run(folder: Path, faults: int) -> None:
    seed = int(os.environ.get("RAFTYARD_SEED", "0"))
    print(f"replay: RAFTYARD_SEED={seed}")
    with program(folder) as it:
        clients = campaign(it, random.Random(seed), faults)
        check(it, clients)
        it.kill()
        it.start()
        check(it, clients)
    sent, retries = sum(client.sent for client in clients), sum(client.retries for client in clients)
    print(f"{faults} faults, {sent} calls, {retries} retries")
    assert sent > 2 * CLIENTS


def test_nothing_acknowledged_is_lost_or_applied_twice_when_the_program_is_killed(tmp_path: Path) -> None:
    run(tmp_path, 4)


@pytest.mark.campaign
def test_the_same_again_and_again(tmp_path: Path) -> None:
    run(tmp_path, 200 if os.environ.get("RAFTYARD_CAMPAIGN") == "full" else 15)
