"""A client of the cluster as an actor: asks a node of its choice for a number of replicas, read linearizably."""

from __future__ import annotations

from typing import Any

from ..messages import DescribeState, Message, NodeAnswer, Question, node_actor
from ..system import Actor, Promise

__all__ = ["CLIENT", "Client", "ReadService"]

CLIENT = "scenario/client"


class ReadService(Message, frozen=True, kw_only=True, gc=False):
    """Read a service's number of replicas through a node; the answer is None where there is no such service."""

    cluster: str
    node: str
    service: str


class Client(Actor):
    """Passes questions on; one that no node answers is never answered."""

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[int, Promise] = {}
        self._ref = 0

    def on_receive(self, message: Any) -> Promise | None:
        """A question, or a node's answer to one."""
        match message:
            case ReadService():
                self._ref += 1
                self._open[self._ref] = promise = self.context.promise()
                question = DescribeState(
                    ref=self._ref, reply_to=self.context.name, question=Question(about="service", name=message.service)
                )
                self.context.send(node_actor(message.cluster, message.node), question)
                return promise
            case NodeAnswer():
                asked = self._open.pop(message.ref, None)
                # One that could not answer is as one that did not: whoever asked may ask again.
                if asked is not None and message.error is None:
                    asked.keep(None if message.value is None else int(message.value["replicas"]))
        return None
