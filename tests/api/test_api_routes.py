"""The table of routes: each says what it takes and gives, and what it gives is what the ports promise."""

from __future__ import annotations

import inspect
from types import MappingProxyType

import msgspec
import pytest
from fake_clusters import FakeClusters

import raftyard.api
from raftyard.api.app import node_routes, orchestrator_routes
from raftyard.api.ports import Clusters

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ROUTES = {"orchestrator": orchestrator_routes, "node": node_routes}
NO_BODY = MappingProxyType(
    {
        "DELETE": {
            "/clusters/{cluster}",
            "/clusters/{cluster}/nodes/{node}",
            "/clusters/{cluster}/rebalance",
            "/clusters/{cluster}/services/{name}",
            "/clusters/{cluster}/stacks/{name}",
            "/nodes/{peer}",
        }
    }
)


def routes():
    for port, table in ROUTES.items():
        for path, resource in table(FakeClusters()).items():
            yield pytest.param(port, path, resource, id=f"{port} {path}")


@pytest.mark.parametrize(("port", "path", "resource"), [*routes()])
def test_a_route_describes_each_of_its_methods(port, path, resource):
    methods = {method for method in METHODS if hasattr(resource, f"on_{method.lower()}")}
    with_body = {method for method in methods - {"GET"} if path not in NO_BODY.get(method, ())}

    assert set(resource.gives) == methods
    assert set(resource.takes) == with_body
    assert msgspec.json.schema_components(tuple(resource.gives.values()))
    assert msgspec.json.schema_components(tuple(body.type for body in resource.takes.values()))


@pytest.mark.parametrize(("port", "path", "resource"), [*routes()])
def test_no_method_ignores_what_stands_behind_the_question_mark(port, path, resource, ask):
    """Who writes ?vresion=3 thinks that nobody else's change is lost."""
    node = "localhost:8001" if port == "node" else None
    for method in resource.gives:
        known = getattr(resource, "asks", {}).get(method, ())
        answer = ask(method, f"{path.replace('{', '').replace('}', '')}?vresion=3", node=node)
        assert (answer.status_code, answer.json["detail"]) == (400, "unknown query parameter vresion")
        hint = "did you mean version?" if "version" in known else f"known: {', '.join(known) or 'none'}"
        assert answer.json["hint"] == hint


@pytest.mark.parametrize(("port", "path", "resource"), [*routes()])
def test_a_get_answers_what_it_says(port, path, resource, ask):
    where = path.format(
        cluster="0",
        node="localhost:8001",
        call="call-0",
        peer="localhost:8002",
        name="web",
        source="localhost:8001",
        target="localhost:8002",
    )
    node = "localhost:8001" if port == "node" else None
    ask("POST", "/clusters/0/service", {"container": {"id": 1, "replicas": 1}})
    ask("PUT", "/clusters/0/services/web", {"replicas": 1})
    ask("PUT", "/clusters/0/stacks/web", {"services": {"a": {"image": "x"}}})
    if "GET" in resource.gives:
        answer = ask("GET", where, node=node)

        assert answer.status_code == 200
        msgspec.convert(answer.json, resource.gives["GET"])


def test_the_fake_is_asked_as_the_ports_say():
    promised = {name: inspect.signature(f) for name, f in vars(Clusters).items() if not name.startswith("_")}

    for name, signature in promised.items():
        assert list(inspect.signature(getattr(FakeClusters, name)).parameters) == list(signature.parameters)


def test_every_public_name_is_there():
    for name in raftyard.api.__all__:
        assert getattr(raftyard.api, name)
    with pytest.raises(AttributeError, match="nothing"):
        raftyard.api.nothing  # noqa: B018
