"""Rolling updates: so many at a time, watched, paused or rolled back when they fail, whatever happens on the way."""

import pytest
from control_loop import ControlLoop

from raftyard.actors.state import commands as c
from raftyard.actors.state.machine import ClusterState
from raftyard.actors.state.runs import report_updates
from raftyard.actors.state.spec_reading import read_spec
from raftyard.actors.state.task_states import TaskState


class Loop(ControlLoop):
    """`web` of ten replicas of image `a`, all running."""

    def __init__(self, nodes=3, capacity=100, **spec):
        super().__init__(nodes, capacity)
        self.spec = {"replicas": 10, "image": "a", **spec}
        self.put(**self.spec)
        self.settle()
        self.agents()

    def agents(self, fails=()):
        """Every agent reports: tasks of the images in `fails` fail, all others run."""
        template = self.state.service("web").template
        for node in self.state.nodes():
            if node.status != "ready":
                continue
            states = []
            for task in self.state.tasks_of(node.name):
                image = self.images().get(task.version)
                state = TaskState.FAILED if image in fails else TaskState.RUNNING
                states.append((task.id, state if task.desired == TaskState.RUNNING else TaskState.SHUTDOWN))
            self.do(c.ReportTasks(node=node.name, incarnation=1, updates=report_updates(states)))
        return template

    def images(self):
        """The image of each template, by its number."""
        return dict(self.made)

    def put(self, name="web", version=None, **spec):
        outcome = super().put(name, version, **spec)
        self.made = [*getattr(self, "made", []), (self.state.service(name).template, spec.get("image"))]
        return outcome

    def update(self, image="b", **spec):
        self.put(**self.spec | spec | {"image": image})

    def round(self, seconds=1.0, fails=()):
        self.settle()
        self.agents(fails)
        self.pass_time(seconds)
        self.settle()

    def of(self, image):
        """How many of that image are wanted running."""
        return sum(self.images()[version] == image for version in self.state.wanted("web").versions.tolist())

    @property
    def how(self):
        update = self.state.service("web").update
        return None if update is None else update.state

    def until_rest(self, seconds=1.0, fails=(), most=60):
        for _ in range(most):
            self.round(seconds, fails)
            if self.how not in ("updating", "rollback_started"):
                return
        raise AssertionError(f"still {self.how}")


def test_one_replica_at_a_time_and_the_next_when_it_runs():
    loop = Loop()
    loop.update()
    loop.settle()
    for replaced in range(1, 10):
        assert (loop.of("b"), loop.of("a")) == (replaced, 10 - replaced)
        assert loop.settle() == [], "the new one does not run yet"
        loop.agents()
        loop.settle()
    assert loop.how == "updating"
    loop.until_rest()
    assert (loop.how, loop.of("b")) == ("completed", 10)


def test_as_many_at_a_time_as_parallelism_says_and_zero_is_all():
    loop = Loop(update={"parallelism": 4})
    loop.update()
    loop.settle()
    assert (loop.of("b"), loop.of("a")) == (4, 6)
    loop = Loop(update={"parallelism": 0})
    loop.update()
    loop.settle()
    assert loop.of("b") == 10


def test_the_delay_passes_between_one_and_the_next():
    loop = Loop(update={"delay_s": 10})
    loop.update()
    loop.round(9.9)
    assert loop.of("b") == 1
    loop.pass_time(0.1)
    loop.settle()
    assert loop.of("b") == 2


def test_an_update_is_complete_when_the_last_replica_was_watched_for_long_enough():
    loop = Loop(replicas=1, update={"monitor_s": 7})
    loop.update()
    loop.round(0)
    assert loop.how == "updating"
    loop.pass_time(6.9)
    assert loop.how == "updating"
    assert not loop.state.waits_for_time(loop.state.clock_ms() + 99)
    assert loop.state.waits_for_time(loop.state.clock_ms() + 100)
    loop.pass_time(0.1)
    assert loop.how == "completed"


def test_start_first_never_has_fewer_than_were_asked_for():
    loop = Loop(update={"order": "start-first", "parallelism": 2})
    loop.update()
    for _ in range(12):
        loop.settle()
        running = loop.state.wanted("web").states == TaskState.RUNNING
        assert running.sum() >= 10 and running.size <= 12
        loop.agents()
        loop.pass_time(1)
    loop.until_rest()
    assert (loop.how, loop.of("b"), loop.state.service("web").placed) == ("completed", 10, 10)


