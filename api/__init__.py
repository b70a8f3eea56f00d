"""The REST interface: a web server for the orchestrator's port and for every node's own port.

It knows nothing of the actors. ports.py says what it needs of them; whoever implements that gets a server:

    server = create_server(clusters, host="127.0.0.1")   # clusters implements Clusters
    server.start()
    server.open(8000)
    server.open(8001, NodePort("0", "localhost:8001"))

Where to look: app.py is the table of routes; clusters.py, services.py, nodes.py, connections.py, links.py, events.py
and health.py answer them; watching.py tells watchers what happens, over streams.py; body.py, query.py and shapes.py
check what comes in; problems.py writes errors down; security.py decides who may ask; server.py listens, channels.py
is one connection.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import create_app, create_server
    from .ports import Clusters, NodePort, PortInUse, Problem
    from .security import Guard, UnsafeAddress
    from .server import Server

__all__ = [
    "Clusters",
    "Guard",
    "NodePort",
    "PortInUse",
    "Problem",
    "Server",
    "UnsafeAddress",
    "create_app",
    "create_server",
]

_HOMES = {
    "Clusters": "ports",
    "Guard": "security",
    "NodePort": "ports",
    "PortInUse": "ports",
    "Problem": "ports",
    "Server": "server",
    "UnsafeAddress": "security",
    "create_app": "app",
    "create_server": "app",
}


def __getattr__(name: str) -> Any:
    # On first use: a command line that never serves should not wait for falcon (0.1 s).
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
