"""Who may ask: curl on this machine always, another web page never, another machine with a token."""

from __future__ import annotations

import pytest
from fake_clusters import FakeClusters
from falcon.testing import TestClient

from raftyard.api.app import create_app, create_server
from raftyard.api.security import Guard, UnsafeAddress

NODE = "localhost:8001"


@pytest.mark.parametrize("node", [None, NODE])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LocalHost:8000", "[::1]:8000", "localhost:1"])
def test_this_machines_names_are_served(ask, host, node):
    path = "/" if node else "/clusters"

    assert ask("GET", path, node=node, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("node", [None, NODE])
@pytest.mark.parametrize(
    "host",
    [
        "rebind.test",
        "rebind.test:8000",
        "localhost.evil.test",
        "localhost, rebind.test",
        "",
        "10.0.0.1",
        "localhost:",
    ],
)
def test_a_name_that_was_pointed_at_us_is_not_served(ask, host, node):
    answer = ask("GET", "/clusters", node=node, headers={"Host": host})

    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("node", [None, NODE])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "https://localhost:8000", "Host": "localhost:8000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.test", "Sec-Fetch-Site": "same-origin"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_another_page_changes_nothing(ask, clusters, headers, node, method):
    answer = ask(method, "/clusters/0/nodes", {"port": 8001}, node=node, headers=headers)

    assert answer.status_code == 403
    assert "localhost:8001" in clusters.links["0"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:8000", "Host": "localhost:8000"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_curl_and_our_own_page_may_write(ask, headers):
    assert ask("POST", "/clusters", {"nodes": 3}, headers=headers).status_code == 201


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.test"}, {"Sec-Fetch-Site": "cross-site"}])
def test_another_page_cannot_read_what_it_fetched(ask, headers):
    answer = ask("GET", "/clusters", headers=headers)

    assert answer.status_code == 200, "docs/rest.md says so; the browser keeps the answer from the page"
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_preflight_allows_nothing(ask):
    headers = {"Origin": "https://evil.test", "Access-Control-Request-Method": "POST"}

    assert "access-control-allow-origin" not in ask("OPTIONS", "/clusters", headers=headers).headers


@pytest.mark.parametrize("path", ["/clusters", "/clusters/9", "/nowhere"])
def test_every_answer_carries_the_security_headers(ask, path):
    headers = ask("GET", path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"


def test_an_allowed_name_and_an_allowed_page_are_let_in():
    guard = Guard(allowed_hosts=["raftyard.example"], allowed_origins=["https://raftyard.example/"])
    client = TestClient(create_app(FakeClusters(), guard))
    headers = {"Host": "raftyard.example", "Origin": "https://raftyard.example"}

    assert client.simulate_post("/clusters", json={"nodes": 1}, headers=headers).status_code == 201


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.org", "::", ""])
def test_another_address_without_a_token_is_refused(host):
    with pytest.raises(UnsafeAddress, match="set a token, or listen on 127.0.0.1"):
        create_server(FakeClusters(), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_this_machines_addresses_need_no_token(host):
    Guard(host)


def with_token(path="/clusters", host="192.168.1.5:8000", **headers):
    client = TestClient(create_app(FakeClusters(), Guard("0.0.0.0", token="s3cret")))
    return client.simulate_get(path, headers={"Host": host, **headers})


def test_with_the_token_another_machine_is_served():
    assert with_token(Authorization="Bearer s3cret").status_code == 200


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Bearer wrong", "s3cret", "Basic s3cret", "Bearer \xe9"]
)
def test_without_the_right_token_nobody_is_served(value):
    answer = with_token(Authorization=value)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "s3cret" not in answer.text


def test_with_a_token_a_strange_name_is_still_refused():
    assert with_token(host="rebind.test", Authorization="Bearer s3cret").status_code == 421