@pytest.mark.parametrize("order", ["stop-first", "start-first"])
def test_a_bad_version_is_paused_and_goes_no_further(order):
    loop = Loop(update={"order": order}, restart={"delay_s": 1})
    loop.update()
    loop.until_rest(fails=("b",))
    assert loop.how == "paused"
    assert loop.of("a") >= 9
    for _ in range(5):
        loop.round(fails=("b",))
    assert (loop.how, loop.of("a")) == ("paused", loop.of("a"))
    loop.update("c")
    loop.until_rest()
    assert (loop.how, loop.of("c")) == ("completed", 10)


@pytest.mark.parametrize("order", ["stop-first", "start-first"])
def test_a_bad_version_is_rolled_back_and_what_was_not_touched_stays(order):
    loop = Loop(update={"failure_action": "rollback", "order": order})
    before = loop.tasks()
    loop.update(update={"failure_action": "rollback", "order": order})
    loop.until_rest(fails=("b",))
    assert (loop.how, loop.of("a")) == ("rollback_completed", 10)
    assert loop.state.service("web").spec.image == "a"
    assert loop.state.service("web").version == 3
    kept = [slot for slot, task in loop.tasks().items() if before.get(slot) == task]
    assert len(kept) >= 9


@pytest.mark.parametrize("action", ["pause", "rollback"])
def test_start_first_given_up_in_the_middle_leaves_what_ran_before_wherever_it_is(action):
    """The new node has all of the bad ones, and the most room: the full nodes are not relieved of the good ones."""
    update = {"order": "start-first", "parallelism": 0, "failure_action": action}
    loop = Loop(nodes=2, capacity=20, update=update)
    loop.add("n2", 40)
    before = loop.tasks()
    loop.update()
    loop.settle()
    assert (loop.of("a"), loop.of("b")) == (10, 10)
    node, task = loop.tasks()[11]
    loop.do(c.ReportTasks(node=node, incarnation=1, updates=report_updates([(task, TaskState.FAILED)])))
    loop.settle()
    assert loop.how == ("paused" if action == "pause" else "rollback_started")
    assert loop.tasks() == before
    for _ in range(20):
        loop.round(fails=("b",))
    assert loop.tasks() == before


def test_start_first_back_to_a_version_that_fails_leaves_what_runs():
    loop = Loop(nodes=2, capacity=20, rollback={"order": "start-first", "parallelism": 0})
    loop.update(update={"parallelism": 0, "monitor_s": 0})
    loop.until_rest()
    loop.add("n2", 40)
    before = loop.tasks()
    assert loop.do(c.RollBackService(name="web")).ok
    loop.settle()
    assert (loop.of("a"), loop.of("b")) == (10, 10)
    slot = next(slot for slot in loop.tasks() if slot not in before)
    node, task = loop.tasks()[slot]
    loop.do(c.ReportTasks(node=node, incarnation=1, updates=report_updates([(task, TaskState.FAILED)])))
    loop.settle()
    assert loop.how == "rollback_paused"
    assert loop.tasks() == before


def test_that_a_version_is_rolled_back_is_told_with_why():
    loop = Loop(update={"failure_action": "rollback"})
    loop.update()
    loop.round(fails=("b",))
    happened = [event for one in loop.state.untold.since(0) for event in one.events]
    told = [event.data["message"] for event in happened if event.data.get("state") == "rollback_started"]
    assert told == ["1 of 10 replicas failed; rolled back"]
    assert loop.state.service("web").update.message == told[0]


def test_a_rollback_that_fails_is_not_rolled_back_but_paused():
    loop = Loop(update={"failure_action": "rollback", "parallelism": 3})
    loop.update()
    loop.round(fails=("b",))
    assert loop.how == "rollback_started"
    loop.until_rest(fails=("a", "b"))
    assert loop.how == "rollback_paused"


def test_some_may_fail_and_continue_takes_no_notice():
    loop = Loop(update={"max_failure_ratio": 0.2, "parallelism": 2}, restart={"delay_s": 0})
    loop.update()
    loop.round(fails=("b",))
    assert (loop.how, loop.state.service("web").update.failures) == ("updating", 2)
    loop.round(fails=("b",))
    assert loop.how == "paused"
    loop = Loop(update={"failure_action": "continue"}, restart={"delay_s": 0})
    loop.update()
    for _ in range(4):
        loop.round(fails=("b",))
    loop.until_rest()
    assert (loop.how, loop.of("b")) == ("completed", 10)


