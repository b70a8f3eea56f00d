"""Stacks: services that come, change and go together, or not at all."""

import random

import pytest
from control_loop import ControlLoop
from test_scheduling_campaign import Storm, assert_converged, in_peace

from raftyard.actors.state import commands as c
from raftyard.actors.state.machine import ClusterState
from raftyard.actors.state.spec_reading import read_spec


def put(loop, name="shop", version=None, **replicas):
    services = tuple([(f"{name}_{one}", read_spec({"replicas": count})) for one, count in replicas.items()])
    return loop.do(c.PutStack(name=name, services=services, version=version))


def names(loop):
    return [service.name for service in loop.state.services()]


@pytest.fixture
def loop():
    made = ControlLoop(nodes=3)
    assert put(made, web=3, db=1).ok
    made.settle()
    return made


def test_a_stack_is_placed_with_all_its_services(loop):
    stack = loop.state.stack("shop")
    assert [(service.name, service.placed) for service in stack.services] == [("shop_web", 3), ("shop_db", 1)]
    assert [stack.name for stack in loop.state.stacks()] == ["shop"]


def test_what_is_no_longer_in_it_is_removed_and_the_rest_stays_as_it_is(loop):
    before = loop.tasks("shop_web")
    put(loop, web=3, cache=2)
    loop.settle()
    assert names(loop) == ["shop_web", "shop_cache"]
    assert loop.tasks("shop_web") == before
    assert loop.state.service("shop_web").version == 1


def test_the_same_stack_again_changes_nothing(loop):
    before = loop.state.stack("shop").version
    outcome = put(loop, web=3, db=1)
    assert (outcome.duplicate, outcome.version) == (True, before)


def test_a_stale_version_refuses_all_of_it(loop):
    version = loop.state.stack("shop").version
    assert put(loop, version=0, web=9, db=9).code == "stale-version"
    assert put(loop, version=version, web=4, db=1).ok
    assert put(loop, version=version, web=5, db=2).code == "stale-version"
    assert loop.state.service("shop_db").spec.replicas == 1


def test_every_change_of_a_service_in_it_is_a_version_of_its_own(loop):
    seen = [loop.state.stack("shop").version]
    for command in (
        c.PutService(name="shop_web", spec=read_spec({"replicas": 7})),
        c.RemoveService(name="shop_db"),
        c.RollBackService(name="shop_web", to_version=1),
    ):
        assert loop.do(command).ok
        seen.append(loop.state.stack("shop").version)
    assert seen == sorted(set(seen))


def test_a_service_that_is_put_by_itself_stays_in_its_stack(loop):
    loop.put("shop_web", replicas=9)
    assert loop.state.service("shop_web").stack == "shop"
    put(loop, db=1)
    assert names(loop) == ["shop_db"]


def test_one_service_that_cannot_be_put_refuses_all_and_nothing_has_changed(loop):
    loop.put("shop_cache", replicas=1)
    before = loop.state.service("shop_web")
    assert "a service by itself" in put(loop, web=9, cache=2).reason
    put(loop, "other", web=1)
    services = (("shop_web", read_spec({"replicas": 9})), ("other_web", read_spec({})))
    assert "of stack other" in loop.do(c.PutStack(name="shop", services=services)).reason
    services = (("shop_web", read_spec({"replicas": 9})), ("shop_db", read_spec({"mode": "global"})))
    assert loop.do(c.PutStack(name="shop", services=services)).code == "mode"
    assert loop.do(c.PutStack(name="shop", services=())).code == "invalid"
    assert loop.state.service("shop_web") == before


def waiting(**depends_on):
    """Services of a stack, each with the one that it waits for."""
    return tuple([(name, read_spec({"depends_on": {other: "started"}})) for name, other in depends_on.items()])


def test_a_stack_that_makes_a_circle_through_another_service_is_refused_but_for_one_of_an_older_log(loop):
    loop.put("cache", replicas=1, depends_on={"queue": "started"})
    loop.put("queue", replicas=1, depends_on={"shop_web": "started"})
    services = waiting(shop_db="cache", shop_web="shop_db")
    outcome = loop.do(c.PutStack(name="shop", services=services, no_circles=True))
    circle = "shop_db waits for cache, cache waits for queue, queue waits for shop_web, shop_web waits for shop_db"
    assert (outcome.code, outcome.reason) == ("circle", f"{circle}: none of them could ever start")
    assert loop.state.service("shop_web").version == 1
    assert loop.do(c.PutStack(name="shop", services=services)).ok
    assert loop.do(c.PutStack(name="shop", services=services, no_circles=True)).ok, "it was there before"


def test_a_circle_that_ends_with_what_leaves_the_stack_is_none(loop):
    loop.do(c.PutStack(name="shop", services=waiting(shop_web="shop_db", shop_cache="shop_web")))
    services = waiting(shop_web="shop_cache")
    assert loop.do(c.PutStack(name="shop", services=services, no_circles=True)).ok


def test_a_stack_is_removed_with_all_its_services(loop):
    loop.put("alone", replicas=1)
    assert loop.do(c.RemoveStack(name="shop", version=1)).code == "stale-version"
    assert loop.do(c.RemoveStack(name="shop")).ok
    assert names(loop) == ["alone"]
    assert loop.do(c.RemoveStack(name="shop")).code == "unknown-stack"
    assert put(loop, version=0, web=1).ok


def test_a_stack_outlives_a_snapshot(loop):
    loop.do(c.RemoveService(name="shop_db"))
    restored = ClusterState()
    restored.restore(loop.state.snapshot())
    assert restored.stacks() == loop.state.stacks()


class StackStorm(Storm):
    """The storm, in which stacks are deployed and removed, too."""

    def rage(self, steps):
        for _ in range(steps // 6):
            super().rage(5)
            name = self.rng.choice(("one", "two"))
            if self.rng.random() < 0.2:
                self.do(c.RemoveStack(name=name))
                continue
            chosen = self.rng.sample(("a", "b", "c", "web"), self.rng.randrange(1, 4))
            services = [
                (one if one == "web" else f"{name}_{one}", read_spec({"replicas": self.rng.randrange(9)}))
                for one in chosen
            ]
            version = self.rng.choice((None, None, 0, self.index))
            self.do(c.PutStack(name=name, services=tuple(services), version=version))


@pytest.mark.parametrize("seed", range(20))
def test_a_cluster_with_stacks_left_alone_reaches_what_is_desired(seed):
    print(f"seed {seed}")
    storm = StackStorm(random.Random(seed).randrange(10**6))
    storm.rage(60)
    in_peace(storm)
    assert_converged(storm)
    assert storm.state.digest() == storm.other.digest()
