"""Service calls: in order, merged while they wait, each executed once, whatever happens to leaders."""

from __future__ import annotations

import pytest
from yard import History, Yard

from raftyard.actors.errors import InvalidRequest, QueueFull, UnknownCall
from raftyard.actors.messages import (
    ChangeService,
    DescribeCall,
    DescribeCluster,
    LinkPolicy,
    Submit,
    SubmitServiceCall,
    TransferRequest,
    node_actor,
)
from raftyard.actors.node import Node
from raftyard.actors.state.commands import ServiceCall, ServiceRequest, SubmitCall, encode


def isolate_all(yard: Yard) -> None:
    yard.cut(*[(a, b) for a in yard.names() for b in yard.names() if a != b])
    yard.until(lambda: yard.front().leader is None)


def test_a_call_is_answered_at_once_and_then_spread(yard: Yard):
    answer = yard.submit(wait_s=None, web=99)
    assert answer["status"] == "spreading pending" and "log_index" not in answer
    yard.settle()
    call = yard.call(answer["service_id"])
    assert call["status"] == "executed" and call["log_index"] > 0
    assert sorted(call["load_distribution"].values()) == [19, 20, 20, 20, 20]


def test_who_waits_is_answered_when_the_call_has_been_executed(yard: Yard):
    answer = yard.submit(wait_s=5.0, web=5)
    assert (answer["status"], answer["placed"], answer["pending"]) == ("executed", 5, 0)


def test_who_waits_in_vain_is_told_how_far_the_call_is(yard: Yard):
    isolate_all(yard)
    before = yard.now
    assert yard.submit(wait_s=2.0, web=5)["status"] == "spreading pending"
    assert 1.9 < yard.now - before < 6.0


def test_the_same_name_sets_the_number_and_does_not_add(yard: Yard):
    yard.submit(web=10)
    yard.submit(web=4)
    assert sum(yard.placed("web").values()) == 4


@pytest.mark.parametrize("spec", [{"mode": "global"}, {"mode": "global-job"}])
def test_a_call_for_a_global_service_fails_with_what_to_do_and_holds_nothing_up(yard: Yard, spec):
    yard.ask(ChangeService(service="logs", body=spec))
    answer = yard.submit(wait_s=5.0, logs=7)
    assert answer["status"] == "failed"
    assert "a service call cannot scale it; PATCH its placement" in answer["reason"]
    assert yard.submit(wait_s=5.0, web=5)["status"] == "executed"


def test_a_burst_of_500_calls_is_executed_whole_and_in_order(yard: Yard):
    yard.promises.with_states = False  # the states of 2,000 entries with 500 services take a minute to compare
    calls = [yard.submit(wait_s=None, **{f"s{n}": 1})["service_id"] for n in range(500)]
    yard.until(lambda: all(yard.call(call)["status"] == "executed" for call in calls[-1:]), within_s=30.0)
    yard.settle()
    history = History(yard.promises.raft())
    assert [history.executed[call] for call in calls] == [1] * 500
    indexes = [history.state.call(call).executed_index for call in calls]
    assert indexes == sorted(indexes)
    assert len(yard.state().services()) == 500


def test_waiting_calls_for_one_service_become_one_and_those_for_others_do_not(yard: Yard):
    isolate_all(yard)
    yard.submit(wait_s=None, first=1)
    older = yard.submit(wait_s=None, web=6)["service_id"]
    other = yard.submit(wait_s=None, db=5)["service_id"]
    newer = yard.submit(wait_s=None, web=7)["service_id"]
    yard.heal()
    yard.settle()
    assert {s.name: s.replicas for s in yard.state().services()} == {"first": 1, "web": 7, "db": 5}
    assert yard.call(older)["merged_into"] == newer
    assert [yard.call(call)["status"] for call in (older, other, newer)] == ["executed"] * 3


