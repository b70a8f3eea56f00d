"""The ports that the nodes of a cluster listen on."""

from __future__ import annotations

from typing import Protocol

import msgspec

from ..errors import Conflict, PortInUse
from ..messages import NodeSpec

__all__ = ["NodePorts", "Ports"]

PORTS_TRIED = 90
HIGHEST_PORT = 65_535


class Ports(Protocol):
    """What opens and closes the ports of nodes; None in a program that serves none."""

    def open(self, host: str, port: int, cluster: str, address: str) -> None:
        """Listen; raises `errors.PortInUse`. Opening a port again for the same node does nothing."""

    def close(self, host: str, port: int) -> None:
        """Listen no more; closing what is closed does nothing."""


class NodePorts:
    """One cluster's ports. Without `ports` nothing is opened, and every node may have any address."""

    def __init__(self, cluster: str, ports: Ports | None) -> None:
        self._cluster = cluster
        self._ports = ports

    def open(self, spec: NodeSpec) -> None:
        """Listen for a node. Raises PortInUse."""
        if self._ports is not None and spec.port is not None:
            self._ports.open(spec.host, spec.port, self._cluster, spec.address)

    def open_next(self, spec: NodeSpec) -> NodeSpec:
        """Listen for a new node on the next port that is free, from its own on; the node as it listens. Raises
        Conflict."""
        for _ in range(PORTS_TRIED):
            if self._ports is not None and spec.port is not None and spec.port > HIGHEST_PORT:
                break
            try:
                self.open(spec)
                return spec
            except PortInUse:
                assert spec.port is not None
                spec = msgspec.structs.replace(spec, port=spec.port + 1)
        raise Conflict("no free port was found for the node", hint="name one with port")

    def close(self, spec: NodeSpec) -> None:
        """Listen no more."""
        if self._ports is not None and spec.port is not None:
            self._ports.close(spec.host, spec.port)
