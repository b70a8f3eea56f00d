"""Verbs about services: service calls, and the reads and writes whose history must have an order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import RaftyardError, Unavailable, UnknownService
from ..messages import ChangeService, RemoveService, RollBackService, SubmitServiceCall, cluster_actor
from ..system import ActorError, Promise
from .client import CLIENT, Client, ReadService
from .conditions import summary
from .histories import Operation
from .quantities import ns_of
from .stage import Stage, StepFailed
from .views import ServiceView

__all__ = ["ServiceVerbs"]

WRITE_S = 5.0
READ_S = 2.0
ASK_AGAIN_S = 1.0


class ServiceVerbs(Stage):
    """Calls, reads and writes. A key of the history is a service, its value the number of replicas asked for."""

    def submit(self, body: dict[str, Any], *, within: str | float | None = None) -> str:
        """Make a service call; its id. With `within` wait until it is executed, else StepFailed."""
        answer = self.answer(
            self._post(body, None if within is None else ns_of(within) / 1e9),
            "submit",
            10.0 if within is None else ns_of(within) / 1e9 + 1.0,
        )
        call = str(answer["service_id"])
        if within is not None and answer["status"] != "executed":
            raise StepFailed(
                f"submit: the call is not executed within {ns_of(within) / 1e9:g} s: {answer['status']}"
            )
        return call

    def scale(self, replicas: dict[str, int], *, within: str | float | None = None) -> None:
        """Give services so many replicas. With `within` wait until they run, or a job is done. Raises StepFailed where
        they do not, and at once where an autoscaled service never has so many."""
        _need("scale", replicas)
        versions = {}
        for name, many in replicas.items():
            service = self._change(name, {"replicas": many}, "scale")
            _check_autoscale(name, many, service)
            versions[name] = int(service["version"])

        def is_done() -> bool:
            return all(
                _is_there(one, versions[one.name]) and (_is_job(one) or one.replicas == replicas[one.name])
                for one in map(self.view.service, replicas)
            )

        self._wait_for("scale", within, is_done)

    def update(self, specs: dict[str, dict[str, Any]], *, within: str | float | None = None) -> None:
        """Change parts of specs; a service that is not there is made. With `within` wait until new replicas have taken
        the place of the old ones, or a job is done; raises StepFailed where they do not, or the update is rolled back.
        """
        _need("update", specs)
        versions = {name: int(self._change(name, spec, "update")["version"]) for name, spec in specs.items()}

        def is_done() -> bool:
            found = [self.view.service(name) for name in specs]
            return all(one.update in ("", "completed") and _is_there(one, versions[one.name]) for one in found)

        self._wait_for("update", within, is_done)

    def rollback(self, services: str | list[str], *, within: str | float | None = None) -> None:
        """Give services the spec from before their last update. With `within` wait until their replicas are of that,
        and jobs are done, else StepFailed."""
        versions = {
            name: int(self.ask(RollBackService(service=name), f"rollback {name}")["version"])
            for name in _listed(services)
        }

        def is_done() -> bool:
            found = [self.view.service(name) for name in versions]
            ended = ("", "completed", "rollback_completed")
            return all(one.update in ended and _is_there(one, versions[one.name]) for one in found)

        self._wait_for("rollback", within, is_done)

    def delete(self, services: str | list[str], *, within: str | float | None = None) -> None:
        """Stop services and forget them. With `within` wait until they are shown no more, else StepFailed."""
        names = _listed(services)
        for name in names:
            self.ask(RemoveService(service=name), f"delete {name}")

        def is_done() -> bool:
            return not any(one.name in names for one in self.view.services)

        self._wait_for("delete", within, is_done)

    def _change(self, name: str, body: dict[str, Any], verb: str) -> dict[str, Any]:
        """By a patch; where there is no such service, by making it. Only `update` makes any. The service as it is then.
        """
        what = f"{verb} {name}"
        service: dict[str, Any]
        try:
            service = self.ask(ChangeService(service=name, body=body, is_patch=True), what)
        except StepFailed as error:
            if verb != "update" or not isinstance(error.__cause__, UnknownService):
                raise
            service = self.ask(ChangeService(service=name, body=body), what)
        return service

    def _wait_for(self, verb: str, within: str | float | None, is_done: Callable[[], bool]) -> None:
        if within is None or self.pass_until(self.now_ns + ns_of(within), is_done):
            return
        raise StepFailed(f"{verb}: not done within {ns_of(within) / 1e9:g} s; {summary(self.view)}")

    def write(self, values: dict[str, int], *, within: str | float | None = None) -> bool:
        """Set numbers of replicas, and note what was heard of it; whether it was confirmed. Without `within` an unknown
        outcome is no failure: it may still happen, and the history says so. Raises StepFailed where it is refused."""
        _need("write", values)
        self.need_cluster()
        limit_s = WRITE_S if within is None else ns_of(within) / 1e9
        refused: list[str] = []
        done = self.begin_write(values, "script", limit_s, refused.append)
        self.pass_until(self.now_ns + round(limit_s * 1e9), lambda: bool(refused) or done())
        if refused:
            raise StepFailed(f"write: {refused[0]}")
        confirmed = done()
        if not confirmed and within is not None:
            raise StepFailed(f"write: not confirmed within {limit_s:g} s")
        return confirmed

    def begin_write(
        self, values: dict[str, int], client: str, limit_s: float, refused: Callable[[str], object] = lambda _: None
    ) -> Callable[[], bool]:
        """Write without waiting; call the answer to hear whether it is confirmed. Noted in the history either way.
        `refused` is called with the reason where it is known that it never happens."""
        body = {"containers": [{"name": key, "replicas": value} for key, value in values.items()]}
        # This cluster's, wherever verbs act when the answer comes.
        history = self.history
        start = history.moment(self.now)
        noted = [
            history.note(Operation(client=client, key=key, kind="put", argument=str(value), start=start))
            for key, value in values.items()
        ]
        try:
            promise = self._post(body, limit_s)
        except StepFailed:
            return lambda: False

        def heard(settled: Promise) -> None:
            if settled.error is None and settled.value["status"] == "executed":
                end = history.moment(self.now)
                for at in noted:
                    history.settle(at, end)
            elif settled.error is None and settled.value["status"] == "failed":
                refused(f"the call failed: {settled.value.get('reason', '')}")
            elif isinstance(settled.error, RaftyardError) and not isinstance(settled.error, Unavailable):
                refused(f"{settled.error}" + (f" ({settled.error.hint})" if settled.error.hint else ""))

        promise.on_settled(heard)
        return lambda: promise.kept and promise.error is None and promise.value["status"] == "executed"

    def read(
        self, key: str, *, via: str | list[str] = "leader", within: str | float | None = None
    ) -> int | None:
        """A service's number of replicas as of now, through a node; None where there is no such service, or where
        nobody answered. With `within` it is asked for again every second, and no answer is a failure (StepFailed)."""
        until_ns = self.now_ns + (round(READ_S * 1e9) if within is None else ns_of(within))
        chosen = None if via == "leader" else self.node_of(via, "read: it is asked of")
        asked: list[Promise] = []

        def is_answered() -> bool:
            return any(promise.kept for promise in asked)

        while True:
            node = chosen or self.view.leader
            promise = None if node is None else self.begin_read(key, node, "script")
            asked += [] if promise is None else [promise]
            once_ns = until_ns if within is None else min(until_ns, self.now_ns + round(ASK_AGAIN_S * 1e9))
            if self.pass_until(once_ns, is_answered):
                value: int | None = next(promise for promise in asked if promise.kept).result()
                return value
            if self.now_ns >= until_ns:
                break
        if within is not None:
            raise StepFailed(f"read: {node or 'nobody'} does not answer within {ns_of(within) / 1e9:g} s")
        return None

    def begin_read(self, key: str, node: str, client: str) -> Promise | None:
        """Read without waiting; noted in the history when the answer comes."""
        if not self.system.is_alive(CLIENT):
            self.system.spawn(Client, CLIENT)
        history = self.history
        start = history.moment(self.now)
        try:
            promise = self.system.ask_later(CLIENT, ReadService(cluster=self.cluster, node=node, service=key))
        except ActorError:
            return None

        def heard(settled: Promise) -> None:
            if settled.error is None:
                result = None if settled.value is None else str(settled.value)
                history.note(
                    Operation(
                        client=client,
                        key=key,
                        kind="get",
                        result=result,
                        start=start,
                        end=history.moment(self.now),
                    )
                )

        promise.on_settled(heard)
        return promise

    def _post(self, body: dict[str, Any], wait_s: float | None) -> Promise:
        self.need_cluster()
        try:
            promise = self.system.ask_later(
                cluster_actor(self.cluster), SubmitServiceCall(body=body, wait_s=wait_s)
            )
        except ActorError as error:
            raise StepFailed(f"submit: {error}") from None
        history = self.history
        history.call_made()

        def answered(settled: Promise) -> None:
            # One that was not answered may be executed all the same: it stays open.
            if settled.error is None:
                answer = settled.value
                history.call_answered(str(answer["service_id"]), body, executed=answer["status"] == "executed")

        promise.on_settled(answered)
        return promise


def _is_job(service: ServiceView) -> bool:
    return service.mode in ("replicated-job", "global-job", "cron")


def _is_there(service: ServiceView, version: int) -> bool:
    """Whether a service, once it is seen in this version, is all there: its replicas run, or did what they were for; a
    job is done, which is to say that each of its runs has completed or is given up."""
    if service.version < version:
        return False
    if _is_job(service):
        return service.completed + service.given_up >= service.replicas and not service.placed
    return service.placed + service.completed == service.replicas


def _check_autoscale(name: str, many: int, service: dict[str, Any]) -> None:
    """Raise StepFailed where an autoscaled service is to have a number of replicas that its bounds leave out."""
    bounds = service.get("autoscale")
    if bounds is None or bounds["min"] <= many <= bounds["max"]:
        return
    raise StepFailed(
        f"scale {name}: it is autoscaled from {bounds['min']} to {bounds['max']} replicas and never has {many}; "
        f"write a number between, or change its bounds: `update: {{{name}: {{autoscale: {{...}}}}}}`"
    )


def _need(verb: str, services: dict[str, Any]) -> None:
    if not services:
        raise ValueError(f"{verb}: nothing changes; name a service")


def _listed(services: str | list[str]) -> list[str]:
    return [services] if isinstance(services, str) else services
