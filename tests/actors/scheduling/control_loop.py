"""A log, the state that applies it, and the leader's loop, without any actor: plan, apply, repeat."""

import msgspec

from raftyard.actors.scheduling.reconcile import plan_call, plan_repair
from raftyard.actors.state import commands as c
from raftyard.actors.state.calls import service_requests
from raftyard.actors.state.machine import ClusterState
from raftyard.actors.state.node_reading import read_node
from raftyard.actors.state.runs import report_updates
from raftyard.actors.state.spec_reading import read_spec
from raftyard.actors.state.task_states import TaskState


class ControlLoop:
    """Every command goes through its bytes, and every promise of the state is checked after it."""

    def __init__(self, nodes=0, capacity=100):
        self.state, self.index, self.term, self.calls = ClusterState(), 0, 1, 0
        for number in range(nodes):
            self.add(f"n{number}", capacity)

    def do(self, command):
        self.index += 1
        outcome = self.state.apply(self.index, self.term, c.decode(c.encode(command)))
        self.state.check()
        # The session table keeps outcomes, and the event log is JSON.
        assert msgspec.json.encode(outcome) and msgspec.msgpack.encode(outcome)
        return outcome

    def add(self, name, capacity=100):
        return self.do(c.AddNode(name=name, host="localhost", port=None, capacity=capacity))

    def remove(self, name):
        return self.do(c.RemoveNode(name=name))

    def status(self, name, status):
        return self.do(c.SetNodeStatus(name=name, status=status, term=self.term))

    def put(self, name="web", version=None, **spec):
        """A service by the JSON of its spec."""
        return self.do(
            c.PutService(name=name, spec=read_spec(spec, name=name), version=version, keeps_on_nodes=True)
        )

    def node(self, name, **body):
        """A node's availability, labels, resources."""
        return self.do(read_node(name, body))

    def pass_time(self, seconds):
        return self.do(c.PassTime(term=self.term, clock_ms=self.state.clock_ms() + round(seconds * 1000)))

    def submit(self, size=1, **replicas):
        self.calls += 1
        services = tuple(
            c.ServiceRequest(name=name, replicas=count, slots_per_replica=size)
            for name, count in replicas.items()
        )
        return self.do(c.SubmitCall(call=c.ServiceCall(id=f"call-{self.calls}", services=services)))

    def next_command(self):
        """What a leader would propose now; None at rest."""
        head = self.state.head()
        if head is not None:
            plan = plan_call(self.state, head)
            return c.ExecuteCall(call_id=head.id, term=self.term, made_at=self.index, plan=plan)
        repair = plan_repair(self.state)
        return repair and c.PlaceTasks(term=self.term, made_at=self.index, plan=repair)

    def settle(self):
        """Repeat until there is nothing to do; the outcomes on the way."""
        outcomes = []
        while (command := self.next_command()) is not None:
            outcomes.append(self.do(command))
            assert len(outcomes) < 100, "the loop does not come to rest"
        return outcomes

    def ask(self, size=1, **replicas):
        self.submit(size, **replicas)
        return self.settle()[0].call

    def call(self, **body):
        """A service call by its JSON, carried out."""
        self.calls += 1
        call = c.ServiceCall(id=f"call-{self.calls}", services=service_requests(body))
        self.do(c.SubmitCall(call=call))
        return self.settle()[0].call

    def all_run(self, node):
        """The node's agent reports that everything it was assigned is running, and the rest stopped."""
        tasks = self.state.tasks_of(node)
        wanted = {
            task.id: TaskState.RUNNING if task.desired == TaskState.RUNNING else TaskState.SHUTDOWN
            for task in tasks
        }
        incarnation = max(1, self.state.node(node).incarnation)
        return self.do(
            c.ReportTasks(node=node, incarnation=incarnation, updates=report_updates(wanted.items()))
        )

    def tasks(self, service="web"):
        """{slot: (node name, task id)} of what is wanted running."""
        return {
            task.slot: (task.node, task.id)
            for task in self.state.tasks_of_service(service)
            if task.desired == TaskState.RUNNING
        }