def test_the_same_idempotency_key_is_the_same_call(yard: Yard):
    body = {"container": {"id": 5, "replicas": 25}}
    first = yard.ask(SubmitServiceCall(body=body, idempotency_key="k", wait_s=5.0))
    yard.submit(**{"id-5": 3})
    again = yard.ask(SubmitServiceCall(body=body, idempotency_key="k", wait_s=5.0))
    assert again == first
    assert sum(yard.placed("id-5").values()) == 3, "the repeated call came too late to change anything"


def test_an_idempotency_key_holds_across_a_crash_of_the_front_door(yard: Yard):
    body = {"container": {"id": 5, "replicas": 25}}
    first = yard.ask(SubmitServiceCall(body=body, idempotency_key="k", wait_s=5.0))
    yard.crash("cluster/0")
    yard.settle()
    again = yard.ask(SubmitServiceCall(body=body, idempotency_key="k", wait_s=5.0))
    assert (again["service_id"], again["log_index"]) == (first["service_id"], first["log_index"])


def test_a_full_queue_says_so_and_takes_calls_again_after_the_heal():
    with Yard(seed=2, queue_limit=10) as yard:
        yard.settle()
        isolate_all(yard)
        calls = [yard.submit(wait_s=None, **{f"s{n}": 1})["service_id"] for n in range(10)]
        with pytest.raises(QueueFull) as caught:
            yard.submit(wait_s=None, one_more=1)
        assert caught.value.retry_after_s >= 1
        yard.heal()
        yard.settle()
        assert [yard.call(call)["status"] for call in calls] == ["executed"] * 10
        assert yard.submit(one_more=1)["status"] == "executed"


@pytest.mark.parametrize("after", range(0, 60, 3))
def test_a_call_is_executed_once_wherever_in_its_life_the_leader_crashes(after: int):
    """The leader crashes when so many messages have been handled since the call came."""
    with Yard(seed=3) as yard:
        yard.settle()
        leader = yard.leader()
        call = yard.later(SubmitServiceCall(body={"container": {"name": "web", "replicas": 10}}))
        for _ in range(after):
            yard.system.step()
        yard.crash_node(leader)
        yard.settle()
        history = History(yard.promises.raft())
        assert history.executed == {call.result()["service_id"]: 1}
        assert sum(yard.placed("web").values()) == 10


@pytest.mark.parametrize("every_ms", range(1, 11))
def test_calls_keep_their_order_while_leadership_is_handed_over(every_ms: int):
    with Yard(seed=4, link=LinkPolicy(delay_s=0.02)) as yard:
        yard.settle()
        yard.later(TransferRequest())
        for number in range(1, 31):
            yard.run(every_ms / 1000)
            yard.later(SubmitServiceCall(body={"container": {"name": "web", "replicas": number}}))
        yard.run(0.1)
        yard.settle()
        assert yard.state().service("web").replicas == 30
        assert len(History(yard.promises.raft()).executed) == 30


def test_a_leader_takes_no_command_before_the_one_that_its_session_sent_ahead_of_it(yard: Yard):
    """The first was refused, say, while leadership was handed over: the second may not overtake it."""
    leader = node_actor("0", yard.leader())

    def send(sequence: int) -> None:
        call = ServiceCall(id=f"c{sequence}", services=(ServiceRequest(name="web", replicas=sequence),))
        message = Submit(
            session="s", sequence=sequence, acknowledged=0, command=encode(SubmitCall(call=call)), reply_to="nobody"
        )
        yard.system.send(leader, message)
        yard.run(0.1)

    send(2)
    assert yard.state().service("web") is None
    send(1)
    send(2)
    assert yard.state().service("web").replicas == 2


