"""What the control loop needs of the node that leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..messages import Message, NodeSpec
from ..raft.core import Raft
from ..raft.events import Event
from ..state.machine import ClusterState
from ..system import Context

if TYPE_CHECKING:
    from .loop import ControlLoop

__all__ = ["Host"]


class Host(Protocol):
    """The leader's node, as its control loop sees it; `Node` is one."""

    cluster: str
    node: str
    context: Context
    raft: Raft
    state: ClusterState
    applied: int
    front_door: str
    first_nodes: tuple[NodeSpec, ...]
    addresses: tuple[NodeSpec, ...]
    loop: ControlLoop | None

    def step(self, event: Event) -> None: ...
    def new_ref(self) -> int: ...
    def look_again(self) -> None: ...
    def send_to_node(self, node: str, message: Message) -> None: ...
    def to_self(self, message: Message) -> None: ...
    def tell_finished(self, calls: tuple[str, ...]) -> None: ...
    def hold_applying(self) -> None: ...
    def go_on_applying(self) -> None: ...
    def address_of(self, node: str | None) -> str | None: ...
