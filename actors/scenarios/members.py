"""Verbs about nodes: crash and restart, pause and resume, wipe, add and remove, hand over the lead, break disks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from ..disk import Decay, LosePower, SetDiskFaults
from ..errors import UnknownNode
from ..messages import (
    AddNodeRequest,
    RemoveNodeRequest,
    StartNode,
    TransferRequest,
    UpdateNodeRequest,
    agent_actor,
    cluster_actor,
    disk_actor,
    node_actor,
)
from ..storage.simulated import DiskFaults, SimulatedStorage
from ..system import ActorError, NoSuchActor, Promise
from .quantities import ns_of, share_of
from .stage import AGAIN_NS, ANSWER_S, Fault, Stage, StepFailed

__all__ = ["MemberVerbs"]

Target = str | list[str]
_Return = tuple[int, Promise]
"""When it was asked (ns) that a node be in service again, and the answer."""
# In this order: a disk that goes first is a failed storage, after which its node is started again.
_ACTORS: tuple[Callable[[str, str], str], ...] = (node_actor, agent_actor, disk_actor)


class MemberVerbs(Stage):
    """What can be done to nodes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # By cluster, each.
        self._downs: dict[str, dict[str, dict[int, None]]] = {}
        self._pauses: dict[str, dict[str, dict[int, None]]] = {}
        self._disks: dict[str, dict[str, dict[int, dict[str, Any]]]] = {}
        self._clocks: dict[str, dict[str, dict[int, float | None]]] = {}
        self._drains: dict[str, dict[str, dict[int, None]]] = {}
        self._returns: dict[str, dict[str, _Return]] = {}
        # Of a cluster that ran before, and of nodes only that this scenario drains: what they were for, as a body.
        self._was_for: dict[str, dict[str, Any]] = {}

    @property
    def _down_by(self) -> dict[str, dict[int, None]]:
        return self._downs.setdefault(self.cluster, {})

    @property
    def _paused_by(self) -> dict[str, dict[int, None]]:
        return self._pauses.setdefault(self.cluster, {})

    @property
    def _disk_layers(self) -> dict[str, dict[int, dict[str, Any]]]:
        return self._disks.setdefault(self.cluster, {})

    @property
    def _clock_layers(self) -> dict[str, dict[int, float | None]]:
        """Rates by node and fault; None where it only leapt."""
        return self._clocks.setdefault(self.cluster, {})

    @property
    def _drained_by(self) -> dict[str, dict[int, None]]:
        return self._drains.setdefault(self.cluster, {})

    @property
    def _returning(self) -> dict[str, _Return]:
        """Nodes that nothing drains any more, until it is agreed on that they are in service again."""
        return self._returns.setdefault(self.cluster, {})

    # -- crashing

    def crash(self, target: Target, *, for_: str | float | None = None) -> Fault:
        """End a node and its replicas at once, until `restart`, or for a time; then it reads what it saved."""
        nodes, number = self.nodes_of(target), self.new_number()
        for node in nodes:
            self._down_by.setdefault(node, {})[number] = None
            self._kill(node)

        def undo() -> None:
            for node in nodes:
                holders = self._down_by.get(node, {})
                if number in holders:
                    del holders[number]
                    if not holders:
                        self._start(node)

        return self.fault("crash", nodes, undo, for_)

    def restart(self, target: Target) -> None:
        """Start nodes that crashed; one that runs crashes first."""
        for node in self.nodes_of(target):
            self._down_by.pop(node, None)
            self._kill(node)
            self._start(node)

    def _kill(self, node: str) -> None:
        self.emit("node-crashed", name=node)
        self._paused_by.pop(node, None)  # what starts again is not paused
        for actor in _ACTORS:
            try:
                self.system.kill(actor(self.cluster, node))
            except NoSuchActor:
                continue

    def _start(self, node: str) -> None:
        self.emit("node-started", name=node)
        self.system.send(cluster_actor(self.cluster), StartNode(node=node))

    def pause(self, target: Target, *, for_: str | float | None = None) -> Fault:
        """Nodes handle nothing, and what comes waits: as when a process is stopped, or collects garbage."""
        nodes, number = self.nodes_of(target), self.new_number()
        for node in nodes:
            self._paused_by.setdefault(node, {})[number] = None
            self.emit("node-paused", name=node)
            self._tell_all(node, self.system.pause)

        def undo() -> None:
            for node in nodes:
                holders = self._paused_by.get(node, {})
                if number in holders:
                    del holders[number]
                    if not holders:
                        self._resume(node)

        return self.fault("pause", nodes, undo, for_)

    def resume(self, target: Target) -> None:
        """Let paused nodes go on."""
        for node in self.nodes_of(target):
            self._paused_by.pop(node, None)
            self._resume(node)

    def _resume(self, node: str) -> None:
        self.emit("node-resumed", name=node)
        self._tell_all(node, self.system.resume)

    def _tell_all(self, node: str, what: Callable[[str], None]) -> None:
        for actor in _ACTORS:
            try:
                what(actor(self.cluster, node))
            except NoSuchActor:
                continue

    # -- membership

    def add(
        self, name: str | None = None, *, capacity: int | None = None, within: str | float = "10s"
    ) -> str:
        """A node joins; its name. Raises StepFailed where the cluster does not confirm it in time."""
        answer = self.ask(AddNodeRequest(name=name, capacity=capacity), f"add {name or 'a node'}", within)
        return str(answer["id"])

    def remove(self, target: Target, *, within: str | float = "10s") -> None:
        """Nodes leave for good, one after the other."""
        for node in self.nodes_of(target):
            self.ask(RemoveNodeRequest(address=node), f"remove {node}", within)
            self.forget(node)

    def forget(self, node: str) -> None:
        """See Stage.forget; a clock goes on being wrong for whoever has the name of the node."""
        super().forget(node)
        for holders in (self._down_by, self._paused_by, self._disk_layers, self._drained_by):
            holders.pop(node, None)
        self._returning.pop(node, None)
        self._was_for.pop(node, None)

    def wipe(self, target: Target, *, within: str | float = "10s") -> None:
        """Replace nodes by empty ones of the same name, as when a machine is lost with its disk. A voter that only lost
        its memory could vote twice, so it leaves the membership first."""
        for node in self.nodes_of(target):
            self._kill(node)
            self.remove(node, within=within)
            self.add(node, within=within)

    def drain(
        self,
        target: Target,
        *,
        max_parallel: int = 0,
        deadline: str | float | None = None,
        for_: str | float | None = None,
        within: str | float | None = None,
    ) -> Fault:
        """What these nodes run moves elsewhere, and nothing new comes to them, until undone: all at once, or at most
        `max_parallel` replicas of a service at a time, and the rest when the deadline has passed. With `within` wait
        until they run nothing; raises StepFailed where they still do."""
        nodes, number = self.nodes_of(target), self.new_number()
        body: dict[str, Any] = {"availability": "drain"}
        if max_parallel or deadline is not None:
            deadline_s = None if deadline is None else ns_of(deadline) / 1e9
            body["drain"] = {"max_parallel": max_parallel, "deadline_s": deadline_s}

        def begin() -> None:
            for node in nodes:
                self._note_availability(node)
            for node in nodes:
                self._hold_drained(node, number)
                self.ask(UpdateNodeRequest(node=node, body=body), f"drain {node}")

        fault = self.fault("drain", nodes, lambda: self._end_drain(nodes, number), for_, begin)
        if within is not None:
            until_ns = self.now_ns + ns_of(within)
            if not self.pass_until(until_ns, lambda: all(self.view.node(node).load == 0 for node in nodes)):
                loads = ", ".join(f"{node} {self.view.node(node).load}" for node in nodes)
                raise StepFailed(f"drain: not empty within {ns_of(within) / 1e9:g} s: {loads}")
        return fault

    def begin_drain(self, target: Target, *, for_: str | float | None = None) -> Fault:
        """As `drain`, without waiting for an answer, which never comes where nobody can decide. In a cluster that ran
        before, a node of which nobody can say what it was for is left alone."""
        nodes, number = [node for node in self.nodes_of(target) if self._can_be_drained(node)], self.new_number()

        def begin() -> None:
            names = self.names()
            for node in nodes:
                self._hold_drained(node, number)
                if node in names:
                    request = UpdateNodeRequest(node=node, body={"availability": "drain"})
                    self.system.send(cluster_actor(self.cluster), request)

        return self.fault("drain", nodes, lambda: self._end_drain(nodes, number), for_, begin)

    def _can_be_drained(self, node: str) -> bool:
        try:
            self._note_availability(node)
        except StepFailed:
            return False
        return True

    def _note_availability(self, node: str) -> None:
        """What a node of somebody else's cluster is for, before the first fault drains it."""
        if self.door is not None and node not in self._was_for:
            self._was_for[node] = self._availability(node)

    def _availability(self, node: str) -> dict[str, Any]:
        """What a node is for, as the body that makes it so."""
        # Nothing is changed by this: the leader answers what is agreed on for the node, even if that is down.
        known = self.ask(UpdateNodeRequest(node=node, body={}), f"ask for {node}")
        body = {"availability": known["availability"]}
        if drain := known.get("drain"):
            body["drain"] = {"max_parallel": drain["max_parallel"], "deadline_s": drain["deadline_in_s"]}
        return body

    def _hold_drained(self, node: str, number: int) -> None:
        self._drained_by.setdefault(node, {})[number] = None
        self._returning.pop(node, None)

    def _end_drain(self, nodes: list[str], number: int) -> None:
        """Nodes that no other fault drains are for what they were for before."""
        freed = [node for node in nodes if number in self._drained_by.get(node, {})]
        for node in freed:
            del self._drained_by[node][number]
        self._return([node for node in freed if not self._drained_by[node]])
        if self.door is not None:
            # Somebody else's cluster is mended when it says so; where nobody can decide now, it is asked again later.
            self.pass_until(self.now_ns + ns_of(ANSWER_S), self.look_after)

    def _return(self, nodes: list[str]) -> None:
        """Put these nodes into service again, as soon as somebody can decide that."""
        names = nodes if self.is_live else self.names()
        for node in nodes:
            self._drained_by.pop(node, None)
            if node in names and self.cluster in self.watch.clusters:
                self._returning[node] = self._ask_for_return(node)

    def _ask_for_return(self, node: str) -> _Return:
        request = UpdateNodeRequest(node=node, body=self._was_for.get(node, {"availability": "active"}))
        try:
            promise = self.system.ask_later(cluster_actor(self.cluster), request)
        except ActorError as error:
            promise = Promise()
            promise.fail(error)
        return self.now_ns, promise

    def look_after(self) -> bool:
        """See Stage.look_after: a return on which nobody could decide is asked for again."""
        for cluster in [cluster for cluster, returning in self._returns.items() if returning]:
            with self.acting_in(cluster):
                for node, (asked_ns, promise) in tuple(self._returning.items()):
                    self._see_return(node, asked_ns, promise)
        return not any(self._returns.values())

    def _see_return(self, node: str, asked_ns: int, promise: Promise) -> None:
        is_back = promise.kept and (promise.error is None or isinstance(promise.error, UnknownNode))
        if is_back or self.cluster not in self.watch.clusters:
            del self._returning[node]
            self._was_for.pop(node, None)
        elif self.now_ns - asked_ns >= (AGAIN_NS if promise.kept else ns_of(ANSWER_S)):
            self._returning[node] = self._ask_for_return(node)

    def not_mended(self) -> list[str]:
        """See Stage.not_mended; and nodes that nobody could put into service again."""
        return super().not_mended() + [f"drain {node}" for node in self._returning]

    def out_of_service(self) -> dict[str, str]:
        """Nodes of a cluster that ran before which take nothing new, and not because of this scenario: what they are
        on, pause or drain; as far as anybody can say that."""
        try:
            known = {node: str(self._availability(node)["availability"]) for node in self.names()}
        except StepFailed:
            return {}
        ours = [*self._returning, *(node for node, holders in self._drained_by.items() if holders)]
        return {node: word for node, word in known.items() if word != "active" and node not in ours}

    def label(self, labels: dict[str, dict[str, str | None]]) -> None:
        """Set labels of nodes, by node or group of nodes; those that are None go, and the rest stay. Raises StepFailed
        where that is not agreed on."""
        for target, changes in labels.items():
            for node in self.nodes_of(target):
                what = f"label {node}"
                # Nothing is changed by this: the leader answers what is agreed on for the node, even if that is down.
                known = self.ask(UpdateNodeRequest(node=node, body={}), what)["labels"]
                wanted = {name: value for name, value in {**known, **changes}.items() if value is not None}
                self.ask(UpdateNodeRequest(node=node, body={"labels": wanted}), what)

    def transfer(self, target: Target, *, within: str | float = "5s") -> None:
        """Hand the leadership to a node. Raises StepFailed where it does not lead in time."""
        node = self.node_of(target, "transfer: the leadership goes to")
        request = TransferRequest(target=node)
        if self.door is None:
            self.system.send(cluster_actor(self.cluster), request)
        else:
            self.ask(request, f"hand the leadership to {node}")
        within_ns = ns_of(within)
        if not self.pass_until(self.now_ns + within_ns, lambda: self.view.leader == node):
            raise StepFailed(f"transfer: {node} does not lead within {within_ns / 1e9:g} s")

    # -- disks

    def disk(
        self,
        of: Target = "all",
        *,
        slow: str | float | None = None,
        full: bool | None = None,
        failing: str | float | None = None,
        lose_power: bool = False,
        flip_bit: bool = False,
        for_: str | float | None = None,
    ) -> Fault:
        """Make disks slow (every sync takes that long), full or failing (a share of syncs); cut the power of all these
        at once, of their nodes too, which start again; flip a bit, which is found at the next start."""
        if self.orchestrator_settings.disks is None:
            raise StepFailed(
                "disk: the nodes keep everything in memory; start the cluster with simulated disks"
            )
        if slow is None and full is None and failing is None and not lose_power and not flip_bit:
            raise ValueError("disk: nothing happens; add slow, full, failing, lose_power or flip_bit")
        nodes, number = self.nodes_of(of), self.new_number()
        changed: dict[str, Any] = {}
        if slow is not None:
            changed["sync_ms"] = ns_of(slow) / 1e6
        if full is not None:
            changed["is_full"] = full
        if failing is not None:
            changed["failing_sync"] = share_of(failing)
        for node in nodes:
            if changed:
                self._disk_layers.setdefault(node, {})[number] = changed
                self._set_disk(node)
            if flip_bit:
                self._flip_bit(node)
        for node in nodes if lose_power else ():
            self._lose_power(node)

        def undo() -> None:
            for node in nodes:
                if self._disk_layers.get(node, {}).pop(number, None) is not None:
                    self._set_disk(node)

        return self.fault("disk", nodes, undo, for_)

    def _set_disk(self, node: str) -> None:
        faults = self.orchestrator_settings.disks or DiskFaults()
        for changed in self._disk_layers.get(node, {}).values():
            faults = msgspec.structs.replace(faults, **changed)
        if self.system.is_alive(disk_actor(self.cluster, node)) and not self._is_paused(node):
            self._tell_disk(node, SetDiskFaults(faults=faults))
        elif (storage := self._storage(node)) is not None:
            # A node that is down finds its disk so when it starts, a paused one when it goes on.
            storage.faults = faults

    def _storage(self, node: str) -> SimulatedStorage | None:
        front = self.inside.front
        storage = None if front is None or node not in front._nodes else front._home.storage(node)
        return storage if isinstance(storage, SimulatedStorage) else None

    def _is_paused(self, node: str) -> bool:
        """Then its disk hears nothing either."""
        return bool(self._paused_by.get(node)) and self.system.is_alive(disk_actor(self.cluster, node))

    def _lose_power(self, node: str) -> None:
        if self._is_paused(node):
            self._kill(node)
            self._start(node)
        else:
            self.system.send(disk_actor(self.cluster, node), LosePower())

    def _flip_bit(self, node: str) -> None:
        if not self._is_paused(node):
            self._tell_disk(node, Decay())
        elif (storage := self._storage(node)) is not None:
            storage.decay(self.random)

    def _tell_disk(self, node: str, message: Any) -> None:
        """In force when this returns; the disk of a node that is down has none to tell."""
        try:
            self.system.ask(disk_actor(self.cluster, node), message)
        except ActorError:
            return

    # -- clocks

    def clock(
        self,
        of: Target = "all",
        *,
        leap: str | float | None = None,
        rate: float | None = None,
        for_: str | float | None = None,
    ) -> Fault:
        """Let the clocks of nodes leap forwards, or go `rate` times as fast; of several rates the last counts. When
        all are undone, they go right again from where they are: time never goes back. What a node measures is wrong by
        that, and so are its timers."""
        if leap is None and rate is None:
            raise ValueError("clock: nothing happens; add leap or rate")
        if rate is not None and not 0 < rate < math.inf:
            raise ValueError(f"clock: a clock never goes back or stands still; write a rate above 0, not {rate!r}")
        nodes, number = self.nodes_of(of), self.new_number()
        leap_ns = 0 if leap is None else ns_of(leap)
        for node in nodes:
            self._clock_layers.setdefault(node, {})[number] = rate
            self._set_clock(node, leap_ns)

        def undo() -> None:
            for node in nodes:
                layers = self._clock_layers.get(node, {})
                if number in layers:
                    del layers[number]
                    self._set_clock(node)

        return self.fault("clock", nodes, undo, for_)

    def _set_clock(self, node: str, leap_ns: int = 0) -> None:
        """To the rate of the last fault in force that has one."""
        rates = [rate for rate in self._clock_layers.get(node, {}).values() if rate is not None]
        for actor in _ACTORS:
            self.system.set_clock(actor(self.cluster, node), leap_ns=leap_ns, rate=rates[-1] if rates else 1.0)

    # -- at the end

    def mend(self) -> None:
        """Start what is down, resume what is paused, end every drain, make every disk good and every clock go right."""
        for node in [node for node, layers in self._clock_layers.items() if layers]:
            self._clock_layers.pop(node)
            self._set_clock(node)
        for node in [node for node, holders in self._down_by.items() if holders]:
            self._down_by.pop(node)
            self._start(node)
        for node in [node for node, holders in self._paused_by.items() if holders]:
            self._paused_by.pop(node)
            self._resume(node)
        for node in [node for node, layers in self._disk_layers.items() if layers]:
            self._disk_layers.pop(node)
            self._set_disk(node)
        self._return([node for node, holders in self._drained_by.items() if holders])

    def why_drained(self) -> str | None:
        """Which nodes are not in service again after their last drain; None where all are."""
        return f"{list(self._returning)} are not in service again after a drain" if self._returning else None
