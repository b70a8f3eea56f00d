"""`raftyard serve`: starts the actors and their ports, says where and who leads, and stops in reverse order."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterable
from threading import Event
from types import FrameType

from raftyard.actors import Live, errors
from raftyard.actors.cluster import Home
from raftyard.actors.messages import NodeSpec
from raftyard.actors.orchestrator import OrchestratorSettings, find_homes, start_orchestrator
from raftyard.actors.storage.base import StorageBroken
from raftyard.actors.storage.folder import DataFolder
from raftyard.actors.system import Event as LogEvent
from raftyard.api import PortInUse, Problem, Server, UnsafeAddress, create_server
from raftyard.api.addresses import canonical_host

from .settings import Settings
from .wiring import ActorClusters, PortKeeper

__all__ = ["CannotStart", "serve"]

GRACE_S = 5.0
ELECTION_S = 5.0


class CannotStart(Exception):
    """Why the program does not start, in one line that says what to do."""


def serve(settings: Settings) -> None:
    """Run until SIGTERM or Ctrl-C. Raises CannotStart."""
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    stop = Event()
    _stop_on_signal(stop)
    data = _locked(settings)
    try:
        _serve(settings, data, stop)
    finally:
        if data is not None:
            data.unlock()


def _locked(settings: Settings) -> DataFolder | None:
    """Nobody else may use the same data, from before the first look until after the last write."""
    if settings.data_dir is None:
        return None
    data = DataFolder(settings.data_dir)
    try:
        data.lock()
    except StorageBroken as error:
        raise CannotStart(str(error)) from None
    return data


def _serve(settings: Settings, data: DataFolder | None, stop: Event) -> None:
    system = Live()
    server = _server(system, settings)
    keeper = PortKeeper(server)
    try:
        orchestrator = OrchestratorSettings(
            nodes=settings.nodes,
            capacity=settings.capacity,
            host=canonical_host(settings.default_host),
            port=settings.port,
            ports=keeper,
            data=data,
        )
        homes = _homes(orchestrator)
        nodes = tuple(homes["0"].nodes.values())
        _open_ports(server, keeper, nodes, settings)
        elected = _Elected(system)
        start_orchestrator(system, orchestrator, homes)
        server.start()
        _announce(orchestrator, nodes, settings)
        elected.announce()
        stop.wait()
        print("stopping: requests in flight are finished", flush=True)
    finally:
        # Who waits for longer than that is answered when there are no actors any more to wait for.
        server.stop(GRACE_S, release=lambda: system.close(GRACE_S))
        system.close(GRACE_S)


def _server(system: Live, settings: Settings) -> Server:
    try:
        return create_server(
            ActorClusters(system), settings.default_host, token=settings.token, threads=settings.threads
        )
    except UnsafeAddress as error:
        system.close()
        raise CannotStart(
            f"DEFAULT_HOST={settings.default_host}: {error}; TOKEN in .env or the environment sets one"
        ) from None


def _homes(orchestrator: OrchestratorSettings) -> dict[str, Home]:
    try:
        return find_homes(orchestrator)
    except StorageBroken as error:
        raise CannotStart(str(error)) from None


def _open_ports(server: Server, keeper: PortKeeper, nodes: tuple[NodeSpec, ...], settings: Settings) -> None:
    """All ports before the first actor: a port that is taken is said in one line, and nothing has to be undone."""
    try:
        server.open(settings.port)
    except PortInUse:
        raise CannotStart(
            f"port {settings.port} is in use; stop what listens there, or set PORT in .env or the environment "
            f"(PORT={_elsewhere(settings)} {_program()})"
        ) from None
    except Problem as error:
        said = f"DEFAULT_HOST={settings.default_host}, PORT={settings.port}"
        raise CannotStart(f"{said}: {error.detail}; {error.hint}") from None
    for spec in nodes:
        if spec.port is None:
            continue
        try:
            keeper.open(spec.host, spec.port, "0", spec.address)
        except errors.PortInUse as error:
            raise CannotStart(
                f"port {spec.port} of {spec.name} is in use; stop what listens there, or set PORT in .env or the "
                f"environment (PORT={_elsewhere(settings)} {_program()})"
            ) from error
        except errors.Conflict as error:
            raise CannotStart(f"port {spec.port} of {spec.name}: {error}; {error.hint}") from error


def _elsewhere(settings: Settings) -> int:
    return settings.port + 1000 if settings.port + 1000 + settings.nodes < 65_536 else 9000


def _program() -> str:
    return "python run.py" if sys.argv[0].endswith("run.py") else "raftyard serve"


class _Elected:
    """Waits for the first leader of cluster 0."""

    def __init__(self, system: Live) -> None:
        self._known = Event()
        self._said = ""
        self._forget = system.events.subscribe(self._look)

    def _look(self, event: LogEvent) -> None:
        if event.kind == "leader-elected" and event.cluster == "0" and not self._known.is_set():
            self._said = f"{event.node} leads cluster 0 in term {event.term}"
            self._known.set()

    def announce(self) -> None:
        """Say who leads; an election takes less than a second."""
        if self._known.wait(ELECTION_S):
            print(self._said, flush=True)
        else:
            print("no leader yet; GET /clusters/0/stats shows who leads once there is one", flush=True)
        self._forget()


def _ranges(ports: Iterable[int]) -> str:
    """`8001 to 8005`, or where nodes came and went `8001 to 8004, 8007`."""
    runs: list[list[int]] = []
    for port in sorted(ports):
        if runs and port == runs[-1][-1] + 1:
            runs[-1].append(port)
        else:
            runs.append([port])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _announce(orchestrator: OrchestratorSettings, specs: tuple[NodeSpec, ...], settings: Settings) -> None:
    base = f"http://{orchestrator.host}:{settings.port}"
    if specs[0].port is None:
        where = f"{len(specs)} nodes without ports of their own"
    elif len(specs) == 1:
        where = f"1 node on port {specs[0].port}"
    else:
        where = f"{len(specs)} nodes on ports {_ranges(spec.port for spec in specs if spec.port is not None)}"
    print(f"Raftyard listens on {base} (cluster 0: {where})", flush=True)
    print(f"data: {_kept(settings)}", flush=True)
    print(f"try: curl {orchestrator.host}:{settings.port}/clusters/0/stats    stop: Ctrl-C", flush=True)


def _kept(settings: Settings) -> str:
    return (
        "in memory only, nothing is kept" if settings.data_dir is None else f"{settings.data_dir.resolve()}"
    )


def _stop_on_signal(stop: Event) -> None:
    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