def test_what_fails_after_it_was_watched_is_no_failure_of_the_update():
    loop = Loop(replicas=3, update={"monitor_s": 1}, restart={"delay_s": 0})
    loop.update()
    loop.round(5)
    node, task = loop.tasks()[1]
    assert loop.images()[loop.state.wanted("web").versions.tolist()[0]] == "b"
    loop.do(c.ReportTasks(node=node, incarnation=1, updates=report_updates([(task, TaskState.FAILED)])))
    assert loop.how == "updating"
    loop.until_rest()
    assert loop.how == "completed"


def test_the_same_spec_again_ends_a_pause():
    loop = Loop(restart={"delay_s": 1})
    loop.update()
    loop.until_rest(fails=("b",))
    assert loop.how == "paused"
    loop.put(**loop.spec | {"image": "b"})
    assert loop.how == "updating"
    loop.until_rest()
    assert (loop.how, loop.of("b")) == ("completed", 10)


def test_only_what_a_replica_is_made_from_starts_an_update():
    loop = Loop()
    before = loop.tasks()
    loop.put(**loop.spec | {"labels": {"a": "b"}, "replicas": 11})
    loop.settle()
    assert loop.how is None
    assert before.items() <= loop.tasks().items()
    loop.put(**loop.spec | {"force_update": 1})
    assert loop.how == "updating"


def test_a_user_rolls_back_to_the_spec_before_and_to_any_that_is_kept():
    loop = Loop(update={"parallelism": 0})
    for image in "bc":
        loop.update(image)
        loop.until_rest()
    assert loop.do(c.RollBackService(name="web", version=2)).code == "stale-version"
    assert loop.do(c.RollBackService(name="web", to_version=9)).code == "no-earlier"
    assert loop.do(c.RollBackService(name="nobody")).code == "unknown-service"
    assert loop.do(c.RollBackService(name="web")).ok
    loop.until_rest()
    assert (loop.how, loop.state.service("web").spec.image, loop.of("b")) == ("rollback_completed", "b", 10)
    assert loop.do(c.RollBackService(name="web")).code == "no-earlier", "one level"
    assert loop.do(c.RollBackService(name="web", to_version=1)).ok
    loop.made.append((loop.state.service("web").template, "a"))
    loop.until_rest()
    assert (loop.state.service("web").spec.image, loop.of("a")) == ("a", 10)


@pytest.mark.parametrize(("is_older", "way_back"), [(False, "a"), (True, None)])
def test_a_rollback_to_a_spec_of_the_same_image_keeps_the_way_back_but_for_one_of_an_older_log(is_older, way_back):
    loop = Loop(update={"parallelism": 0})
    loop.update()
    loop.until_rest()
    loop.update(replicas=12)
    loop.settle()
    before = loop.state.service("web").update
    assert loop.do(c.RollBackService(name="web", to_version=2, spares_same=not is_older)).ok
    loop.settle()
    service = loop.state.service("web")
    assert (service.version, service.replicas, loop.of("b")) == (4, 10, 10)
    assert (service.update == before) is not is_older
    outcome = loop.do(c.RollBackService(name="web", spares_same=True))
    assert (loop.state.service("web").spec.image if outcome.ok else None) == way_back


def test_an_update_goes_on_with_a_new_leader_a_member_made_anew_and_a_lost_node():
    loop = Loop(update={"parallelism": 2})
    loop.update()
    loop.round()
    copy = ClusterState()
    copy.restore(loop.state.snapshot())
    loop.state, loop.term = copy, 2
    loop.status("n1", "down")
    loop.until_rest()
    assert (loop.how, loop.of("b"), loop.state.service("web").placed) == ("completed", 10, 10)


def test_a_service_on_a_host_port_is_updated_where_it_is():
    loop = Loop(replicas=3, ports=[{"published": 80}])
    loop.update()
    loop.until_rest()
    assert (loop.how, loop.of("b")) == ("completed", 3)


def test_a_global_service_is_updated_node_by_node():
    loop = ControlLoop(nodes=3)
    loop.put("logs", mode="global", image="a", update={"monitor_s": 1})
    for _ in range(2):
        loop.settle()
        for node in ("n0", "n1", "n2"):
            loop.all_run(node)
    loop.put("logs", mode="global", image="b", update={"monitor_s": 1})
    loop.settle()
    assert sorted(loop.state.wanted("logs").versions.tolist()) == [1, 1, 2]
    for _ in range(6):
        for node in ("n0", "n1", "n2"):
            loop.all_run(node)
        loop.pass_time(2)
        loop.settle()
    assert loop.state.wanted("logs").versions.tolist() == [2, 2, 2]
    assert loop.state.service("logs").update.state == "completed"


