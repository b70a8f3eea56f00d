"""One spelling for a node's address: `127.0.0.1:8002` and `localhost:8002` name the same node.

The original compared addresses as text: a cut of `localhost:8003` did nothing to a node known as `0.0.0.0:8003`.
"""

from __future__ import annotations

# Names by which people call their own machine.
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "::1", "[::1]", "::", "[::]"})


def canonical_host(host: str) -> str:
    """`localhost` for every name of this machine, else the host in lower case."""
    host = host.strip().lower()
    return "localhost" if host in LOCAL_HOSTS else host


def canonical_address(text: str) -> str:
    """`localhost:8002` for `127.0.0.1:8002`; what has no port (a node's id, `node_0`) stays as it is."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        return text
    return f"{canonical_host(host)}:{int(port)}" if len(port) <= 5 else text


def address(host: str, port: int) -> str:
    """The one spelling of a host and a port."""
    return f"{canonical_host(host)}:{port}"
