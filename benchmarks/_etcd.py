"""etcd as a peer: three processes on loopback at their defaults, loaded over gRPC from another process.

Debian's etcd-server, and grpcio for the client. The two protobuf messages that a Put needs are written by hand below:
etcd's own Python client is not maintained. `python -m benchmarks._etcd ADDRESS` is the client; orders on stdin.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from . import talk

PAYLOAD = b"p" * 100
MEMBERS = ("a", "b", "c")


class Etcd:
    """The three processes and the client's, as a context manager; `is_there` is False when something is missing."""

    def __init__(self) -> None:
        self.is_there = self._is_installed()
        self._processes: list[subprocess.Popen[Any]] = []
        self._client: subprocess.Popen[str] | None = None
        self._place: TemporaryDirectory[str] | None = None

    @staticmethod
    def _is_installed() -> bool:
        if shutil.which("etcd") is None:
            talk("etcd is not installed, so its figures are null: apt-get install -y etcd-server")
            return False
        if importlib.util.find_spec("grpc") is None:
            talk("grpcio is not installed, so etcd's figures are null: pip install grpcio")
            return False
        return True

    def __enter__(self) -> Self:
        if not self.is_there:
            return self
        self._place = TemporaryDirectory(dir=".")
        ports = _free_ports(2 * len(MEMBERS))
        clients = dict(zip(MEMBERS, ports[::2], strict=True))
        peers = dict(zip(MEMBERS, ports[1::2], strict=True))
        cluster = ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in peers.items())
        for name in MEMBERS:
            client, peer = f"http://127.0.0.1:{clients[name]}", f"http://127.0.0.1:{peers[name]}"
            words = ["etcd", "--name", name, "--data-dir", str(Path(self._place.name) / name)]
            words += ["--listen-client-urls", client, "--advertise-client-urls", client]
            words += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
            words += ["--initial-cluster", cluster, "--log-level", "error"]
            silent = subprocess.DEVNULL
            self._processes.append(subprocess.Popen(words, stdout=silent, stderr=silent))
        leader = _wait_for_leader(list(clients.values()))
        command = [sys.executable, "-m", "benchmarks._etcd", f"127.0.0.1:{leader}"]
        pipe = subprocess.PIPE
        self._client = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, cwd=Path(__file__).parent.parent
        )
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self._processes, *filter(None, [self._client])]:
            process.kill()
            process.wait()
        if self._place is not None:
            self._place.cleanup()

    def load(self, outstanding: int, for_s: float, warm_up_s: float) -> list[int]:
        """Sorted latencies in nanoseconds of the puts that were answered within for_s after the warm-up."""
        client = self._client
        assert client is not None and client.stdin is not None and client.stdout is not None
        order = {"outstanding": outstanding, "for_s": for_s, "warm_up_s": warm_up_s}
        client.stdin.write(json.dumps(order) + "\n")
        client.stdin.flush()
        took: list[int] = json.loads(client.stdout.readline())
        return took


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in sockets]


def _wait_for_leader(ports: list[int]) -> int:
    """The client port of the leader: a put there needs no forwarding, which is its quickest place."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for port in ports:
            with contextlib.suppress(OSError, ValueError, KeyError):
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}/v3/maintenance/status", data=b"{}", method="POST"
                )
                with urllib.request.urlopen(request, timeout=1) as answer:
                    status = json.load(answer)
                if status["leader"] == status["header"]["member_id"]:
                    return port
        time.sleep(0.1)
    raise RuntimeError("etcd has had no leader for 30 s")


def _field(number: int, data: bytes) -> bytes:
    """A protobuf field of bytes that is shorter than 128."""
    return bytes([number << 3 | 2, len(data)]) + data


async def _load(address: str, order: dict[str, float]) -> list[int]:
    import grpc  # type: ignore[import-not-found, import-untyped, unused-ignore]  # only in the client's process

    from_ns = time.monotonic_ns() + round(order["warm_up_s"] * 1e9)
    until_ns = from_ns + round(order["for_s"] * 1e9)
    took_ns: list[int] = []
    async with grpc.aio.insecure_channel(address) as channel:
        # PutRequest{1: key, 2: value}; the PutResponse is left as bytes.
        put = channel.unary_unary("/etcdserverpb.KV/Put")

        async def client(number: int) -> None:
            request = _field(1, b"key-%d" % number) + _field(2, PAYLOAD)
            while (sent_ns := time.monotonic_ns()) < until_ns:
                await put(request)
                if from_ns <= (now_ns := time.monotonic_ns()) < until_ns:
                    took_ns.append(now_ns - sent_ns)

        await asyncio.gather(*(client(number) for number in range(int(order["outstanding"]))))
    return sorted(took_ns)


def _serve(address: str) -> None:
    for line in sys.stdin:
        print(json.dumps(asyncio.run(_load(address, json.loads(line)))), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
