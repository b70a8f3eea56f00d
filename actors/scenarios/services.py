"""Verbs about services: service calls, and the reads and writes whose history must have an order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..messages import SubmitServiceCall, cluster_actor
from ..system import ActorError, Promise
from .client import CLIENT, Client, ReadService
from .histories import Operation
from .quantities import ns_of
from .stage import Stage, StepFailed

__all__ = ["ServiceVerbs"]

WRITE_S = 5.0
READ_S = 2.0


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
        self.history.accepted[call] = body
        if answer["status"] == "executed":
            self.history.executed[call] = None
        elif within is not None:
            raise StepFailed(
                f"submit: the call is not executed within {ns_of(within) / 1e9:g} s: {answer['status']}"
            )
        return call

    def write(self, values: dict[str, int], *, within: str | float | None = None) -> bool:
        """Set numbers of replicas, and note what was heard of it; whether it was confirmed. Without `within` an unknown
        outcome is no failure: it may still happen, and the history says so."""
        limit_s = WRITE_S if within is None else ns_of(within) / 1e9
        done = self.begin_write(values, "script", limit_s)
        self.pass_until(self.now_ns + round(limit_s * 1e9), done)
        confirmed = done()
        if not confirmed and within is not None:
            raise StepFailed(f"write: not confirmed within {limit_s:g} s")
        return confirmed

    def begin_write(self, values: dict[str, int], client: str, limit_s: float) -> Callable[[], bool]:
        """Write without waiting; call the answer to hear whether it is confirmed. Noted in the history either way."""
        body = {"containers": [{"name": key, "replicas": value} for key, value in values.items()]}
        # This cluster's, wherever verbs act when the answer comes.
        history = self.history
        start = history.moment(self.now)
        noted = {key: len(history.operations) + at for at, key in enumerate(values)}
        for key, value in values.items():
            history.operations.append(
                Operation(client=client, key=key, kind="put", argument=str(value), start=start)
            )
        try:
            promise = self._post(body, limit_s)
        except StepFailed:
            return lambda: False

        def heard(settled: Promise) -> None:
            if settled.error is not None:
                return
            call = str(settled.value["service_id"])
            history.accepted[call] = body
            if settled.value["status"] == "executed":
                history.executed[call] = None
                for key, at in noted.items():
                    history.operations[at] = Operation(
                        client=client,
                        key=key,
                        kind="put",
                        argument=str(values[key]),
                        start=start,
                        end=self.now,
                    )

        promise.on_settled(heard)
        return lambda: promise.kept and promise.error is None and promise.value["status"] == "executed"

    def read(
        self, key: str, *, via: str | list[str] = "leader", within: str | float | None = None
    ) -> int | None:
        """A service's number of replicas as of now, through a node; None where there is no such service, or where
        nobody answered, which without `within` is no failure."""
        limit_s = READ_S if within is None else ns_of(within) / 1e9
        node = self.view.leader if via == "leader" else self.nodes_of(via)[0]
        promise = None if node is None else self.begin_read(key, node, "script")
        if promise is None or not self.pass_until(self.now_ns + round(limit_s * 1e9), lambda: promise.kept):
            if within is not None:
                raise StepFailed(f"read: {node or 'nobody'} does not answer within {limit_s:g} s")
            return None
        value: int | None = promise.result()
        return value

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
                history.operations.append(
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
        try:
            promise = self.system.ask_later(
                cluster_actor(self.cluster), SubmitServiceCall(body=body, wait_s=wait_s)
            )
        except ActorError as error:
            raise StepFailed(f"submit: {error}") from None
        history = self.history
        history.open_calls += 1

        def answered(settled: Promise) -> None:
            if settled.error is None:
                history.open_calls -= 1

        promise.on_settled(answered)
        return promise
