"""Stacks: services that are deployed together from one document, as one entry of the log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..control import check_schedules
from ..errors import InvalidRequest, QueueFull, RaftyardError, StaleVersion, UnknownStack
from ..messages import ChangeStack, DescribeStack, DescribeStacks, Question, RemoveStack
from ..state import commands
from ..state.calls import InvalidCall
from ..state.compose_reading import Ignored, read_stack
from ..state.depending import CIRCLE_HINT
from ..system import Promise
from .courier import CHANGE_S, Applied, Courier
from .host import Host
from .questions import Questions
from .refusals import conflict

__all__ = ["Stacks", "warnings"]


def warnings(ignored: Iterable[Ignored]) -> list[dict[str, str]]:
    """What stands in a document to no effect, ready for JSON."""
    return [{"path": one.path, "message": one.message} for one in ignored]


class Stacks:
    """One cluster's stacks, for those who read and write them."""

    def __init__(self, host: Host, courier: Courier, questions: Questions) -> None:
        self._host = host
        self._courier = courier
        self._questions = questions

    def list(self, question: DescribeStacks) -> Promise:
        """A page of the stacks."""
        promise = self._host.context.promise()

        def answer(value: Any) -> None:
            if isinstance(value, RaftyardError):
                promise.fail(value)
            else:
                promise.keep(value)

        asked = Question(about="stacks", offset=question.offset, limit=question.limit)
        self._questions.ask_about(asked, answer)
        return promise

    def describe(self, question: DescribeStack) -> Promise:
        """One stack with its services."""
        promise = self._host.context.promise()
        self._show(question.stack, promise, {})
        return promise

    def change(self, request: ChangeStack) -> Promise:
        """Deploy the document; the answer is the stack, with what the document says to no effect."""
        promise = self._host.context.promise()
        try:
            read = read_stack(request.stack, request.body)
            check_schedules(request.stack, read.services)
        except InvalidCall as error:
            promise.fail(InvalidRequest(error.message, path=error.path, hint=error.hint))
            return promise
        command = commands.PutStack(
            name=request.stack, services=read.services, version=request.version, no_circles=True, keeps_on_nodes=True
        )

        def done(result: Any, index: int) -> None:
            error = self._error_of(result, request.stack)
            if error is not None:
                promise.fail(error)
            else:
                self._show(request.stack, promise, {"log_index": index, "warnings": warnings(read.ignored)})

        self._send(command, done)
        return promise

    def remove(self, request: RemoveStack) -> Promise:
        """Stop all of it and forget it."""
        promise = self._host.context.promise()

        def done(result: Any, index: int) -> None:
            error = self._error_of(result, request.stack)
            if error is not None:
                promise.fail(error)
            else:
                promise.keep({"status": "ok", "name": request.stack, "log_index": index})

        self._send(commands.RemoveStack(name=request.stack, version=request.version), done)
        return promise

    def _show(self, stack: str, promise: Promise, extra: dict[str, Any]) -> None:
        """Keep the promise with the stack as the leader has it now."""

        def answer(value: Any) -> None:
            if isinstance(value, RaftyardError):
                promise.fail(value)
            elif value is None:
                promise.fail(self._unknown(stack))
            else:
                promise.keep(value | extra)

        self._questions.ask_about(Question(about="stack", name=stack), answer)

    def _send(self, command: commands.Command, done: Applied) -> None:
        try:
            self._courier.send(command, done, within_s=CHANGE_S)
        except QueueFull as error:
            done(error, 0)

    def _error_of(self, result: Any, stack: str) -> RaftyardError | None:
        if isinstance(result, RaftyardError):
            return result
        if result["ok"]:
            return None
        match result["code"]:
            case "unknown-stack":
                return self._unknown(stack)
            case "stale-version":
                return StaleVersion(result["reason"], hint="read the stack, then send its version")
            case "circle":
                return InvalidRequest(result["reason"], path="$.services", hint=CIRCLE_HINT)
            case _:
                return conflict(result)

    def _unknown(self, stack: str) -> UnknownStack:
        return UnknownStack(
            f"no stack {stack!r} in cluster {self._host.id}",
            hint=f"GET /clusters/{self._host.id}/stacks lists them",
        )
