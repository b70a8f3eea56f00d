"""Usage, autoscaling and cron from HTTP to the actors and back, on virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from falcon.testing import Result, TestClient

from raftyard.actors.orchestrator import OrchestratorSettings, start_orchestrator
from raftyard.actors.system import Virtual
from raftyard.api.app import create_app
from raftyard.api.shapes import NodeDetail, ServiceDetail
from raftyard.cli.wiring import ActorClusters

SERVICES = "/clusters/0/services"


class Http:
    """The orchestrator's port, in front of actors whose time the test lets pass."""

    def __init__(self, system: Virtual) -> None:
        self.system = system
        self._client = TestClient(create_app(ActorClusters(system)))

    def __call__(self, method: str, path: str, body: Any = None) -> Result:
        more = {} if body is None else {"json": body}
        return self._client.simulate_request(method, path, host="localhost", **more)

    def service(self, name: str) -> ServiceDetail:
        return msgspec.convert(self("GET", f"{SERVICES}/{name}").json, ServiceDetail)


@pytest.fixture
def http() -> Iterator[Http]:
    with Virtual(seed=1) as system:
        start_orchestrator(system, OrchestratorSettings(port=8000))
        system.run(2.0)
        yield Http(system)


def test_what_is_used_and_what_the_autoscaler_does_is_answered_as_it_is_described(http: Http):
    spec = {
        "replicas": 2,
        "reservations": {"cpu_milli": 100},
        "simulate": {"demand": {"cpu_milli": 120}},
        "autoscale": {"max": 10, "metric": "cpu", "target": 60},
    }
    assert http("PUT", f"{SERVICES}/web", spec).status_code == 201
    http.system.run(20)
    assert http("PATCH", f"{SERVICES}/web", {"simulate": {"demand": {"cpu_milli": 450}}}).status_code == 200
    http.system.run(20)
    web = http.service("web")
    assert (web.version, web.replicas, web.placed) == (2, 8, 8)
    assert web.usage is not None and web.usage["cpu_milli"].total == 450
    assert web.autoscale is not None and web.autoscale.last is not None
    assert (web.autoscale.min, web.autoscale.max) == (1, 10)
    assert (web.autoscale.last.was, web.autoscale.last.replicas) == (2, 8)
    assert 0 < web.autoscale.last.age_s < 20
    node = msgspec.convert(http("GET", "/clusters/0/nodes/localhost:8001/stats").json, NodeDetail)
    assert node.usage is not None and node.usage["cpu_milli"] > 0


def test_when_a_cron_service_runs_is_answered_as_it_is_described(http: Http):
    spec = {"mode": "cron", "schedule": "* * * * *", "time_zone": "Asia/Tokyo", "simulate": {"run_s": 5}}
    made = http("PUT", f"{SERVICES}/job", spec)
    assert made.status_code == 201
    assert msgspec.convert(made.json, ServiceDetail).cron is not None
    http.system.run(75)
    cron = http.service("job").cron
    assert cron is not None and cron.last_run is not None and cron.problem is None
    assert (cron.next_run, cron.last_run.due) == ("2026-01-01T09:02:00+09:00", "2026-01-01T09:01:00+09:00")
    assert (cron.runs, cron.last_run.completed, cron.last_run.is_over) == (1, 1, True)


@pytest.mark.parametrize(
    ("spec", "path", "hint"),
    [
        ({"autoscale": {"max": 3, "target": 60}}, "$.autoscale.metric", "set reservations.cpu_milli"),
        ({"autoscale": {"max": 3, "taget": 60}}, "$.autoscale.taget", "did you mean target?"),
        ({"mode": "cron"}, "$.schedule", "*/5 * * * *"),
        ({"mode": "cron", "schedule": "60 * * * *"}, "$.schedule", "minute hour day month weekday"),
        ({"mode": "cron", "schedule": "* * * * *", "time_zone": "Europe/Pari"}, "$.time_zone", "Europe/Paris"),
        ({"simulate": {"usage": {"cpu": 1}}}, "$.simulate.usage.cpu", "use cpu_milli"),
    ],
)
def test_a_mistake_is_a_422_with_its_path_and_what_to_do(http: Http, spec: Any, path: str, hint: str):
    answer = http("PUT", f"{SERVICES}/web", spec)
    assert answer.status_code == 422
    assert [error["path"] for error in answer.json["errors"]] == [path]
    assert hint in answer.json["hint"]
    planned = http("POST", "/clusters/0/plan", {"service": {"name": "web", "spec": spec}})
    assert planned.status_code == 422
    assert planned.json["errors"][0]["path"] == "$.service.spec" + path.removeprefix("$")


def test_a_plan_of_another_load_replaces_nothing(http: Http):
    http("PUT", f"{SERVICES}/web", {"replicas": 2, "simulate": {"usage": {"requests": 1}}})
    http.system.run(1)
    patch = {"simulate": {"usage": {"requests": 5}}}
    planned = http("POST", "/clusters/0/plan", {"service": {"name": "web", "patch": patch}})
    assert planned.status_code == 200
    (service,) = planned.json["services"]
    assert [change["replaces"] for change in service["changes"]] == [False]
    assert planned.json["summary"]["replaces"] == 0
