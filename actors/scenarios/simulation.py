"""The Python face of scenarios: a cluster to hurt, and to make demands on.

    with Simulation(nodes=5, seed=1) as sim:
        sim.eventually("leader is not None")
        sim.submit({"container": {"name": "web", "replicas": 10}}, within="5s")
        with sim.isolate("leader"):
            sim.eventually(replicas={"web": 10}, within="5s")
        sim.settle()

Leaving the block looks at every promise for the last time. With `clock="live"` the same happens in real time.
"""

from __future__ import annotations

from .checkers.base import PromiseBroken
from .checkers.converges import why_unsettled, why_unsettled_from_outside
from .conditions import ConditionVerbs
from .deploying import DeployVerbs
from .evening import EveningVerbs
from .links import LinkVerbs
from .members import MemberVerbs
from .quantities import ns_of
from .services import ServiceVerbs
from .settings import SettingVerbs
from .stage import CLUSTER

__all__ = ["Simulation"]


class Simulation(
    LinkVerbs, MemberVerbs, ServiceVerbs, DeployVerbs, EveningVerbs, SettingVerbs, ConditionVerbs
):
    """A started cluster with every verb of a scenario file as a method.

    Times are texts with units, as in a file (`for_="250ms"`), or numbers of seconds (`for_=0.25`); shares are texts
    ("5%") or numbers from 0 to 1. Raises ValueError for values that mean nothing.
    """

    def calm(self) -> None:
        """End every fault in every cluster: heal links, start and resume nodes, end drains, make disks good. In a
        cluster that ran before, what somebody else had cut or made slow stays so."""
        for cluster in self.clusters():
            with self.acting_in(cluster):
                self.mend()
                self.heal("all")

    def settle(self, within: str | float = "60s") -> None:
        """End every fault, and wait until the cluster is as it should be. Raises ScenarioFailed ("converges")."""
        self.calm()
        within_ns = ns_of(within)
        end_ns = self.now_ns + within_ns
        while (why := self.why_unsettled()) is not None:
            if self.now_ns >= end_ns:
                reason = self._why_not_judged(why) or (
                    f"not in order {within_ns / 1e9:g} s after everything was healed: {why}"
                )
                self.watch.note(PromiseBroken("converges", reason))
                self.check()
            self.wait(0.1)

    def _why_not_judged(self, why: str) -> str | None:
        """What somebody else broke in a cluster that ran before may be the reason why it is not in order."""
        if self.door is None:
            return None
        others = [f"{link} is cut" for link in self.cut_by_others()]
        others += [f"{node} is on {word}" for node, word in self.out_of_service().items()]
        if not others:
            return None
        shown = ", ".join(others[:5]) + (f", and {len(others) - 5} more" if len(others) > 5 else "")
        return f"cannot be judged: {why}, and not by this scenario {shown}; mend that first, or leave converges out"

    def why_unsettled(self) -> str | None:
        """Why the clusters are not as they should be; None when they are."""
        self.look_after()
        for cluster in self.clusters():
            with self.acting_in(cluster):
                why = why_unsettled_from_outside(self.view) if self.is_live else why_unsettled(self.inside)
                why = why or self.why_drained()
            if why is not None:
                return why if cluster == CLUSTER else f"{cluster}: {why}"
        return None
