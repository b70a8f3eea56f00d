"""Stacks, deployed to a whole cluster: as one entry of the log, with what is ignored told."""

from __future__ import annotations

import pytest
from yard import Yard

from raftyard.actors.errors import Conflict, InvalidRequest, StaleVersion, UnknownStack
from raftyard.actors.messages import (
    ChangeService,
    ChangeStack,
    DescribePlan,
    DescribeService,
    DescribeStack,
    DescribeStacks,
    RemoveStack,
)
from raftyard.actors.system import Live, Virtual

SHOP = {
    "version": "3.8",
    "services": {
        "web": {"image": "shop:1", "deploy": {"replicas": 4}, "depends_on": ["db"]},
        "db": {"image": "postgres:17"},
    },
}


def deploy(yard: Yard, document=SHOP, version: int | None = None):
    return yard.ask(ChangeStack(stack="shop", body=document, version=version))


def test_a_stack_is_deployed_as_a_whole_and_tells_what_it_ignored(yard: Yard):
    made = deploy(yard)
    assert [service["name"] for service in made["services"]] == ["shop_web", "shop_db"]
    assert [warning["path"] for warning in made["warnings"]] == ["$.version"]
    assert made["version"] == made["log_index"]

    yard.settle()
    shown = yard.ask(DescribeStack(stack="shop"))
    assert (shown["service_count"], shown["replicas"], shown["placed"], shown["pending"]) == (2, 5, 5, 0)
    listed = yard.ask(DescribeStacks())
    assert listed["metadata"] == {"count": 1}
    assert listed["results"][0]["name"] == "shop"
    assert yard.ask(DescribeService(service="shop_web"))["stack"] == "shop"


def test_a_service_that_left_the_document_is_removed_with_the_same_entry(yard: Yard):
    first = deploy(yard)
    made = deploy(yard, {"services": {"web": {"image": "shop:1", "deploy": {"replicas": 4}}}}, first["version"])
    assert [service["name"] for service in made["services"]] == ["shop_web"]
    with pytest.raises(StaleVersion):
        deploy(yard, version=first["version"])


def test_a_stack_that_is_refused_changes_nothing(yard: Yard):
    yard.ask(ChangeService(service="shop_db", body={"replicas": 1}))
    with pytest.raises(Conflict, match="a service by itself"):
        deploy(yard)
    with pytest.raises(UnknownStack):
        yard.ask(DescribeStack(stack="shop"))


def test_a_circle_through_a_service_that_is_there_is_refused(yard: Yard):
    yard.ask(ChangeService(service="db", body={"depends_on": {"shop_web": "started"}}))
    document = {"services": {"web": {"image": "x", "x-raftyard": {"depends_on": {"db": "started"}}}}}
    with pytest.raises(InvalidRequest, match="shop_web waits for db, db waits for shop_web") as refused:
        deploy(yard, document)
    assert (refused.value.path, refused.value.hint) == ("$.services", "take one of them out of depends_on")
    with pytest.raises(InvalidRequest, match="shop_web waits for db") as refused:
        yard.ask(DescribePlan(body={"stack": {"name": "shop", "document": document}}))
    assert refused.value.path == "$.stack"


def test_a_schedule_that_is_none_is_refused_with_its_path_before_anything_is_deployed(yard: Yard):
    document = {"services": {"job": {"image": "x", "x-raftyard": {"mode": "cron", "schedule": "61 * * * *"}}}}
    with pytest.raises(InvalidRequest) as refused:
        deploy(yard, document)
    assert refused.value.path == "$.services.job.x-raftyard.schedule"
    with pytest.raises(InvalidRequest) as refused:
        yard.ask(DescribePlan(body={"stack": {"name": "shop", "document": document}}))
    assert refused.value.path == "$.stack.document.services.job.x-raftyard.schedule"


def test_a_stack_is_removed_with_its_services(yard: Yard):
    deploy(yard)
    assert yard.ask(RemoveStack(stack="shop"))["status"] == "ok"
    with pytest.raises(UnknownStack):
        yard.ask(RemoveStack(stack="shop"))
    assert yard.ask(DescribeStacks())["results"] == []


def test_what_is_wrong_with_a_document_is_told_with_its_path(yard: Yard):
    with pytest.raises(InvalidRequest) as caught:
        deploy(yard, {"services": {"web": {"deploy": {"replica": 3}}}})
    assert caught.value.path == "$.services.web.deploy.replica"
    with pytest.raises(InvalidRequest) as caught:
        yard.ask(DescribePlan(body={"stack": {"name": "shop", "document": {"services": {"web": {"imag": ""}}}}}))
    assert caught.value.path == "$.stack.document.services.web.imag"


@pytest.mark.parametrize("clock", ["virtual", "live"])
def test_a_stack_is_planned_before_it_is_deployed_on_either_clock(clock):
    system = Virtual(seed=2, raise_crashes=True, codec_check=True) if clock == "virtual" else Live(seed=2)
    with Yard(system, checked=clock == "virtual") as yard:
        yard.begin()
        planned = yard.ask(DescribePlan(body={"stack": {"name": "shop", "document": SHOP}}))
        assert (planned["version"], planned["summary"]["starts"]) == (0, 5)
        assert [step["services"] for step in planned["steps"]] == [["shop_db"], ["shop_web"]]
        assert [warning["path"] for warning in planned["warnings"]] == ["$.version"]

        made = deploy(yard, version=planned["version"])
        yard.until(lambda: yard.ask(DescribeStack(stack="shop"))["placed"] == 5)
        for service in planned["services"]:
            shown = yard.ask(DescribeService(service=service["name"]))
            assert shown["load_distribution"] == {
                node: one["starts"] for node, one in service["nodes"].items()
            }

        less = {"services": {"web": SHOP["services"]["web"] | {"depends_on": []}}}
        planned = yard.ask(DescribePlan(body={"stack": {"name": "shop", "document": less}}))
        assert planned["version"] == made["version"]
        gone = {service["name"]: service for service in planned["services"]}["shop_db"]
        assert (gone["is_removed"], gone["stops"]) == (True, 1)
