"""Services and nodes as resources: read from the leader, changed by commands, with a version that guards both ways."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from ..control import check_schedule
from ..errors import (
    Conflict,
    InvalidRequest,
    QueueFull,
    RaftyardError,
    StaleVersion,
    UnknownNode,
    UnknownService,
)
from ..messages import (
    ChangeService,
    DescribeService,
    DescribeServices,
    DescribeTasks,
    Question,
    RemoveService,
    RollBackService,
    UpdateNodeRequest,
)
from ..state import commands
from ..state.calls import InvalidCall
from ..state.depending import CIRCLE_HINT
from ..state.node_reading import read_node
from ..state.service_commands import cannot_become
from ..state.spec_reading import merge, read_spec
from ..state.specs import Mode, ServiceSpec
from ..system import Promise
from .addresses import resolve
from .courier import CHANGE_S, Applied, Courier
from .home import Home
from .host import Host
from .hosting import check_not_nested
from .questions import Questions
from .refusals import conflict

__all__ = ["Services"]

TRIES = 8
"""A patch that met another change on its way is made again from what is there then, so often."""


class Services:
    """One cluster's services and nodes, for those who read and write them one by one."""

    def __init__(self, host: Host, home: Home, courier: Courier, questions: Questions) -> None:
        self._host = host
        self._home = home
        self._courier = courier
        self._questions = questions

    # -- reading

    def list(self, question: DescribeServices) -> Promise:
        """A page of the services."""
        return self._ask(Question(about="services", offset=question.offset, limit=question.limit))

    def describe(self, question: DescribeService) -> Promise:
        """One service, with the reasons of what waits, and its earlier specs."""
        promise = self._host.context.promise()
        self._show(question.service, promise)
        return promise

    def tasks(self, question: DescribeTasks) -> Promise:
        """A page of the tasks, of one service or of all."""
        asked = Question(about="tasks", name=question.service, offset=question.offset, limit=question.limit)
        return self._ask(asked, missing=self._unknown(question.service))

    def _ask(self, question: Question, missing: RaftyardError | None = None) -> Promise:
        promise = self._host.context.promise()

        def answer(value: Any) -> None:
            if isinstance(value, RaftyardError):
                promise.fail(value)
            elif value is None and missing is not None:
                promise.fail(missing)
            else:
                promise.keep(value)

        self._questions.ask_about(question, answer)
        return promise

    def _show(self, service: str, promise: Promise, extra: dict[str, Any] | None = None) -> None:
        """Keep the promise with the service as the leader has it now."""

        def answer(value: Any) -> None:
            if isinstance(value, RaftyardError):
                promise.fail(value)
            elif value is None:
                promise.fail(self._unknown(service))
            else:
                promise.keep(value | (extra or {}))

        self._questions.ask_about(Question(about="service", name=service), answer)

    # -- changing services

    def change(self, request: ChangeService) -> Promise:
        """Make a service, give it another spec, or change a part of it; the answer is the service."""
        promise = self._host.context.promise()
        if request.is_patch:
            self._patch(request, promise, TRIES)
            return promise
        try:
            spec = self._read(request.body, request.service)
        except InvalidRequest as error:
            promise.fail(error)
            return promise
        self._put(request.service, spec, request.version, promise)
        return promise

    def _put(self, name: str, spec: ServiceSpec, version: int | None, promise: Promise) -> None:
        def done(result: Any, index: int) -> None:
            error = self._error_of(result, name)
            if error is not None:
                promise.fail(error)
            else:
                self._show(name, promise, {"log_index": index, "is_new": result["version"] == 1})

        command = commands.PutService(name=name, spec=spec, version=version, no_circles=True, keeps_on_nodes=True)
        self._send(command, done)

    def _patch(self, request: ChangeService, promise: Promise, tries: int) -> None:
        """Read, merge, write if nobody else has written meanwhile; else once more."""

        def known(value: Any) -> None:
            if isinstance(value, RaftyardError) or value is None:
                promise.fail(value or self._unknown(request.service))
                return
            version = value["version"] if request.version is None else request.version
            mode = request.body.get("mode") if isinstance(request.body, dict) else None
            if isinstance(mode, str) and mode in get_args(Mode) and mode != value["mode"]:
                # Told before what else the other mode would mind: that would be mended in vain.
                promise.fail(conflict({"code": "mode", "reason": cannot_become(request.service, value["mode"], mode)}))
                return
            try:
                body = self._merged(value["spec"], request.body)
                spec = self._read(body, request.service)
            except InvalidRequest as error:
                promise.fail(error)
                return
            scales = isinstance(request.body, dict) and "replicas" in request.body
            command = commands.PutService(
                name=request.service, spec=spec, version=version, scales=scales, no_circles=True, keeps_on_nodes=True
            )
            self._send(command, lambda result, index: written(result, index))

        def written(result: Any, index: int) -> None:
            error = self._error_of(result, request.service)
            if isinstance(error, StaleVersion) and request.version is None and tries > 1:
                self._patch(request, promise, tries - 1)
            elif error is not None:
                promise.fail(error)
            else:
                self._show(request.service, promise, {"log_index": index, "is_new": False})

        self._questions.ask_about(Question(about="service", name=request.service), known)

    def remove(self, request: RemoveService) -> Promise:
        """Stop a service and forget it."""
        promise = self._host.context.promise()

        def done(result: Any, index: int) -> None:
            error = self._error_of(result, request.service)
            if error is not None:
                promise.fail(error)
            else:
                promise.keep({"status": "ok", "name": request.service, "log_index": index})

        self._send(commands.RemoveService(name=request.service, version=request.version), done)
        return promise

    def roll_back(self, request: RollBackService) -> Promise:
        """Give a service an earlier spec again; the answer is the service."""
        promise = self._host.context.promise()

        def done(result: Any, index: int) -> None:
            error = self._error_of(result, request.service)
            if error is not None:
                promise.fail(error)
            else:
                self._show(request.service, promise, {"log_index": index})

        command = commands.RollBackService(
            name=request.service, version=request.version, to_version=request.to_version, spares_same=True
        )
        self._send(command, done)
        return promise

    # -- changing nodes

    def update_node(self, request: UpdateNodeRequest) -> Promise:
        """Another availability, other labels or resources; the answer is what the node is and has now."""
        promise = self._host.context.promise()
        try:
            node = resolve(self._home, request.node)
            command = read_node(node, request.body)
            if command.capacity is not None or command.resources is not None:
                check_not_nested(self._home, "its nodes have what its replicas reserve", "change the reservations of")
        except InvalidCall as error:
            promise.fail(InvalidRequest(error.message, path=error.path, hint=error.hint))
            return promise
        except (UnknownNode, Conflict) as error:
            promise.fail(error)
            return promise

        def done(result: Any, index: int) -> None:
            if isinstance(result, RaftyardError):
                promise.fail(result)
            elif not result["ok"]:
                is_unknown = result["code"] == "unknown-node"
                promise.fail(UnknownNode(result["reason"]) if is_unknown else conflict(result))
            else:
                self._show_node(node, index, promise)

        self._send(command, done)
        return promise

    def _show_node(self, node: str, index: int, promise: Promise) -> None:
        def answer(value: Any) -> None:
            if isinstance(value, RaftyardError):
                promise.fail(value)
            else:
                promise.keep({"log_index": index} | (value or {"id": node}))

        self._questions.ask_about(Question(about="node", name=node), answer)

    # -- helpers

    def _send(self, command: commands.Command, done: Applied) -> None:
        try:
            self._courier.send(command, done, within_s=CHANGE_S)
        except QueueFull as error:
            done(error, 0)

    def _read(self, body: Any, name: str) -> ServiceSpec:
        try:
            spec = read_spec(body, name=name)
            check_schedule(spec)
            return spec
        except InvalidCall as error:
            raise InvalidRequest(error.message, path=error.path, hint=error.hint) from None

    @staticmethod
    def _merged(spec: Any, patch: Any) -> dict[str, Any]:
        try:
            return merge(msgspec.convert(spec, ServiceSpec), patch)
        except InvalidCall as error:
            raise InvalidRequest(error.message, path=error.path, hint=error.hint) from None

    def _error_of(self, result: Any, service: str) -> RaftyardError | None:
        if isinstance(result, RaftyardError):
            return result
        if result["ok"]:
            return None
        match result["code"]:
            case "unknown-service":
                return self._unknown(service)
            case "stale-version":
                return StaleVersion(result["reason"], hint="read the service, then send its version")
            case "circle":
                return InvalidRequest(result["reason"], path="$.depends_on", hint=CIRCLE_HINT)
            case _:
                return conflict(result)

    def _unknown(self, service: str | None) -> UnknownService:
        return UnknownService(
            f"no service {service!r} in cluster {self._host.id}",
            hint=f"GET /clusters/{self._host.id}/services lists them",
        )
