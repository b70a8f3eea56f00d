"""Service calls in line: one at a time, in order, each once, merged only while they wait."""

import pytest
from test_state_machine import Log

from raftyard.actors.state import call_queue, commands as c
from raftyard.actors.state.calls import service_requests
from raftyard.actors.state.machine import ClusterState


def line(log):
    return [call.id for call in log.state.pending_calls()]


def test_the_oldest_call_is_spreading_and_the_others_wait():
    log = Log(nodes=1)
    log.submit(web=1)
    log.submit(api=1)
    assert [call.status for call in log.state.pending_calls()] == ["spreading", "spreading pending"]
    assert log.state.head().id == "call-1"
    log.execute(starts=[(1, 1, 0)])
    assert log.state.head().id == "call-2"
    assert log.state.head().status == "spreading"


def test_a_call_knows_its_own_entry_and_the_one_that_carried_it_out():
    log = Log(nodes=2)
    submitted = log.submit(web=5).call
    done = log.execute(starts=[(1, 3, 0), (4, 2, 1)]).call
    assert (submitted.log_index, done.executed_index) == (3, 4)
    assert done.status == "executed"
    assert done.load_distribution == (("n0", 3), ("n1", 2))
    assert log.state.last_call() == done


def test_a_call_is_carried_out_once_however_often_it_is_tried():
    log = Log(nodes=1)
    log.submit(web=2)
    log.submit(web=3)
    late = c.ExecuteCall(call_id="call-1", term=1, made_at=1, plan=c.Plan())
    assert log.do(late).ok
    again = log.do(late)
    assert (again.duplicate, again.call.executed_index) == (True, log.index - 1)
    assert line(log) == ["call-2"]


def test_a_call_out_of_turn_is_refused():
    log = Log(nodes=1)
    log.submit(web=1)
    log.submit(api=1)
    assert log.execute(call="call-2").code == "not-the-oldest"
    assert log.execute(call="nobody").code == "not-the-oldest"


def test_the_same_id_or_idempotency_key_yields_the_first_call():
    log = Log(nodes=1)
    first = log.submit(id="a", key="k", web=5)
    for again in (log.submit(id="a", web=9), log.submit(id="b", key="k", web=9)):
        assert again.duplicate and not again.queue
        assert again.call == first.call
    log.execute()
    assert log.submit(id="c", key="k", web=9).call.status == "executed"
    assert line(log) == []


def test_calls_without_a_key_are_not_the_same():
    log = Log(nodes=1)
    log.submit(web=1)
    assert not log.submit(api=1).duplicate
    log.submit(key="", other=1)
    assert not log.submit(last=1).duplicate


def test_a_waiting_call_is_merged_with_a_newer_one_for_its_services():
    log = Log(nodes=1)
    log.submit(other=1)
    log.submit(web=1)
    log.submit(web=2)
    log.submit(api=1)
    assert log.submit(web=3).call.absorbed == ("call-2", "call-3")
    assert [call.merged_into for call in log.state.pending_calls()] == [None, "call-5", "call-5", None, None]
    assert [log.execute(call=id).ok for id in ("call-1", "call-4", "call-5")] == [True] * 3
    older = [log.state.call(id) for id in ("call-2", "call-3")]
    assert [(call.status, call.executed_index) for call in older] == [("executed", log.index)] * 2
    assert log.state.service("web").replicas == 3
    assert log.state.service("web").version == 1


@pytest.mark.parametrize(
    ("said", "said_after", "is_merged"),
    [
        ({}, {}, True),
        ({"slots": 3}, {}, False),
        ({"slots": 3}, {"slots": 2}, True),
        ({"label": "the shop"}, {}, False),
        ({"cluster": {}}, {}, False),
        ({}, {"slots": 3, "label": "the shop"}, True),
    ],
)
def test_a_waiting_call_is_not_merged_with_a_newer_one_that_says_less(said, said_after, is_merged):
    log = Log(nodes=1)
    log.submit(other=1)
    for id, fields in (("older", said), ("newer", said_after)):
        services = service_requests({"container": {"name": "web", "replicas": 2, **fields}})
        log.do(c.SubmitCall(call=c.ServiceCall(id=id, services=services)))
    assert (log.state.call("older").merged_into == "newer") is is_merged


