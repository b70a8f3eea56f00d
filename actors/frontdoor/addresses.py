"""Which node an address means, and the name and address of a new node."""

from __future__ import annotations

from ..errors import Conflict, InvalidRequest, UnknownNode
from ..messages import AddNodeRequest, NodeSpec
from ..state.calls import InvalidCall
from ..state.node_reading import check_words
from .home import Home

__all__ = ["new_node", "resolve"]

LOCAL_HOSTS = ("localhost", "127.0.0.1")


def resolve(home: Home, text: str) -> str:
    """The name of the node that is called `text`: its name, or its address in either spelling of localhost.

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
    name = _new_name(home, request.name)
    if is_served and request.host and not _is_same(f"{request.host}:0", f"{host}:0"):
        raise InvalidRequest(
            f"{request.host} is not where this program listens", path="$.host", hint=f"use {host}"
        )
    port = request.port
    taken = [spec.port for spec in home.nodes.values() if spec.port is not None]
    if port is None and taken:
        port = max(taken) + 1
    spec = NodeSpec(name=name, host=request.host or host, port=port, capacity=request.capacity or capacity)
    for other in home.nodes.values():
        if _is_same(other.address, spec.address):
            raise Conflict(f"{other.address} is node {other.name!r} already", hint="choose another port")
    return spec


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
    return f"localhost{separator}{port}" if host in LOCAL_HOSTS else address
