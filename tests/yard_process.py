"""`python run.py` as its users have it: a process of its own, spoken to by curl. For the tests that need the whole."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

ROOT = Path(__file__).parents[1]
PATIENCE_S = 30.0  # for a machine that is busy with other things; nothing is expected to take a tenth of it
T = TypeVar("T")


class Reply:
    """One answer: its status, and its body as JSON."""

    def __init__(self, status: int, body: Any, headers: dict[str, str]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    def __repr__(self) -> str:
        return f"{self.status} {json.dumps(self.body)}"


class Yard:
    """A running `run.py` on ports of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.base = int(environment.setdefault("PORT", str(free_base())))
        self.began = time.monotonic()
        self.folder = folder
        self.process = start(folder, environment)
        self.lines: list[str] = []
        """What it has printed so far."""
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for_line(self, pattern: str) -> str:
        """The first line that matches, once it is printed."""
        return until(lambda: next((line for line in list(self.lines) if re.search(pattern, line)), None))

    def curl(self, line: str) -> Reply:
        """Run a documented command line, its ports 8000 to 8999 moved to where this yard listens."""
        words = shlex.split(re.sub(r"\b8\d{3}\b", lambda port: str(self.base + int(port[0]) - 8000), line))
        assert words[0] == "curl"
        return by_curl(words) if shutil.which("curl") else by_urllib(words)

    def get(self, path: str, port: int = 0) -> Reply:
        return self.call("GET", path, port=port)

    def call(self, method: str, path: str, body: Any = None, port: int = 0) -> Reply:
        """One request to `port` (0: the orchestrator's)."""
        data = None if body is None else json.dumps(body).encode()
        return send(method, f"http://localhost:{port or self.base}{path}", data)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send the signal; the exit code and what was written to stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stderr is not None
        return code, self.process.stderr.read()


def start(folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """`python run.py` in an empty folder, so that no .env is found, with nothing else of ours in its environment."""
    ours = ("PORT", "DEFAULT_HOST", "NODES", "CAPACITY", "TOKEN", "THREADS", "LOG_LEVEL")
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.Popen(
        [sys.executable, ROOT / "run.py"],
        cwd=folder,
        env=clean | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def refuses(folder: Path, **environment: str) -> str:
    """What a `run.py` that does not start says: one line, nothing else, exit code 2."""
    ran = start(folder, environment)
    out, err = ran.communicate(timeout=PATIENCE_S)
    assert (ran.returncode, out, err.count("\n")) == (2, "", 1), err
    return err.rstrip("\n")


def until(look: Callable[[], T | None], within_s: float = PATIENCE_S) -> T:
    """What `look` returns, as soon as it is something."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s:g} s")


def free_base() -> int:
    """A port with free ones behind it, as far as the tests go. Each of pytest's workers looks in a range of its own.

    Nobody else's tests on this machine get it while this process lives: a program that a test has killed finds its
    ports free when it is started again.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    first = 12_000 + worker * 2_000
    for base in range(first + os.getpid() % 10 * 100, first + 1_900, 100):
        is_whole = all(is_free(base + offset) for offset in (0, 1, 2, 3, 4, 5, 99, 101, 102, 103, 104, 105, 201))
        if is_whole and is_ours(base):
            return base
    raise AssertionError(f"no free ports from {first} to {first + 2000}")


OURS: dict[int, Any] = {}
"""The ports that this process holds, by the open files that say so."""


def is_ours(base: int) -> bool:
    """Whether this process holds it, now if not before."""
    if base not in OURS:
        file = open(Path(tempfile.gettempdir()) / f"raftyard-tests-{base}.lock", "a")  # noqa: SIM115 - open until the end
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        OURS[base] = file
    return True


def is_free(port: int) -> bool:
    """Whether nobody listens there, by listening."""
    with socket.socket() as there:
        there.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            there.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def by_curl(words: list[str]) -> Reply:
    """The real one."""
    ran = subprocess.run(
        [words[0], "-sS", "-w", "\n%{http_code}", *words[1:]], capture_output=True, text=True, check=True
    )
    body, _, status = ran.stdout.rpartition("\n")
    return Reply(int(status), json.loads(body), {})


def by_urllib(words: list[str]) -> Reply:
    """The same bytes on a machine without curl."""
    method, data, url = "GET", None, ""
    headers: dict[str, str] = {}
    rest = iter(words[1:])
    for word in rest:
        match word:
            case "-X":
                method = next(rest)
            case "-H":
                name, _, value = next(rest).partition(": ")
                headers[name] = value
            case "-d":
                data = next(rest).encode()
            case _:
                url = f"http://{word}"
    return send(method, url, data, headers)


def send(method: str, url: str, data: bytes | None, headers: dict[str, str] | None = None) -> Reply:
    """One request; an error status is an answer too. A body is JSON unless its headers say otherwise."""
    if headers is None:
        headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return Reply(answer.status, json.load(answer), dict(answer.headers))
    except urllib.error.HTTPError as error:
        return Reply(error.code, json.load(error), dict(error.headers))