def test_the_call_being_worked_on_is_never_merged():
    log = Log(nodes=1)
    log.submit(web=1)
    log.submit(web=2)
    assert log.state.head().id == "call-1"
    assert log.state.head().merged_into is None


def test_calls_for_different_services_are_never_merged():
    log = Log(nodes=1)
    log.submit(first=0)
    log.submit(**{"id-6": 1})
    log.submit(**{"id-7": 1})
    log.submit(a=1, b=1)
    log.submit(b=2, c=2)
    assert all(call.merged_into is None for call in log.state.pending_calls())
    log.submit(a=3, b=3, c=3)
    assert [call.merged_into for call in log.state.pending_calls()][3:] == ["call-6", "call-6", None]


def test_a_full_queue_refuses_and_forgets_nothing(monkeypatch):
    monkeypatch.setattr(c, "MAX_QUEUED_CALLS", 3)
    log = Log(nodes=1)
    for number in range(3):
        log.submit(**{f"s{number}": 1})
    refused = log.submit(more=1)
    assert (refused.ok, refused.code) == (False, "queue-full")
    assert line(log) == ["call-1", "call-2", "call-3"]
    log.execute()
    assert log.submit(more=1).ok


@pytest.mark.parametrize(
    "services",
    [
        (),
        (c.ServiceRequest(name="a", replicas=1), c.ServiceRequest(name="a", replicas=2)),
        (c.ServiceRequest(name="a", replicas=-1),),
        (c.ServiceRequest(name="a", replicas=10_000_001),),
        (c.ServiceRequest(name="a", replicas=1, slots_per_replica=0),),
    ],
)
def test_a_call_that_the_edge_should_have_refused_is_refused_here_too(services):
    outcome = Log().do(c.SubmitCall(call=c.ServiceCall(id="x", services=services)))
    assert (outcome.code, outcome.queue) == ("invalid", False)


def test_a_call_that_a_leader_gives_up_is_failed_and_the_next_one_is_worked():
    log = Log(nodes=1)
    log.submit(web=1)
    log.submit(api=1)
    assert log.do(c.FailCall(call_id="call-1", term=2, reason="r")).code == "stale-term"
    assert log.do(c.FailCall(call_id="call-2", term=1, reason="r")).code == "not-the-oldest"
    call = log.do(c.FailCall(call_id="call-1", term=1, reason="the plan failed")).call
    assert (call.status, call.reason) == ("failed", "the plan failed")
    assert log.state.head().id == "call-2"


def test_the_same_service_again_sets_its_replicas_and_zero_removes_them():
    log = Log(nodes=1)
    log.run(3, (1, 3, 0))
    log.submit(web=0)
    call = log.execute(stops=[(1, 3)]).call
    assert (call.placed, call.pending, call.load_distribution) == (0, 0, ())
    assert log.state.service("web").replicas == 0
    assert log.state.service("web").version == 2


def test_only_the_newest_finished_calls_are_kept(monkeypatch):
    monkeypatch.setattr(call_queue, "FINISHED_KEPT", 3)
    monkeypatch.setattr(call_queue, "SHARES_KEPT", 2)
    log = Log(nodes=1)
    for number in range(5):
        log.submit(key=f"key-{number}", web=number + 1)
        log.execute(starts=[(number + 1, 1, 0)])
    assert [call.id for call in log.state.finished_calls()] == ["call-3", "call-4", "call-5"]
    assert [len(call.load_distribution) for call in log.state.finished_calls()] == [0, 1, 1]
    assert log.state.call("call-1") is None
    assert not log.submit(key="key-0", web=9).duplicate
    assert {name: call.id for name, call in log.state.newest_calls().items()} == {"web": "call-6"}
    copy = ClusterState()
    copy.restore(log.state.snapshot())
    assert copy.finished_calls() == log.state.finished_calls()


def test_the_newest_call_for_each_service_is_remembered(monkeypatch):
    monkeypatch.setattr(call_queue, "FINISHED_KEPT", 2)
    log = Log(nodes=1)
    log.submit(web=1, api=1)
    log.submit(web=2)
    log.submit(db=1)
    assert {name: call.id for name, call in log.state.newest_calls().items()} == {
        "api": "call-1",
        "web": "call-2",
        "db": "call-3",
    }
    for _ in range(3):
        log.execute()
    assert sorted(log.state.newest_calls()) == ["db", "web"]
