"""Random stories of a cluster, told from a seed: what happens to it, then peace, then what it must have become.

`python tests/actors/story.py SEED` tells one story step by step.
"""

from __future__ import annotations

import random
import sys
from typing import Any

from yard import History, Yard

from raftyard.actors.messages import (
    AddNodeRequest,
    ChangeService,
    LinkPolicy,
    RemoveNodeRequest,
    RemoveService,
    RollBackService,
    SetConnections,
    SetLinkPolicyRequest,
    SubmitServiceCall,
    TransferRequest,
    UpdateNodeRequest,
    agent_actor,
    cluster_actor,
    link_actor,
)
from raftyard.actors.raft.config import RaftConfig
from raftyard.actors.state import commands
from raftyard.actors.system import Virtual

SERVICES = ("web", "db", "cache", "queue", "mail")
NAMED = ("everywhere", "shop", "search")
MOST_NODES, FEWEST_NODES, CRASHES_EACH = 8, 3, 2


class Story:
    """One story. What happens is drawn from the seed alone."""

    def __init__(self, seed: int, steps: int = 30, **virtual: Any) -> None:
        self.seed = seed
        self.random = random.Random(f"story/{seed}")
        self.told: list[str] = []
        self.steps = steps
        self.is_wild = self.random.random() < 0.2  # also the front door and the orchestrator crash
        nodes = self.random.choice((3, 4, 5, 5, 5, 7))
        self.yard = Yard(
            Virtual(seed=seed, raise_crashes=True, **virtual),
            nodes=nodes,
            capacity=self.random.choice((20, 40, 1000)),
            link=self._policy() if self.random.random() < 0.3 else LinkPolicy(),
            raft=self._raft_config(),
        )
        self.promised: dict[str, dict[str, int]] = {}
        self.unsure: set[str] = set()
        self.crashes: dict[str, int] = {}
        self.answers: list[Any] = []

    def _raft_config(self) -> RaftConfig:
        """Mostly with snapshots so often, and in pieces so small, that members live by them."""
        if self.random.random() < 0.3:
            return RaftConfig()
        return RaftConfig(
            snapshot_entries=self.random.choice((1, 7, 40)),
            keep_entries=self.random.choice((0, 3, 30)),
            snapshot_chunk_bytes=(chunk := self.random.choice((200, 1_000, 1 << 18))),
            max_snapshot_inflight_bytes=chunk * self.random.choice((1, 4)),
        )

    def play(self) -> Yard:
        """Tell the whole story and check the account; raises AssertionError where a promise is broken."""
        with self.yard as yard:
            yard.run(self.random.uniform(0.0, 2.0))
            actions = self._actions()
            for _ in range(self.steps):
                action = self.random.choices([a for a, _ in actions], [weight for _, weight in actions])[0]
                action()
                yard.run(self.random.choice((0.0, 0.01, 0.1, 0.3, 1.0)) * self.random.random())
            yard.heal()
            # The smallest pieces over a wire that loses a fifth take half a minute for one snapshot.
            yard.settle(within_s=90.0)
            self._account()
            return yard

    def _actions(self) -> list[tuple[Any, int]]:
        actions = [
            (self._submit, 10),
            (self._cut_one, 4),
            (self._isolate, 2),
            (self._isolate_leader, 2),
            (self._silence, 2),
            (self._partition, 2),
            (self._heal, 4),
            (self._worsen, 2),
            (self._put_service, 6),
            (self._scale_service, 2),
            (self._roll_back, 1),
            (self._remove_service, 1),
            (self._change_node, 3),
            (self._crash_node, 3),
            (self._crash_agent, 1),
            (self._crash_link, 1),
            (self._add, 2),
            (self._remove, 2),
            (self._transfer, 1),
        ]
        return [*actions, (self._crash_front, 1), (self._crash_orchestrator, 1)] if self.is_wild else actions

    # -- what may happen

    def _tell(self, what: str) -> None:
        self.told.append(f"{self.yard.now:9.4f} {what}")

    def _one(self) -> str:
        return self.random.choice(self.yard.names())

    def _some_pair(self) -> list[tuple[str, str]]:
        """One direction, or none where a single node is left."""
        names = self.yard.names()
        if len(names) < 2:
            return []
        source, target = self.random.sample(names, 2)
        return [(source, target)]

    def _submit(self) -> None:
        for _ in range(self.random.choice((1, 1, 2, 5))):
            names = self.random.sample(SERVICES, self.random.choice((1, 1, 2)))
            wanted = {name: self.random.choice((0, 1, 3, 10, 30, 60)) for name in names}
            size = self.random.choice((1, 1, 1, 2, 3))
            body = {"containers": [{"name": n, "replicas": many, "slots": size} for n, many in wanted.items()]}
            answer = self.yard.ask(SubmitServiceCall(body=body))
            self._tell(f"submit {answer['service_id']} {wanted} slots={size}")
            self.promised[answer["service_id"]] = wanted

    def _put_service(self) -> None:
        """A service of its own name, so that calls and specs have an account each."""
        name, draw = self.random.choice(NAMED), self.random
        spec: dict[str, Any] = {"image": draw.choice("abc"), "restart": {"delay_s": draw.choice((0.5, 2))}}
        if name == "everywhere":
            spec["mode"] = "global"
        else:
            spec["replicas"] = draw.choice((0, 1, 4, 9))
        if draw.random() < 0.3:
            spec["placement"] = {"constraints": [f"node.labels.zone {draw.choice(('==', '!='))} {draw.choice('ab')}"]}
        if draw.random() < 0.3:
            spec["ports"] = [{"published": 80}]
        if draw.random() < 0.5:
            spec["update"] = {
                "parallelism": draw.choice((0, 1, 3)),
                "monitor_s": draw.choice((0, 1)),
                "failure_action": draw.choice(("pause", "continue", "rollback")),
                "order": draw.choice(("stop-first", "start-first")),
            }
        if draw.random() < 0.2:
            spec["simulate"] = {"start_s": draw.choice((0, 0.3)), "fails_to_start": draw.random() < 0.5}
            spec["restart"] = {"delay_s": 0.2, "max_attempts": 2}
        self._tell(f"put {name} {spec}")
        self.yard.later(ChangeService(service=name, body=spec))

    def _scale_service(self) -> None:
        name, many = self.random.choice(NAMED[1:]), self.random.choice((0, 2, 7))
        self._tell(f"patch {name} replicas={many}")
        self.yard.later(ChangeService(service=name, body={"replicas": many}, is_patch=True))

    def _roll_back(self) -> None:
        name = self.random.choice(NAMED)
        self._tell(f"roll back {name}")
        self.yard.later(RollBackService(service=name))

    def _remove_service(self) -> None:
        name = self.random.choice(NAMED)
        self._tell(f"remove service {name}")
        self.yard.later(RemoveService(service=name))

    def _change_node(self) -> None:
        body: dict[str, Any] = {}
        if self.random.random() < 0.5:
            body["labels"] = {"zone": self.random.choice("abc")}
        if self.random.random() < 0.6:
            body["availability"] = self.random.choice(("active", "active", "pause", "drain"))
        if body.get("availability") == "drain" and self.random.random() < 0.5:
            body["drain"] = {"max_parallel": self.random.choice((1, 3)), "deadline_s": self.random.choice((None, 2.0))}
        node = self._one()
        self._tell(f"node {node} {body}")
        self.yard.later(UpdateNodeRequest(node=node, body=body))

    def _set_links(self, up: int, pairs: list[tuple[str, str]]) -> None:
        matrix: dict[str, dict[str, int]] = {}
        for source, target in pairs:
            matrix.setdefault(source, {})[target] = up
        self._tell(f"{'restore' if up else 'cut'} {pairs}")
        self.yard.later(SetConnections(matrix=matrix))

    def _cut_one(self) -> None:
        for source, target in self._some_pair():
            self._set_links(0, [(source, target)])

    def _isolate(self) -> None:
        self._set_links(0, self.yard.around(self._one()))

    def _isolate_leader(self) -> None:
        for node in self.yard.leading()[:1]:
            self._set_links(0, self.yard.around(node))

    def _silence(self) -> None:
        """Only what the leader says is lost; what it hears comes."""
        for node in self.yard.leading()[:1]:
            self._set_links(0, self.yard.outgoing(node))

    def _partition(self) -> None:
        names = self.yard.names()
        self._set_links(0, self.yard.between(self.random.sample(names, self.random.randint(1, len(names)))))

    def _heal(self) -> None:
        cut = list(self.yard.front()._cuts)
        if cut:
            self._set_links(1, cut if self.random.random() < 0.5 else self.random.sample(cut, len(cut) // 2 + 1))

    def _policy(self) -> LinkPolicy:
        draw = self.random.random
        return LinkPolicy(
            delay_s=0.03 * draw(),
            jitter_s=0.02 * draw(),
            loss=self.random.choice((0.0, 0.05, 0.2)),
            duplicate=self.random.choice((0.0, 0.1)),
            reorder=self.random.choice((0.0, 0.3)),
            window=self.random.choice((4, 4096)),
        )

    def _worsen(self) -> None:
        policy = self._policy()
        self._tell(f"every link: {policy}")
        for source in self.yard.names():
            for target in self.yard.names():
                if source != target:
                    self.yard.later(SetLinkPolicyRequest(source=source, target=target, policy=policy))

    def _crash(self, name: str) -> None:
        if self.crashes.get(name, 0) < CRASHES_EACH:
            self.crashes[name] = self.crashes.get(name, 0) + 1
            self._tell(f"crash {name}")
            self.yard.crash(name)

    def _crash_node(self) -> None:
        """The actor crashes; half the time its agent with it, as when a process is killed."""
        name = self._one()
        self._crash(f"cluster/0/node/{name}")
        if self.random.random() < 0.5:
            self._crash(agent_actor("0", name))

    def _crash_agent(self) -> None:
        self._crash(agent_actor("0", self._one()))

    def _crash_link(self) -> None:
        for source, target in self._some_pair():
            self._crash(link_actor("0", source, target))

    def _crash_front(self) -> None:
        self._forget_waiting()
        self._crash(cluster_actor("0"))

    def _crash_orchestrator(self) -> None:
        self._forget_waiting()
        self._crash("orchestrator")

    def _forget_waiting(self) -> None:
        """What only the front door knows is lost with it, as it says: these calls happen once or not at all."""
        for entry in self.yard.front()._courier.waiting.values():
            command = commands.decode(entry.command)
            if isinstance(command, commands.SubmitCall):
                self.unsure.add(command.call.id)

    def _add(self) -> None:
        if len(self.yard.names()) < MOST_NODES:
            self._tell("add a node")
            self.answers.append(self.yard.later(AddNodeRequest(capacity=self.random.choice((None, 10)))))

    def _remove(self) -> None:
        if len(self.yard.names()) > FEWEST_NODES:
            node = self._one()
            self._tell(f"remove {node}")
            self.answers.append(self.yard.later(RemoveNodeRequest(address=node)))

    def _transfer(self) -> None:
        self._tell("transfer")
        self.yard.later(TransferRequest(target=self.random.choice((None, self._one()))))

    # -- the account

    def _account(self) -> None:
        yard = self.yard
        history = History(yard.promises.raft())
        assert history.state.digest() == yard.state().digest(), "the log, applied anew, gives another state"
        for call, wanted in self.promised.items():
            times = history.executed.get(call, 0)
            assert times == 1 or (call in self.unsure and times == 0), f"call {call} {wanted} executed {times} times"
        assert set(history.executed) <= set(self.promised), "a call was executed that nobody made"
        self._check_last_word(history)
        self._check_events(history)

    def _check_last_word(self, history: History) -> None:
        """Of the calls for one service the one that was made last counts."""
        last = {
            name: (call, many) for call, wanted in self.promised.items() for name, many in wanted.items()
            if call in history.executed
        }  # fmt: skip
        for name, (call, many) in last.items():
            service = history.state.service(name)
            assert service is not None and service.replicas == many, f"{name}: {service}, but {call} said {many}"

    def _check_events(self, history: History) -> None:
        """What happened once is told once, whoever led and however it got its state."""
        told: dict[str, int] = {}
        for event in self.yard.events("call-executed"):
            told[event.data["call"]] = told.get(event.data["call"], 0) + 1
        heads = {call for call in history.executed if history.state.call(call).merged_into is None}
        wrong = {call: told.get(call, 0) for call in heads | set(told) if told.get(call, 0) != (call in heads)}
        assert not wrong, f"calls were told so often: {wrong}"


def play(seed: int, **virtual: Any) -> Yard:
    """Play the story of a seed; a broken promise tells how to hear it again."""
    story = Story(seed, **virtual)
    try:
        return story.play()
    except BaseException as error:
        error.add_note("\n".join(story.told))
        error.add_note(f"replay with: python tests/actors/story.py {seed}")
        raise


if __name__ == "__main__":
    yard = play(int(sys.argv[1]))
    print(f"story {sys.argv[1]} kept every promise: {yard.system.statistics()}")