@pytest.mark.parametrize("is_older", [False, True])
def test_a_paused_node_keeps_its_replica_of_a_global_service_through_an_update_but_in_an_older_log(is_older):
    loop = ControlLoop(nodes=3)

    def put(image):
        spec = read_spec({"mode": "global", "image": image, "update": {"monitor_s": 1}})
        loop.do(c.PutService(name="logs", spec=spec, keeps_on_nodes=not is_older))

    def rounds():
        for _ in range(6):
            loop.settle()
            for node in ("n0", "n1", "n2"):
                loop.all_run(node)
            loop.pass_time(2)
        return loop.state.service("logs")

    put("a")
    rounds()
    loop.node("n0", availability="pause")
    before = loop.tasks("logs")[1]
    put("b")
    service = rounds()
    assert (service.update.state, service.misplaced, service.pending) == ("completed", 0, 0)
    assert sorted(loop.state.wanted("logs").versions.tolist()) == ([2, 2] if is_older else [1, 2, 2])
    assert loop.tasks("logs").get(1) == (None if is_older else before)
    loop.node("n0", availability="active")
    rounds()
    assert loop.state.wanted("logs").versions.tolist() == [2, 2, 2], "it is replaced once the node takes load again"


def test_start_first_does_not_ask_for_slots_that_were_given_up():
    """The state would refuse them, and the same plan would be made for ever."""
    loop = Loop(restart={"max_attempts": 1, "delay_s": 0})
    update = {"order": "start-first", "parallelism": 2, "failure_action": "continue", "monitor_s": 0}
    loop.update(update=update)
    for _ in range(6):
        loop.round(fails=("b",))
    given_up = loop.state.service("web").done
    assert given_up > 0
    for _ in range(20):
        loop.round()
    assert (loop.of("a"), loop.of("b")) == (0, 10 - loop.state.service("web").done)


def test_a_job_never_runs_more_than_it_may_at_a_time_also_while_it_is_replaced():
    spec = {"mode": "replicated-job", "max_concurrent": 3, "update": {"order": "start-first", "parallelism": 0}}
    loop = Loop(**spec)
    assert loop.of("a") == 3
    loop.update()
    for _ in range(5):
        loop.round()
        assert loop.of("a") + loop.of("b") <= 3
    assert (loop.of("a"), loop.of("b")) == (0, 3)


def test_a_job_that_runs_few_at_a_time_leaves_a_node_that_drains_gently():
    """Those whose turn has not come are not on the move."""
    loop = Loop(nodes=1, mode="replicated-job", max_concurrent=2)
    loop.add("n1")
    loop.node("n0", availability="drain", drain={"max_parallel": 1})
    for _ in range(4):
        loop.round()
    assert [loop.state.load_of(node) for node in ("n0", "n1")] == [0, 2]


def test_the_update_of_a_job_is_complete_when_as_many_run_as_may_though_others_wait_for_their_turn():
    loop = Loop(mode="replicated-job", update={"parallelism": 0, "monitor_s": 0})
    loop.status("n2", "down")
    assert loop.state.service("web").lost == 3
    loop.update(max_concurrent=2)
    for _ in range(5):
        loop.round()
    assert loop.of("b") == 2
    assert loop.how == "completed"
    assert loop.state.service("web").lost == 1


def test_an_update_is_complete_though_a_slot_waits_whose_place_others_have_taken():
    update = {"order": "start-first", "parallelism": 0, "failure_action": "continue", "monitor_s": 0}
    loop = Loop(replicas=2, restart={"delay_s": 1_000}, update=update)
    loop.update()
    loop.settle()
    new = loop.state.service("web").template
    failed, *_ = [task for node in ("n0", "n1", "n2") for task in loop.state.tasks_of(node) if task.version == new]
    updates = report_updates([(failed.id, TaskState.FAILED)])
    loop.do(c.ReportTasks(node=failed.node, incarnation=1, updates=updates))
    for _ in range(10):
        loop.round()
    assert (loop.of("a"), loop.of("b"), loop.how) == (0, 2, "completed")
    loop.update("b", replicas=0)
    loop.settle()
    assert loop.state.service("web").placed == 0
    assert not loop.state.unsettled()
