"""What the REST tests share: clusters in memory, and a client for the orchestrator's port and for nodes' ports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_clusters import FakeClusters
from falcon.testing import Result, TestClient

from raftyard.api.app import create_app
from raftyard.api.environ import TAG
from raftyard.api.ports import NodePort

Ask = Callable[..., Result]


@pytest.fixture
def clusters() -> FakeClusters:
    return FakeClusters()


@pytest.fixture
def ask(clusters: FakeClusters) -> Ask:
    """ask("GET", "/clusters"), ask("POST", "/connections", {...}, node="localhost:8004")"""
    client = TestClient(create_app(clusters))

    def ask(method: str, path: str, json: Any = None, node: str | None = None, **more: Any) -> Result:
        extras = {} if node is None else {TAG: NodePort("0", node)}
        host = more.pop("host", "localhost")
        if json is not None:
            more["json"] = json
        return client.simulate_request(method, path, extras=extras, host=host, **more)

    return ask
