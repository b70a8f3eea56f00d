"""Service calls at the front door: taken, carried to the leader, waited for, told."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s
from typing import Any

import msgspec

from ..errors import InvalidRequest, QueueFull, RaftyardError, UnknownCall
from ..messages import CallsFinished, DescribeCall, SubmitServiceCall, nested_cluster
from ..state import commands
from ..state.calls import InvalidCall, service_requests
from ..system import Promise
from .courier import Courier
from .host import Host
from .questions import Questions

__all__ = ["Calls"]

Answer = dict[str, Any]
KEY_S = 1.0
"""So long an answer waits for the log to say whether an Idempotency-Key came before; then it is as without one."""
MAX_KEYS = 2000
"""As many bodies are remembered here; of the newest 1,000 finished calls the log knows them, too."""


class Calls:
    """One cluster's service calls, as far as they concern those who made them."""

    def __init__(self, host: Host, courier: Courier, questions: Questions) -> None:
        self._host = host
        self._courier = courier
        self._questions = questions
        self._bodies: dict[str, bytes] = {}
        """What came with an Idempotency-Key, the newest last."""
        # Those that are not in the log yet, as they were answered.
        self._held: dict[str, Answer] = {}
        self._waiters: dict[str, list[Callable[[], None]]] = {}

    def submit(self, request: SubmitServiceCall) -> Promise:
        """Queue a service call; the answer is the call, at once or when it has been carried out."""
        promise = self._host.context.promise()
        try:
            call = self._read(request)
            body = self._body_of(call, request)
            self._courier.send(
                commands.SubmitCall(call=call),
                lambda result, _: self._taken(
                    call.id, result, promise, is_waited_for=request.wait_s is not None
                ),
            )
        except RaftyardError as error:
            promise.fail(error)
            return promise
        is_new = body is not None and call.id not in self._bodies
        if body is not None:
            self._remember(call.id, body)
        answer = {**request.body, "status": "spreading pending", "service_id": call.id}
        clusters = {r.name: nested_cluster(self._host.id, r.name) for r in call.services if r.cluster is not None}
        if clusters:
            answer["clusters"] = clusters
        self._held[call.id] = answer
        if request.wait_s is not None:
            self._wait_for(call.id, answer, promise, request.wait_s)
        elif is_new and self._courier.has_leader:
            # Whether the key came before only the log knows, which says so in a moment.
            self._questions.later(KEY_S, lambda: promise.keep(answer))
        else:
            promise.keep(answer)
        return promise

    def describe(self, question: DescribeCall) -> Promise:
        """One service call, or the newest, as the leader has it."""
        promise = self._host.context.promise()
        if question.call in self._held:
            # No leader has it yet, so none needs to be asked.
            promise.keep(self._held[question.call])
            return promise

        def answer(value: Any) -> None:
            if value is None:
                promise.fail(self._unknown(question.call))
            elif isinstance(value, RaftyardError):
                promise.fail(value)
            else:
                promise.keep(value)

        self._questions.ask_leader("call", question.call, answer)
        return promise

    def finished(self, message: CallsFinished) -> None:
        """Calls have been carried out: those who wait look again."""
        for call_id in message.calls:
            for look in self._waiters.pop(call_id, ()):
                look()

    def _read(self, request: SubmitServiceCall) -> commands.ServiceCall:
        try:
            services = service_requests(request.body)
        except InvalidCall as error:
            raise InvalidRequest(error.message, path=error.path, hint=error.hint) from None
        key = request.idempotency_key
        if key is None:
            call_id = f"{self._host.context.random.getrandbits(64):016x}"
        else:
            # The same key is the same call, whichever incarnation of the front door is asked.
            call_id = blake2s(key.encode(), digest_size=8).hexdigest()
        return commands.ServiceCall(
            id=call_id,
            services=services,
            body=msgspec.json.encode(request.body),
            received_ms=self._host.context.now_ns() // 1_000_000,
            idempotency_key=key,
        )

    def _body_of(self, call: commands.ServiceCall, request: SubmitServiceCall) -> bytes | None:
        """By what a call with a key is known again. Raises InvalidRequest where the key came with another body."""
        if call.idempotency_key is None:
            return None
        body = blake2s(msgspec.json.encode(request.body, order="deterministic")).digest()
        if self._bodies.get(call.id, body) != body:
            raise _another_call(call.id)
        return body

    def _remember(self, call_id: str, body: bytes) -> None:
        self._bodies[call_id] = body
        if len(self._bodies) > MAX_KEYS:
            del self._bodies[next(iter(self._bodies))]

    def _taken(self, call_id: str, result: Any, promise: Promise, *, is_waited_for: bool) -> None:
        """The call is in the log (or refused there): a refusal reaches who waits."""
        held = self._held.pop(call_id, None)
        if isinstance(result, RaftyardError):
            promise.fail(result)
        elif not result["ok"]:
            self._bodies.pop(call_id, None)
            promise.fail(QueueFull(result["reason"]))
        elif result["code"] == "another-call":
            self._bodies.pop(call_id, None)
            promise.fail(_another_call(call_id))
        else:
            if not is_waited_for and held is not None:
                promise.keep(held)
            if result["is_finished"]:
                self.finished(CallsFinished(calls=(call_id,)))

    def _wait_for(self, call_id: str, accepted: Answer, promise: Promise, wait_s: float) -> None:
        """Answer with the call as the leader has it; as it was accepted while no leader can say more."""

        def answer(value: Any) -> None:
            promise.keep(accepted if value is None or isinstance(value, RaftyardError) else value)

        def look() -> None:
            self._questions.ask_leader("call", call_id, answer)

        self._waiters.setdefault(call_id, []).append(look)
        self._questions.later(wait_s, look)

    def _unknown(self, call_id: str | None) -> UnknownCall:
        cluster = self._host.id
        if call_id is None:
            return UnknownCall(f"cluster {cluster} has had no service call yet", hint="POST one to …/service")
        return UnknownCall(
            f"no service call {call_id!r} in cluster {cluster}",
            hint="only the newest 1,000 finished calls are remembered",
        )


def _another_call(call_id: str) -> InvalidRequest:
    return InvalidRequest(
        f"the Idempotency-Key came before with another body, as service call {call_id}",
        hint="send another key with another body; the same body again is the same call",
    )
