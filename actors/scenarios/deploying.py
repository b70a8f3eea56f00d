"""The verbs `deploy` and `undeploy`: the services of a stack come, change and go together."""

from __future__ import annotations

from typing import Any

from ..messages import ChangeStack, DescribeStack, RemoveStack, cluster_actor
from ..system import ActorError
from .quantities import ns_of
from .stage import Stage, StepFailed

__all__ = ["DeployVerbs"]

LOOK_S = 0.1


class DeployVerbs(Stage):
    """Stacks of the cluster."""

    def deploy(self, document: dict[str, Any], *, within: str | float | None = None) -> dict[str, Any]:
        """Deploy a Compose document beside whose `services` stands the name of its `stack`; the stack as REST shows it.
        With `within` wait until all of it has a place, else StepFailed."""
        if not isinstance(document.get("stack"), str):
            raise ValueError("deploy: 'stack' is missing: the name of the stack")
        body = {key: value for key, value in document.items() if key != "stack"}
        name: str = document["stack"]
        shown: dict[str, Any] = self.ask(ChangeStack(stack=name, body=body), "deploy")
        if within is None:
            return shown
        end_ns = self.now_ns + ns_of(within)
        while shown["pending"]:
            if self.now_ns >= end_ns:
                raise StepFailed(f"deploy: {shown['pending']} replicas wait after {ns_of(within) / 1e9:g} s")
            self.wait(LOOK_S)
            shown = self._stack(name, end_ns) or shown
        return shown

    def undeploy(self, stacks: str | list[str], *, within: str | float | None = None) -> None:
        """Stop whole stacks and forget them. With `within` wait until their services are shown no more, else
        StepFailed."""
        services: set[str] = set()
        for name in [stacks] if isinstance(stacks, str) else stacks:
            shown = self.ask(DescribeStack(stack=name), f"undeploy {name}")
            services |= {str(service["name"]) for service in shown["services"]}
            self.ask(RemoveStack(stack=name), f"undeploy {name}")

        def left() -> list[str]:
            return [one.name for one in self.view.services if one.name in services]

        if within is not None and not self.pass_until(self.now_ns + ns_of(within), lambda: not left()):
            raise StepFailed(f"undeploy: {', '.join(left())} still there after {ns_of(within) / 1e9:g} s")

    def _stack(self, name: str, until_ns: int) -> dict[str, Any] | None:
        """How far it is; None where nobody can say at the moment."""
        try:
            promise = self.system.ask_later(cluster_actor(self.cluster), DescribeStack(stack=name))
        except ActorError:
            return None
        if not self.pass_until(until_ns, lambda: promise.kept) or promise.error is not None:
            return None
        shown: dict[str, Any] = promise.value
        return shown
