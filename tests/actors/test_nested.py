"""Clusters in clusters: a service whose replicas are the nodes of another cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from nested_yard import INNER, Nest

from raftyard.actors.errors import Conflict, InvalidRequest, UnknownCluster
from raftyard.actors.messages import (
    ORCHESTRATOR,
    AddNodeRequest,
    ChangeService,
    CreateClusterRequest,
    DescribeService,
    LinkPolicy,
    RemoveClusterRequest,
    RemoveNodeRequest,
    SetLinkPolicyRequest,
    StartNode,
    SubmitServiceCall,
    UpdateNodeRequest,
    cluster_actor,
    link_actor,
    node_actor,
)
from raftyard.actors.system import Virtual


@pytest.fixture
def nest() -> Iterator[Nest]:
    """Five nodes of capacity 100 with a leader, and nothing to do."""
    with Nest(seed=1) as started:
        started.settle()
        yield started


def placed(nest: Nest, service: str, cluster: str = INNER) -> int:
    return sum(nest.placed(service, cluster).values())


def test_a_service_call_makes_a_cluster_with_its_replicas_for_nodes(nest: Nest):
    answer = nest.call(name="inner", replicas=3, slots=20, cluster={})
    assert answer["status"] == "executed" and answer["clusters"] == {"inner": INNER}
    nest.settle_all()
    assert nest.clusters() == ("0", INNER)
    picture = nest.picture(INNER, "state")
    assert picture["parent"] == {"cluster": "0", "service": "inner"}
    assert [node["stats"]["capacity"] for node in picture["nodes"]] == [20, 20, 20]
    assert [node["stats"]["parent_node"] for node in picture["nodes"]] == list(nest.hosts().values())
    assert len(set(nest.hosts().values())) == 3
    assert [service["cluster"] for service in nest.picture()["services"]] == [{"id": INNER}]
    assert nest.ask(DescribeService(service="inner"))["cluster"] == {"id": INNER}


def test_its_services_count_against_its_own_capacity(nest: Nest):
    nest.nest(3, slots=10)
    answer = nest.submit(cluster=INNER, web=40)
    assert (answer["placed"], answer["pending"]) == (30, 10)
    assert set(nest.placed("web", INNER).values()) == {10}
    assert nest.state().load_of("node_0") == 10  # of the parent: what was reserved


def test_its_nodes_have_what_was_reserved_and_may_be_told_to_have_fewer_slots(nest: Nest):
    body = {
        "replicas": 2,
        "reservations": {"slots": 20, "memory_mib": 512, "custom": {"licences": 2}},
        "cluster": {"capacity": 5},
    }
    for node in nest.names():
        nest.ask(UpdateNodeRequest(node=node, body={"resources": {"licences": 2, "memory_mib": 1024}}))
    nest.ask(ChangeService(service="inner", body=body))
    nest.until(lambda: INNER in nest.clusters() and nest.front(INNER) and nest.front(INNER).leader)
    nest.settle(cluster=INNER)
    records = nest.state(INNER).nodes()
    assert [record.capacity for record in records] == [5, 5]
    assert [dict(record.resources) for record in records] == [{"licences": 2, "memory_mib": 512}] * 2


@pytest.mark.parametrize(
    ("body", "path", "what"),
    [
        ({"replicas": 0, "cluster": {}}, "$.replicas", "one node at least"),
        ({"replicas": 3, "cluster": {"capacity": 2}}, "$.cluster.capacity", "does not fit the 1"),
        ({"replicas": 3, "cluster": {}, "image": "nginx"}, "$.image", "a cluster has no image"),
        ({"mode": "replicated-job", "cluster": {}}, "$.mode", "no replicated-job"),
        ({"cluster": {"capcity": 2}}, "$.cluster.capcity", "unknown field capcity"),
        ({"cluster": {}, "placement": {"max_replicas_per_node": 2}}, "$.placement.max_replicas_per_node", "together"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused_with_the_place(nest: Nest, body: Any, path: str, what: str):
    with pytest.raises(InvalidRequest, match=what) as caught:
        nest.ask(ChangeService(service="inner", body=body))
    assert caught.value.path == path and caught.value.hint


def test_a_name_that_would_make_an_ambiguous_id_is_refused(nest: Nest):
    with pytest.raises(InvalidRequest, match=r"'in\.ner'"):
        nest.ask(SubmitServiceCall(body={"container": {"name": "in.ner", "replicas": 3, "cluster": {}}}))
    with pytest.raises(InvalidRequest, match="nested") as caught:
        nest.ask(CreateClusterRequest(cluster="0.inner", nodes=(AddNodeRequest(),)), ORCHESTRATOR)
    assert caught.value.path == "$.id"


def test_a_service_neither_becomes_a_cluster_nor_stops_being_one(nest: Nest):
    nest.submit(web=3)
    nest.nest(3)
    with pytest.raises(Conflict, match="web is no cluster and cannot become one"):
        nest.ask(ChangeService(service="web", body={"replicas": 3, "cluster": {}}))
    with pytest.raises(Conflict, match="inner is a cluster and cannot become another service"):
        nest.ask(ChangeService(service="inner", body={"replicas": 3}))
    failed = nest.call(name="web", replicas=3, cluster={})
    assert failed["status"] == "failed" and "web is no cluster" in failed["reason"]
    failed = nest.call(name="inner", replicas=0)
    assert failed["status"] == "failed" and "one node at least" in failed["reason"]
    nest.settle_all()


@pytest.mark.parametrize(
    ("request_", "to", "what"),
    [
        (AddNodeRequest(), INNER, "its nodes are that one's replicas"),
        (RemoveNodeRequest(address="node_0.1"), INNER, "its nodes are that one's replicas"),
        (UpdateNodeRequest(node="node_0.1", body={"capacity": 1000}), INNER, "have what its replicas reserve"),
        (RemoveClusterRequest(cluster=INNER), ORCHESTRATOR, "it is not removed by itself"),
        (
            CreateClusterRequest(cluster=INNER, nodes=(AddNodeRequest(),), replace=True),
            ORCHESTRATOR,
            "it is not made or replaced by itself",
        ),
    ],
)
def test_what_would_change_it_directly_is_refused_and_names_the_service(nest: Nest, request_: Any, to: str, what: str):
    nest.nest(3)
    with pytest.raises(Conflict, match="cluster 0.inner is the service 'inner' of cluster 0") as caught:
        nest.ask(request_, to)
    assert what in str(caught.value) and "/clusters/0/services/inner" in caught.value.hint
    nest.settle_all()


# -- links --------------------------------------------------------------------------------------------------------


def test_a_cut_link_of_the_parent_cuts_the_childs(nest: Nest):
    nest.nest(3)
    host = nest.hosts()
    lonely = nest.leader(INNER)
    parents = [on for on in host.values() if on != host[lonely]]
    nest.cut(*[pair for other in parents for pair in ((host[lonely], other), (other, host[lonely]))])
    nest.until(lambda: nest.front(INNER).leader not in (None, lonely))
    assert nest.link(lonely, next(name for name in host if name != lonely), INNER).lost_cut == 0
    assert nest.link(host[lonely], parents[0]).lost_cut > 0
    nest.heal()
    nest.settle_all()


def test_the_childs_own_links_are_cut_on_top_of_it(nest: Nest):
    nest.nest(3)
    lonely = nest.leader(INNER)
    nest.cut(*nest.around(lonely, INNER), cluster=INNER)
    nest.until(lambda: nest.front(INNER).leader not in (None, lonely))
    assert nest.leading() == [nest.leader()]  # the parent notices nothing
    nest.heal(INNER)
    nest.settle_all()


def test_what_a_child_says_takes_the_parents_delay_and_counts_there(nest: Nest):
    nest.nest(2)
    (one, other), hosts = nest.names(INNER), nest.hosts()
    before = nest.link(hosts[one], hosts[other]).delivered
    nest.ask(SetLinkPolicyRequest(source=hosts[one], target=hosts[other], policy=LinkPolicy(delay_s=0.05)))
    at = []
    nest.system.trace(
        lambda seen: at.append(seen.t_ns)
        if seen.to == node_actor(INNER, other) and seen.sender == link_actor("0", hosts[one], hosts[other])
        else None
    )
    nest.run(1.0)
    assert at and nest.link(hosts[one], hosts[other]).delivered >= before + len(at)
    nest.ask(SetLinkPolicyRequest(source=hosts[one], target=hosts[other], policy=LinkPolicy(loss=1.0)))
    nest.run(0.2)
    seen = len(at)
    nest.run(1.0)
    assert len(at) == seen


# -- what is lost comes back, or is replaced ----------------------------------------------------------------------


def test_a_crash_of_the_parents_node_takes_the_childs_with_it(nest: Nest):
    nest.nest(3)
    nest.submit(cluster=INNER, web=9)
    victim = nest.names(INNER)[0]
    for actor in (node_actor("0", nest.hosts()[victim]), f"cluster/0/agent/{nest.hosts()[victim]}"):
        nest.system.crash(actor)
        nest.run(0.0)
        assert not nest.actors_of(INNER, victim)
        nest.until(lambda: nest.actors_of(INNER, victim))
        nest.settle_all()
    assert victim in nest.names(INNER) and placed(nest, "web") == 9


def test_a_lost_replica_is_replaced_and_its_services_are_placed_anew(nest: Nest):
    nest.nest(3)
    nest.submit(cluster=INNER, web=9)
    victim = nest.leader(INNER)
    nest.kill_node(nest.hosts()[victim])
    nest.until(lambda: victim not in nest.names(INNER), within_s=15.0)
    nest.until(lambda: len(nest.names(INNER)) == 3 and placed(nest, "web") == 9)
    nest.until(lambda: len(nest.node(nest.leader(INNER), INNER).raft.membership.voters) == 3)
    nest.ask(StartNode(node=victim.rpartition(".")[0]))
    nest.settle_all()
    assert placed(nest, "web") == 9 and nest.state(INNER).service("web").version == 1


def test_without_room_elsewhere_a_lost_node_comes_back_as_it_was(nest: Nest):
    nest.nest(5)
    nest.submit(cluster=INNER, web=10)
    names = nest.names(INNER)
    nest.kill_node("node_2")
    nest.run(3.0)
    assert nest.names(INNER) == names and placed(nest, "web") == 10
    nest.ask(StartNode(node="node_2"))
    nest.settle_all()
    assert nest.names(INNER) == names


def test_scaling_the_service_adds_and_removes_nodes(nest: Nest):
    nest.nest(1)
    nest.submit(cluster=INNER, web=9)
    for replicas in (3, 5, 2, 4, 1):
        nest.call(name="inner", replicas=replicas)
        nest.settle_all()
        assert len(nest.names(INNER)) == replicas
        assert placed(nest, "web") == 9 and nest.state(INNER).service("web").version == 1
    assert nest.state(INNER).nodes()[0].capacity == 20  # a call that does not speak of slots leaves them


def test_the_last_node_hands_over_what_it_has_before_it_leaves_a_drained_one(nest: Nest):
    nest.nest(1)
    nest.submit(cluster=INNER, web=9)
    before = nest.hosts()[nest.names(INNER)[0]]
    nest.ask(UpdateNodeRequest(node=before, body={"availability": "drain"}))
    nest.until(lambda: list(nest.hosts().values()) not in ([before], []) and len(nest.names(INNER)) == 1)
    nest.settle_all()
    assert placed(nest, "web") == 9 and nest.state(INNER).service("web").version == 1


def test_a_majority_on_the_wrong_side_of_the_parents_partition_is_let_go_only_when_others_have_joined(nest: Nest):
    nest.nest(3)
    nest.submit(cluster=INNER, web=9)
    two = list(nest.hosts().values())[:2]
    nest.cut(*nest.between(two))
    nest.until(lambda: {r.name: r.status for r in nest.state().nodes()}[two[0]] == "down")
    nest.run(5.0)
    assert nest.leader(INNER).rpartition(".")[0] in two  # they are a majority of the child, and go on
    assert nest.submit(cluster=INNER, web=12)["status"] == "executed"
    nest.heal()
    nest.settle_all()
    assert placed(nest, "web") == 12 and not set(two) & set(nest.hosts().values())


def test_first_nodes_that_are_lost_before_they_could_begin_are_replaced_by_others(nest: Nest):
    nest.nest(3, settled=False)
    nest.until(lambda: INNER in nest.clusters(), step_s=0.001)
    hosts = list(nest.hosts().values())
    for host in hosts[:2]:
        nest.kill_node(host)
    nest.until(lambda: nest.front(INNER) is not None and nest.front(INNER).leader is not None)
    for host in hosts[:2]:
        nest.ask(StartNode(node=host))
    nest.settle_all()
    assert len(nest.names(INNER)) == 3


def test_a_new_template_replaces_its_nodes_one_after_the_other(nest: Nest):
    nest.nest(3)
    nest.submit(cluster=INNER, web=9)
    before = set(nest.names(INNER))
    nest.change_service(reservations={"slots": 30}, update={"monitor_s": 0})
    nest.until(lambda: not before & set(nest.names(INNER)) and len(nest.names(INNER)) == 3, within_s=30.0)
    nest.settle_all()
    assert [record.capacity for record in nest.state(INNER).nodes()] == [30, 30, 30]
    assert placed(nest, "web") == 9 and nest.state(INNER).service("web").version == 1


def test_a_global_one_has_a_node_on_every_node(nest: Nest):
    body = {"mode": "global", "reservations": {"slots": 10}, "cluster": {}}
    nest.ask(ChangeService(service="inner", body=body))
    nest.until(lambda: len(nest.names(INNER)) == 5)
    nest.settle_all()
    nest.ask(AddNodeRequest(name="extra"))
    nest.until(lambda: "extra" in nest.hosts().values())
    nest.settle_all()
    assert len(nest.names(INNER)) == 6


def test_the_front_doors_crash_costs_nothing(nest: Nest):
    nest.nest(3)
    nest.submit(cluster=INNER, web=9)
    for actor in (cluster_actor(INNER), cluster_actor("0"), ORCHESTRATOR):
        nest.system.crash(actor)
        nest.run(0.1)
        nest.until(lambda: nest.front(INNER) is not None and nest.front(INNER).leader is not None)
        nest.settle_all()
        assert placed(nest, "web") == 9


def test_a_leader_change_of_the_parent_changes_nothing_inside(nest: Nest):
    nest.nest(3)
    nest.submit(cluster=INNER, web=9)
    names = nest.names(INNER)
    for _ in range(2):
        old = nest.leader()
        nest.cut(*nest.outgoing(old))
        nest.until(lambda old=old: nest.front().leader not in (None, old))
        nest.heal()
        nest.settle_all()
    assert placed(nest, "web") == 9 and len(nest.names(INNER)) == len(names)


# -- removal ------------------------------------------------------------------------------------------------------


def test_removing_the_service_removes_all_of_it(nest: Nest):
    before = {name for name in nest.system.names() if "/link/" not in name}
    nest.nest(3)
    nest.nest(2, cluster=INNER, service="deep", slots=5)
    nest.remove_service()
    nest.until(lambda: nest.clusters() == ("0",))
    nest.settle_all()
    assert {name for name in nest.system.names() if "/link/" not in name} == before
    assert not [name for name in nest.system.names() if name.startswith("cluster/0.")]
    assert not [task for node in nest.names() for task in nest.state().tasks_of(node)]
    with pytest.raises(Exception, match=r"cluster/0\.inner"):
        nest.picture(INNER)
    with pytest.raises(UnknownCluster):
        nest.ask(RemoveClusterRequest(cluster=INNER), ORCHESTRATOR)


def test_one_of_the_same_name_begins_anew(nest: Nest):
    nest.nest(3)
    nest.submit(cluster=INNER, web=9)
    nest.remove_service()
    nest.nest(2, slots=7)
    assert nest.state(INNER).services() == ()
    assert [record.capacity for record in nest.state(INNER).nodes()] == [7, 7]


def test_removing_the_parent_removes_what_is_nested_in_it(nest: Nest):
    nest.ask(CreateClusterRequest(cluster="7", nodes=(AddNodeRequest(),) * 3), ORCHESTRATOR)
    nest.settle(cluster="7")
    nest.nest(3, cluster="7")
    assert nest.clusters() == ("0", "7", "7.inner")
    nest.ask(RemoveClusterRequest(cluster="7"), ORCHESTRATOR)
    nest.until(lambda: nest.clusters() == ("0",))
    assert not [name for name in nest.system.names() if name.startswith("cluster/7")]


# -- deeper -------------------------------------------------------------------------------------------------------


def test_a_cluster_in_a_cluster_in_a_cluster(nest: Nest):
    nest.nest(4, slots=30)
    deep = nest.nest(3, cluster=INNER, service="deep", slots=10)
    deepest = nest.nest(3, cluster=deep, service="er", slots=2)
    assert nest.clusters() == ("0", INNER, deep, deepest) == ("0", "0.inner", "0.inner.deep", "0.inner.deep.er")
    assert nest.submit(cluster=deepest, web=9)["pending"] == 3
    victim = nest.hosts()[nest.hosts(deep)[nest.hosts(deepest)[nest.leader(deepest)]]]
    nest.cut(*nest.around(victim))  # three levels ride on this
    nest.until(lambda: not (nest.front(deepest).leader or victim).startswith(victim))
    nest.heal()
    nest.settle_all(60.0)
    nest.kill_node(victim)
    nest.run(10.0)
    nest.ask(StartNode(node=victim))
    nest.settle_all(60.0)
    assert placed(nest, "web", deepest) == 6
    nest.remove_service()
    nest.until(lambda: nest.clusters() == ("0",))


def test_a_cluster_that_does_not_fit_waits_and_says_why(nest: Nest):
    nest.nest(3, slots=10)
    body = {"replicas": 3, "reservations": {"slots": 11}, "cluster": {}}
    answer = nest.ask(ChangeService(service="deep", body=body), INNER)
    assert answer["pending"] == 3
    nest.run(1.0)
    assert nest.ask(DescribeService(service="deep"), INNER)["waiting"]["replicas"] == 3
    assert nest.clusters() == ("0", INNER)


# -- equal seeds --------------------------------------------------------------------------------------------------


def story(seed: int, shuffle: int | None = None) -> str:
    with Nest(Virtual(seed=seed, raise_crashes=True, shuffle_seed=shuffle)) as nest:
        nest.settle()
        nest.nest(3)
        nest.submit(cluster=INNER, web=9)
        nest.kill_node(nest.hosts()[nest.leader(INNER)])
        nest.run(5.0)
        nest.remove_service()
        nest.run(2.0)
        assert isinstance(nest.system, Virtual)
        return nest.system.digest()


def test_equal_seeds_give_equal_stories():
    assert story(3) == story(3) != story(4)
    assert story(3, shuffle=1) == story(3, shuffle=1)
