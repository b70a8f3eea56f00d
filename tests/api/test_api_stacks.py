"""Stacks over REST."""

from __future__ import annotations

import pytest

SHOP = "/clusters/0/stacks/shop"
DOCUMENT = {"services": {"web": {"image": "nginx"}, "db": {"image": "postgres"}}}


def test_a_stack_is_deployed_shown_listed_and_removed(ask, clusters):
    made = ask("PUT", f"{SHOP}?version=0", DOCUMENT)
    assert (made.status_code, made.json["warnings"]) == (200, [])
    assert clusters.asked[-3] == ("put_stack", "0", "shop", DOCUMENT, 0)
    assert ask("GET", SHOP).json["service_count"] == 2
    assert ask("GET", "/clusters/0/stacks").json["metadata"] == {"count": 1}
    assert ask("DELETE", f"{SHOP}?version=7").json["status"] == "ok"
    assert clusters.asked[-1] == ("remove_stack", "0", "shop", 7)
    assert ask("GET", SHOP).status_code == 404


@pytest.mark.parametrize("query", ["version=x", "vers=1"])
def test_a_version_that_is_no_number_is_refused(ask, query):
    assert ask("PUT", f"{SHOP}?{query}", DOCUMENT).status_code == 400

