"""The state as it is shown: what is there, and what is asked for."""

from test_state_machine import Log

from raftyard.actors.state import commands as c, views
from raftyard.actors.state.machine import ClusterState


def shown(state):
    return {view["name"]: view["status"] for view in views.services(state, str)}


def test_a_service_whose_call_waits_is_shown_and_one_that_was_removed_is_not():
    log = Log(nodes=1)
    log.submit(web=1, api=1)
    log.submit(db=2)
    assert shown(log.state) == {"web": "spreading", "api": "spreading", "db": "spreading pending"}
    assert set(views.load_table(log.state, str)) == {"call-1", "call-2"}
    for _ in range(2):
        log.execute()
    log.do(c.RemoveService(name="web"))
    log.do(c.RemoveService(name="db"))
    copy = ClusterState()
    copy.restore(log.state.snapshot())
    for state in (log.state, copy):
        assert shown(state) == {"api": "executed"}
        assert set(views.load_table(state, str)) == {"call-1"}


def test_a_removed_service_that_a_waiting_call_asks_for_again_is_shown():
    log = Log(nodes=1)
    log.submit(web=1)
    log.execute()
    log.do(c.RemoveService(name="web"))
    log.submit(web=2)
    [view] = views.services(log.state, str)
    assert (view["status"], view["pending"]) == ("spreading", 2)
