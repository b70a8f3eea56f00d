"""What one may want to know beforehand: the change that a plan is made for, and the commands that would make it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..state import commands as c
from ..state.compose_reading import Ignored
from ..state.specs import ServiceSpec

CALL_ID = "planned"
"""Stands for the id that a service call would get; no id is made of letters alone."""


class _Wish(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The base of every wish: a frozen value."""


class ServiceWish(_Wish, frozen=True, kw_only=True, gc=False, tag="service"):
    """A service is to be as `spec` says. `version` and `scales` as in the command PutService."""

    name: str
    spec: ServiceSpec
    version: int | None = None
    scales: bool = False


class StackWish(_Wish, frozen=True, kw_only=True, gc=False, tag="stack"):
    """A stack is to be deployed; all as in the command PutStack. ignored: what its document says to no effect."""

    name: str
    services: tuple[tuple[str, ServiceSpec], ...]
    version: int | None = None
    ignored: tuple[Ignored, ...] = ()


class CallWish(_Wish, frozen=True, kw_only=True, gc=False, tag="call"):
    """A service call is to be carried out."""

    services: tuple[c.ServiceRequest, ...]


class DrainWish(_Wish, frozen=True, kw_only=True, gc=False, tag="drain"):
    """Nodes are to give up what they have; parallel and deadline_s as in the command UpdateNode."""

    nodes: tuple[str, ...]
    parallel: int = 0
    deadline_s: float | None = None


class LossWish(_Wish, frozen=True, kw_only=True, gc=False, tag="loss"):
    """Nodes fall silent, all at the same time."""

    nodes: tuple[str, ...]


class SurvivalWish(_Wish, frozen=True, kw_only=True, gc=False, tag="survival"):
    """Every node in turn falls silent, alone: which of these losses would leave nothing waiting?"""


Wish = ServiceWish | StackWish | CallWish | DrainWish | LossWish | SurvivalWish


def commands_of(wish: Wish, term: int) -> Iterator[c.Command]:
    """What would stand in the log."""
    match wish:
        case ServiceWish(name=name, spec=spec, version=version):
            yield c.PutService(
                name=name, spec=spec, version=version, scales=wish.scales, no_circles=True, keeps_on_nodes=True
            )
        case StackWish(name=name, services=specs, version=version):
            yield c.PutStack(name=name, services=specs, version=version, no_circles=True, keeps_on_nodes=True)
        case CallWish(services=services):
            yield c.SubmitCall(call=c.ServiceCall(id=CALL_ID, services=services))
        case DrainWish():
            for node in wish.nodes:
                yield c.UpdateNode(
                    name=node,
                    availability="drain",
                    drain_parallel=wish.parallel,
                    drain_deadline_s=wish.deadline_s,
                )
        case LossWish():
            for node in wish.nodes:
                yield c.SetNodeStatus(name=node, status="down", term=term)
