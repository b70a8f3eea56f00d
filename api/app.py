"""The whole of REST on one screen: which path is answered by which resource, on every port."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

import falcon
from falcon import Request, Response

from .clusters import ClusterListResource, ClusterResource, ClusterViewResource
from .connections import ConnectionsResource, NodeConnectionsResource
from .environ import TAG
from .events import EventsResource
from .health import HealthResource, ReadyResource
from .links import LinkResource
from .named_services import NamedServiceResource, RollbackResource, ServiceListResource, TaskListResource
from .nodes import NodeListResource, NodeQuestionResource, NodeResource, PeerResource, RemovableNodeResource
from .plans import PlanResource
from .ports import Clusters, NodePort
from .problems import add_problem_handlers
from .query import check_names
from .rebalancing import RebalanceResource
from .security import Guard
from .server import Server
from .services import CallResource, NodeServiceResource, ServiceResource
from .settings import SettingsResource
from .stacks import StackListResource, StackResource
from .transfer import TransferResource
from .watching import Watchers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Routes = dict[str, Any]


def orchestrator_routes(clusters: Clusters) -> Routes:
    """What the orchestrator's port answers."""
    watchers = Watchers(lambda: clusters.event_log(None))
    return {
        "/clusters": ClusterListResource(clusters),
        "/clusters/{cluster}": ClusterResource(clusters),
        "/clusters/{cluster}/stats": ClusterViewResource(clusters, "stats"),
        "/clusters/{cluster}/state": ClusterViewResource(clusters, "state"),
        "/clusters/{cluster}/service": ServiceResource(clusters),
        "/clusters/{cluster}/service/{call}": CallResource(clusters),
        "/clusters/{cluster}/services": ServiceListResource(clusters),
        "/clusters/{cluster}/services/{name}": NamedServiceResource(clusters),
        "/clusters/{cluster}/services/{name}/rollback": RollbackResource(clusters),
        "/clusters/{cluster}/services/{name}/tasks": TaskListResource(clusters),
        "/clusters/{cluster}/tasks": TaskListResource(clusters),
        "/clusters/{cluster}/settings": SettingsResource(clusters),
        "/clusters/{cluster}/stacks": StackListResource(clusters),
        "/clusters/{cluster}/stacks/{name}": StackResource(clusters),
        "/clusters/{cluster}/transfer": TransferResource(clusters),
        "/clusters/{cluster}/rebalance": RebalanceResource(clusters),
        "/clusters/{cluster}/plan": PlanResource(clusters),
        "/clusters/{cluster}/connections": ConnectionsResource(clusters),
        "/clusters/{cluster}/events": EventsResource(clusters, watchers),
        "/clusters/{cluster}/links/{source}/{target}": LinkResource(clusters),
        "/healthz": HealthResource(),
        "/readyz": ReadyResource(clusters),
        "/events": EventsResource(clusters, watchers),
        "/clusters/{cluster}/nodes": NodeListResource(clusters),
        "/clusters/{cluster}/nodes/{node}": RemovableNodeResource(clusters),
        "/clusters/{cluster}/nodes/{node}/stats": NodeResource(clusters),
        "/clusters/{cluster}/nodes/{node}/connections": NodeConnectionsResource(clusters),
    }


def node_routes(clusters: Clusters) -> Routes:
    """What a node's own port answers; its cluster and address come from the port's tag."""
    return {
        "/": NodeResource(clusters),
        "/stats": NodeResource(clusters),
        "/connections": NodeConnectionsResource(clusters),
        "/service": NodeServiceResource(clusters),
        "/majority": NodeQuestionResource(clusters, "majority"),
        "/loadLookupTable": NodeQuestionResource(clusters, "load_lookup_table"),
        "/nodes/count": NodeQuestionResource(clusters, "count"),
        "/nodes/{peer}": PeerResource(clusters),
    }


def create_app(clusters: Clusters, guard: Guard | None = None) -> WSGIApplication:
    """One WSGI callable for every port: a request whose environ[TAG] is a NodePort is that node's.

    `guard` decides who may ask; the default one serves this machine only.
    """
    orchestrator = _falcon_app(orchestrator_routes(clusters))
    node = _falcon_app(node_routes(clusters))
    node.add_middleware(_WhoseNode())

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        chosen = orchestrator if environ.get(TAG) is None else node
        return chosen(environ, start_response)

    return (guard or Guard()).around(app)


def create_server(
    clusters: Clusters,
    host: str = "127.0.0.1",
    *,
    token: str | None = None,
    allowed_hosts: Collection[str] = (),
    allowed_origins: Collection[str] = (),
    threads: int = 8,
) -> Server:
    """A server for `clusters`, with no port open yet; see Server. Raises UnsafeAddress: see Guard."""
    return Server(create_app(clusters, Guard(host, token, allowed_hosts, allowed_origins)), host, threads)


class _WhoseNode:
    """Gives a node's resources the cluster and the node whose port the request came in on."""

    def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, Any]
    ) -> None:
        port: NodePort = req.env[TAG]
        params["cluster"], params["node"] = port


class _QueryNames:
    """Refuses what stands behind the question mark and the resource does not take by that method."""

    def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, Any]
    ) -> None:
        if req.query_string and resource is not None:
            asks: dict[str, tuple[str, ...]] = getattr(resource, "asks", {})
            check_names(req, asks.get("GET" if req.method == "HEAD" else req.method, ()))


def _falcon_app(routes: Routes) -> falcon.App[Request, Response]:
    app: falcon.App[Request, Response] = falcon.App()
    app.add_middleware(_QueryNames())
    app.req_options.strip_url_path_trailing_slash = True
    for path, resource in routes.items():
        # Falcon leaves HEAD to us, and cuts the body off itself.
        if hasattr(resource, "on_get"):
            resource.on_head = resource.on_get
        app.add_route(path, resource)
    add_problem_handlers(app, routes)
    return app
