"""PySyncObj as a peer: three processes on loopback at its defaults, loaded by a client inside its leader's process.

`python -m benchmarks._pysyncobj JOURNAL OWN OTHER OTHER` is one of them; it reads orders from stdin, answers on stdout.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, Self

from . import talk

PAYLOAD = b"p" * 100


class Peers:
    """The three processes, as a context manager; `is_there` is False when the package is not installed."""

    def __init__(self, durable: bool = False) -> None:
        self._place = TemporaryDirectory(dir=".") if durable else None
        self.is_there = importlib.util.find_spec("pysyncobj") is not None
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        if not self.is_there:
            talk("pysyncobj is not installed, so its figures are null: pip install -e '.[test]'")
            return self
        addresses = _free_addresses(3)
        for own in addresses:
            others = [address for address in addresses if address != own]
            journal = "" if self._place is None else str(Path(self._place.name).resolve() / own)
            command = [sys.executable, "-m", "benchmarks._pysyncobj", journal, own, *others]
            pipe = subprocess.PIPE
            self._processes.append(
                subprocess.Popen(
                    command, stdin=pipe, stdout=pipe, text=True, cwd=Path(__file__).parent.parent
                )
            )
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        if self._place is not None:
            self._place.cleanup()

    def load(self, outstanding: int, for_s: float, warm_up_s: float) -> list[int]:
        """Sorted latencies in nanoseconds of the commands that were answered within for_s after the warm-up."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for process in self._processes:
                took = _order(process, {"outstanding": outstanding, "for_s": for_s, "warm_up_s": warm_up_s})
                if took is not None:
                    return took
            time.sleep(0.2)
        raise RuntimeError("pysyncobj has had no leader for 60 s")


def _order(process: subprocess.Popen[str], order: dict[str, float]) -> list[int] | None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a pysyncobj process ended; its own words are above")
    answer: list[int] | None = json.loads(line)
    return answer


def _free_addresses(count: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{listener.getsockname()[1]}" for listener in sockets]


class _Load:
    """Keeps commands outstanding; each answer sends the next."""

    def __init__(self, counter: Any, order: dict[str, float]) -> None:
        self._counter = counter
        self._from_ns = time.monotonic_ns() + round(order["warm_up_s"] * 1e9)
        self._until_ns = self._from_ns + round(order["for_s"] * 1e9)
        self._open = 0
        self._took_ns: list[int] = []
        self._has_failed = False
        self._done = Event()
        for _ in range(int(order["outstanding"])):
            self._submit()

    def _submit(self) -> None:
        sent_ns = time.monotonic_ns()
        self._open += 1
        self._counter.add(PAYLOAD, callback=lambda result, error: self._answered(sent_ns, error))

    def _answered(self, sent_ns: int, error: int) -> None:
        now_ns = time.monotonic_ns()
        self._open -= 1
        if error:
            self._has_failed = True
        elif now_ns < self._until_ns:
            if now_ns >= self._from_ns:
                self._took_ns.append(now_ns - sent_ns)
            self._submit()
        if not self._open:
            self._done.set()

    def wait(self) -> list[int] | None:
        """The sorted latencies; None when the lead was lost meanwhile, so that the run has to be repeated."""
        self._done.wait()
        return None if self._has_failed else sorted(self._took_ns)


def _serve(journal: str, own: str, others: list[str]) -> None:
    """One member's life: it answers null while it does not lead."""
    from pysyncobj import SyncObj, SyncObjConf, replicated  # type: ignore[import-untyped]  # only in its own processes

    class Counter(SyncObj):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(own, others, SyncObjConf(journalFile=journal or None))
            self.count = 0

        @replicated  # type: ignore[untyped-decorator]
        def add(self, payload: bytes) -> int:
            self.count += 1
            return self.count

    counter = Counter()
    for line in sys.stdin:
        leader = counter._getLeader()
        if leader is not None and str(leader) == own:
            answer = json.dumps(_Load(counter, json.loads(line)).wait())
        else:
            answer = "null"
        print(answer, flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], sys.argv[3:])
