"""The real program in a process of its own, for tests that start, kill and question it over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from yard_process import free_base

ROOT = Path(__file__).parents[1]
START_S = 30.0


class Program:
    """`python run.py` with its data in a folder."""

    def __init__(self, data: Path, port: int, nodes: int = 3) -> None:
        self.data = data
        self.port = port
        self.nodes = nodes
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until cluster 0 has a leader that knows everything."""
        self.launch()
        self.wait_for_leader()

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        environment = os.environ | {"PORT": str(self.port), "NODES": str(self.nodes), "LOG_LEVEL": "WARNING"}
        command = [sys.executable, str(ROOT / "run.py"), "--data", str(self.data)]
        with (self.data.parent / "output").open("ab") as output:
            self.process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, cwd=self.data.parent
            )

    def wait_for_leader(self) -> None:
        assert self.process is not None
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            # Linearizable: answered once everything that was committed before is applied again.
            if self.call("GET", "/clusters/0/state")[0] == 200:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"no leader: {self.output()}")

    def wait_for(self, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + START_S
        while not holds():
            assert time.monotonic() < until, f"not within {START_S} s: {self.output()}"
            time.sleep(0.05)

    def output(self) -> str:
        return (self.data.parent / "output").read_text(encoding="utf-8")

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a power cut of the program, not of the machine."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        self.signal(signal.SIGTERM)
        self.wait()

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(30)

    def call(
        self, method: str, path: str, body: Any = None, key: str | None = None, timeout_s: float = 10.0
    ) -> tuple[int, Any]:
        """The status and the decoded answer; (0, None) where there was no answer."""
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        request = urllib.request.Request(
            f"http://localhost:{self.port}{path}",
            method=method,
            headers=headers,
            data=None if body is None else json.dumps(body).encode(),
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return self._refused(error)
        except (OSError, ValueError, HTTPException):
            return 0, None

    @staticmethod
    def _refused(error: urllib.error.HTTPError) -> tuple[int, Any]:
        try:
            return error.code, json.load(error)
        except (OSError, ValueError, HTTPException):
            return 0, None


@contextmanager
def program(folder: Path, nodes: int = 3) -> Iterator[Program]:
    """Made, not started; ended for certain."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Program(folder / "data", free_base(), nodes)
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.signal(signal.SIGCONT)
            made.kill()
