"""Stacks: services that are deployed together from one Compose document, all of it or nothing."""

from __future__ import annotations

from typing import Any, ClassVar

from falcon import Request, Response

from .answers import answer
from .body import STACK
from .ports import Clusters
from .query import PAGE, VERSION, page, version
from .shapes import Done, StackDetail, StackList


class StackListResource:
    """/clusters/{cluster}/stacks"""

    takes: ClassVar[dict[str, Any]] = {}
    gives: ClassVar[dict[str, Any]] = {"GET": StackList}
    asks: ClassVar = {"GET": PAGE}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str) -> None:
        """Every stack, and how much of it runs."""
        answer(resp, self._clusters.stacks(cluster, page(req)))


class StackResource:
    """/clusters/{cluster}/stacks/{name}"""

    takes: ClassVar[dict[str, Any]] = {"PUT": STACK}
    gives: ClassVar[dict[str, Any]] = {"GET": StackDetail, "PUT": StackDetail, "DELETE": Done}
    asks: ClassVar = {"PUT": VERSION, "DELETE": VERSION}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str, name: str) -> None:
        """One stack with its services."""
        answer(resp, self._clusters.stack(cluster, name))

    def on_put(self, req: Request, resp: Response, cluster: str, name: str) -> None:
        """Deploy the document: its services are made or changed, those that are not in it any more go. ?version=57 only
        while that is its version."""
        wanted = version(req)
        answer(resp, self._clusters.put_stack(cluster, name, STACK.read(req), wanted))

    def on_delete(self, req: Request, resp: Response, cluster: str, name: str) -> None:
        """Stop all of it and forget it."""
        answer(resp, self._clusters.remove_stack(cluster, name, version(req)))
