"""Which node an address means, and the name and address of a new node."""

from __future__ import annotations

import re

from ..errors import Conflict, InvalidRequest, UnknownNode
from ..messages import AddNodeRequest, NodeSpec
from ..state.calls import InvalidCall
from ..state.commands import MAX_CAPACITY
from ..state.node_reading import check_words
from .home import Home

__all__ = ["check_capacity", "check_host", "check_name", "new_node", "resolve"]

LONGEST_NAME = 63
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0", "::1", "[::1]", "::", "[::]")
"""As in REST's addresses: an address with any of them means the same node."""
LOOPBACK = ("localhost", "127.0.0.1")


def resolve(home: Home, text: str) -> str:
    """The name of the node that is called `text`: its name, or its address in any spelling of localhost.

    Raises UnknownNode.
    """
    if text in home.nodes:
        return text
    for spec in home.nodes.values():
        if _is_same(text, spec.address):
            return spec.name
    known = ", ".join(spec.address for spec in tuple(home.nodes.values())[:20])
    raise UnknownNode(f"no node {text!r} in cluster {home.spec.cluster}", hint=f"its nodes are {known}")


def new_node(home: Home, request: AddNodeRequest, host: str, capacity: int, *, is_served: bool) -> NodeSpec:
    """A node as it was asked for; what was not said is as given here, or follows the other nodes.

    `is_served`: its port will be listened on, which only works at `host`. Raises Conflict, InvalidRequest.
    """
    try:
        check_words(request.resources, dict(request.labels))
    except InvalidCall as error:
        raise InvalidRequest(error.message, path=error.path, hint=error.hint) from None
    check_name(request.name, "$.id")
    check_capacity(request.capacity, "$.capacity")
    name = _new_name(home, request.name)
    if is_served:
        check_host(request.host, host, "$.host")
    port = request.port
    taken = [spec.port for spec in home.nodes.values() if spec.port is not None]
    if port is None and taken:
        port = max(taken) + 1
    spec = NodeSpec(name=name, host=request.host or host, port=port, capacity=request.capacity or capacity)
    for other in home.nodes.values():
        if _is_same(other.address, spec.address):
            raise Conflict(f"{other.address} is node {other.name!r} already", hint="choose another port")
    return spec


def check_capacity(capacity: int | None, path: str) -> None:
    """Raise InvalidRequest for a number of slots that no node has; None is chosen later."""
    if capacity is not None and not 1 <= capacity <= MAX_CAPACITY:
        raise InvalidRequest(f"capacity {capacity} is out of range", path=path, hint=f"use 1 to {MAX_CAPACITY}")


def check_name(name: str | None, path: str) -> None:
    """Raise InvalidRequest for what no node can be called; None is chosen later."""
    if name is None or (len(name) <= LONGEST_NAME and NAME.fullmatch(name)):
        return
    shown = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
    raise InvalidRequest(
        f"{shown!r} is no id for a node",
        path=path,
        hint=f"use 1 to {LONGEST_NAME} letters, digits, - . and _, beginning with a letter or digit",
    )


def check_host(wanted: str | None, host: str, path: str) -> None:
    """Raise InvalidRequest for a node that would listen elsewhere than this program does; None is here."""
    # Not any local host: who asks for 0.0.0.0 wants to be reached from elsewhere, too.
    if wanted and wanted != host and not (wanted.lower() in LOOPBACK and host in LOOPBACK):
        raise InvalidRequest(f"{wanted} is not where this program listens", path=path, hint=f"use {host}")


def _new_name(home: Home, wanted: str | None) -> str:
    if wanted is None:
        number = 0
        while f"node_{number}" in home.nodes:
            number += 1
        return f"node_{number}"
    if wanted in home.nodes:
        raise Conflict(
            f"cluster {home.spec.cluster} has a node {wanted!r} already",
            hint="choose another id, or leave it out",
        )
    return wanted


def _is_same(address: str, other: str) -> bool:
    return _one_spelling(address) == _one_spelling(other)


def _one_spelling(address: str) -> str:
    host, separator, port = address.rpartition(":")
    host = host.lower()
    return f"{'localhost' if host in LOCAL_HOSTS else host}{separator}{port}"
