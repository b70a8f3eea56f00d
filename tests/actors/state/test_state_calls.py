"""Bodies of a service call: the three documented ones, and every mistake with its path and hint."""

import pytest

from raftyard.actors.state.calls import InvalidCall, service_requests
from raftyard.actors.state.commands import ServiceRequest


def wanted(body):
    return [(request.name, request.replicas) for request in service_requests(body)]


def test_the_three_documented_bodies_are_understood():
    assert wanted({"container": {"id": 5, "replicas": 25}}) == [("id-5", 25)]
    two = [{"description": "container 0", "replicas": 10}, {"description": "container 1", "replicas": 10}]
    assert wanted({"containers": two}) == [("container-0", 10), ("container-1", 10)]
    assert wanted({"container": {"uniq_id": 0, "label": "description"}, "replicas": 99}) == [("id-0", 99)]


@pytest.mark.parametrize(
    ("container", "name"),
    [
        ({"name": "web", "id": 1, "label": "x"}, "web"),
        ({"id": 1, "uniq_id": 2, "label": "x"}, "id-1"),
        ({"id": "a7"}, "id-a7"),
        ({"uniq_id": 2, "description": "x"}, "id-2"),
        ({"description": "Café  No. 1!", "label": "x"}, "cafe-no-1"),
        ({"label": "The Web"}, "the-web"),
    ],
)
def test_a_service_is_named_by_name_then_id_then_a_slug(container, name):
    assert wanted({"container": {**container, "replicas": 1}}) == [(name, 1)]


def test_slots_and_description_are_kept():
    body = {"container": {"name": "db", "label": "a store", "slots": 4, "replicas": 0}}
    expected = ServiceRequest(
        name="db", replicas=0, slots_per_replica=4, description="a store", keeps_unsaid=True
    )
    assert service_requests(body) == (expected,)


def test_replicas_at_the_top_hold_for_every_container():
    assert wanted({"containers": [{"id": 1}, {"id": 2}], "replicas": 3}) == [("id-1", 3), ("id-2", 3)]


def one(**fields):
    return {"container": {"id": 1, **fields}}


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        ({}, "$", "no container"),
        ([], "$", "a list"),
        (None, "$", "null"),
        ("text", "$", "the text"),
        ({"containers": []}, "$.containers", "empty"),
        ({"containers": {"id": 1}}, "$.containers", "expected a list"),
        ({"containers": [5]}, "$.containers[0]", "expected an object"),
        ({"container": {}}, "$.container.replicas", "missing"),
        ({"container": {"replicas": 1}}, "$.container", "no name"),
        ({"container": {"id": 1}, "containers": []}, "$", "both"),
        ({"contaner": {"id": 1}}, "$.contaner", "did you mean container?"),
        (one(replcas=1), "$.container.replcas", "did you mean replicas?"),
        (one(xyzzy=1), "$.container.xyzzy", "the fields are name"),
        (one(), "$.container.replicas", "missing"),
        (one(replicas=-1), "$.container.replicas", "too small"),
        (one(replicas=10_000_001), "$.container.replicas", "too large"),
        (one(replicas=10**5000), "$.container.replicas", "too large"),
        (one(replicas="5"), "$.container.replicas", "the text '5'"),
        (one(replicas=2.5), "$.container.replicas", "the number 2.5"),
        (one(replicas=float("inf")), "$.container.replicas", "a number"),
        (one(replicas=True), "$.container.replicas", "true"),
        (one(replicas=None), "$.container.replicas", "null"),
        ({**one(replicas=1), "replicas": 1}, "$.container.replicas", "here and at the top"),
        ({**one(), "replicas": "1"}, "$.replicas", "whole number"),
        (one(replicas=1, slots=0), "$.container.slots", "too small"),
        ({"container": {"id": 1.5, "replicas": 1}}, "$.container.id", "1.5"),
        ({"container": {"id": 10**5000, "replicas": 1}}, "$.container.id", "a number"),
        ({"container": {"id": {}, "replicas": 1}}, "$.container.id", "an object"),
        ({"container": {"name": "", "replicas": 1}}, "$.container.name", "empty"),
        ({"container": {"name": "a/b", "replicas": 1}}, "$.container.name", "URL"),
        ({"container": {"name": "..", "replicas": 1}}, "$.container.name", "URL"),
        ({"container": {"name": "n" * 201, "replicas": 1}}, "$.container.name", "201 characters"),
        ({"container": {"label": "***", "replicas": 1}}, "$.container.label", "no name can be made"),
        (
            {"containers": [{"id": 1, "replicas": 1}, {"name": "id-1", "replicas": 1}]},
            "$.containers[1]",
            "used already",
        ),
        (
            {"containers": [{"id": 1, "replicas": 1}, {"id": 2, "replicas": -3}]},
            "$.containers[1].replicas",
            "small",
        ),
    ],
)
def test_a_mistake_is_named_with_its_path_and_what_to_do(body, path, words):
    with pytest.raises(InvalidCall) as caught:
        service_requests(body)
    assert caught.value.path == path
    assert words in str(caught.value)
    assert caught.value.hint
