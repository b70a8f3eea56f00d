"""Services as resources: each has a name, a spec and a version; a stale version is refused."""

from __future__ import annotations

from typing import Any, ClassVar

import falcon
from falcon import Request, Response

from .answers import answer
from .body import ROLL_BACK, SERVICE_PATCH, SERVICE_SPEC
from .ports import Clusters
from .query import PAGE, VERSION, page, version
from .shapes import Done, RollBack, ServiceDetail, ServiceList, TaskList


class ServiceListResource:
    """/clusters/{cluster}/services"""

    takes: ClassVar[dict[str, Any]] = {}
    gives: ClassVar[dict[str, Any]] = {"GET": ServiceList}
    asks: ClassVar = {"GET": PAGE}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str) -> None:
        """Every service with its spec and how much of it runs."""
        answer(resp, self._clusters.services(cluster, page(req)))


class NamedServiceResource:
    """/clusters/{cluster}/services/{name}"""

    takes: ClassVar[dict[str, Any]] = {"PUT": SERVICE_SPEC, "PATCH": SERVICE_PATCH}
    gives: ClassVar[dict[str, Any]] = {
        "GET": ServiceDetail,
        "PUT": ServiceDetail,
        "PATCH": ServiceDetail,
        "DELETE": Done,
    }
    asks: ClassVar = {"PUT": VERSION, "PATCH": VERSION, "DELETE": VERSION}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str, name: str) -> None:
        """One service, why what waits waits, and its earlier specs."""
        answer(resp, self._clusters.service(cluster, name))

    def on_put(self, req: Request, resp: Response, cluster: str, name: str) -> None:
        """Make the service, 201, or give it another spec. ?version=3 only while that is its version."""
        wanted = version(req)
        made = self._clusters.put_service(cluster, name, SERVICE_SPEC.read(req), wanted)
        is_new = made.pop("is_new", False)
        where = f"/clusters/{cluster}/services/{name}"
        answer(resp, made, falcon.HTTP_201 if is_new else falcon.HTTP_200, where if is_new else None)

    def on_patch(self, req: Request, resp: Response, cluster: str, name: str) -> None:
        """Change what the body names: {"replicas": 5}; null takes a field away."""
        wanted = version(req)
        made = self._clusters.patch_service(cluster, name, SERVICE_PATCH.read(req), wanted)
        made.pop("is_new", None)
        answer(resp, made)

    def on_delete(self, req: Request, resp: Response, cluster: str, name: str) -> None:
        """Stop it and forget it."""
        answer(resp, self._clusters.remove_service(cluster, name, version(req)))


class RollbackResource:
    """/clusters/{cluster}/services/{name}/rollback"""

    takes: ClassVar[dict[str, Any]] = {"POST": ROLL_BACK}
    gives: ClassVar[dict[str, Any]] = {"POST": ServiceDetail}
    asks: ClassVar = {"POST": VERSION}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_post(self, req: Request, resp: Response, cluster: str, name: str) -> None:
        """Give the service the spec from before its last update, or of {"to_version": 3}, replica by replica."""
        wanted = version(req)
        to = ROLL_BACK.read_if_any(req, RollBack()).to_version
        answer(resp, self._clusters.roll_back_service(cluster, name, wanted, to))


class TaskListResource:
    """/clusters/{cluster}/tasks and /clusters/{cluster}/services/{name}/tasks"""

    takes: ClassVar[dict[str, Any]] = {}
    gives: ClassVar[dict[str, Any]] = {"GET": TaskList}
    asks: ClassVar = {"GET": PAGE}

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def on_get(self, req: Request, resp: Response, cluster: str, name: str | None = None) -> None:
        """Tasks by their ids: the attempts to run a replica in a slot, that have not ended."""
        answer(resp, self._clusters.tasks(cluster, name, page(req)))