def test_the_front_door_starts_anew_when_the_cluster_has_forgotten_it(yard: Yard):
    """Its session expired: service calls have ids, so they are sent again under another one, and none is lost."""
    yard.submit(web=1)
    for node in yard.nodes():
        node._sessions._sessions.clear()
        node._sessions._expired = {yard.front()._courier.session: None}
    calls = [yard.submit(wait_s=None, **{f"s{n}": 1})["service_id"] for n in range(5)]
    yard.settle()
    assert [yard.call(call)["status"] for call in calls] == ["executed"] * 5


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"container": {"id": 5, "replicas": -1}}, "$.container.replicas"),
        ({"container": {"id": 5, "replicas": "many"}}, "$.container.replicas"),
        ({"container": {"id": 5, "replica": 3}}, "$.container.replica"),
        ({}, "$"),
        ([], "$"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused_with_its_path(yard: Yard, body, path):
    with pytest.raises(InvalidRequest) as caught:
        yard.ask(SubmitServiceCall(body=body))
    assert caught.value.path == path and caught.value.hint
    assert yard.picture()["services"] == []


def test_unknown_calls_are_named(yard: Yard):
    with pytest.raises(UnknownCall, match="no service call yet"):
        yard.ask(DescribeCall())
    yard.submit(web=1)
    with pytest.raises(UnknownCall, match="'nope'"):
        yard.ask(DescribeCall(call="nope"))


def test_the_state_shows_the_last_call_and_how_the_load_is_spread(yard: Yard):
    yard.submit(web=99)
    state = yard.ask(DescribeCluster(detail="state"))
    assert state["last_call"]["status"] == "executed"
    assert sum(state["load_distribution"].values()) == 99
    assert sum(node["stats"]["load"] for node in state["nodes"]) == 99


def test_the_services_of_state_are_those_that_the_leader_has_confirmed(yard: Yard, monkeypatch: pytest.MonkeyPatch):
    """Not those of another question to the nodes, which may be late, or answered by one that leads no more."""
    yard.submit(web=3)
    described = Node.describe

    def without_services(node, question):
        return described(node, question) | {"services": []}

    monkeypatch.setattr(Node, "describe", without_services)
    assert [service["name"] for service in yard.picture(detail="state")["services"]] == ["web"]


def with_key(yard: Yard, body: dict[str, object], wait_s: float | None = None) -> dict[str, object]:
    return dict(yard.ask(SubmitServiceCall(body=body, idempotency_key="k", wait_s=wait_s)))


@pytest.mark.parametrize("wait_s", [None, 5.0])
@pytest.mark.parametrize("between", ["nothing", "its end", "another leader", "another front door"])
def test_a_key_that_comes_again_with_another_body_is_refused(yard: Yard, between: str, wait_s: float | None):
    body, other = {"container": {"id": 5, "replicas": 25}}, {"container": {"id": 5, "replicas": 26}}
    first = with_key(yard, body)
    if between != "nothing":
        yard.settle()
    if between == "another leader":
        yard.crash_node(yard.leader())
        yard.settle()
    if between == "another front door":
        yard.crash("cluster/0")
        yard.settle()
    with pytest.raises(InvalidRequest, match="Idempotency-Key came before with another body") as caught:
        with_key(yard, other, wait_s)
    assert "another key" in caught.value.hint
    again = with_key(yard, {"container": {"replicas": 25, "id": 5}}, wait_s)
    assert again["service_id"] == first["service_id"], "the order of fields is no other body"
    yard.settle()
    assert sum(yard.placed("id-5").values()) == 25


def test_a_key_whose_call_no_leader_has_yet_is_refused_with_another_body_too(yard: Yard):
    isolate_all(yard)
    yard.run(3.0)
    first = with_key(yard, {"container": {"id": 5, "replicas": 25}})
    with pytest.raises(InvalidRequest):
        with_key(yard, {"container": {"id": 5, "replicas": 26}})
    assert with_key(yard, {"container": {"id": 5, "replicas": 25}})["service_id"] == first["service_id"]
    yard.heal()
    yard.settle()
    assert sum(yard.placed("id-5").values()) == 25
