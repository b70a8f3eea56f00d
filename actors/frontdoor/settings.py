"""The settings of a cluster: read from the leader, changed by a command."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidRequest, QueueFull, RaftyardError
from ..messages import ChangeSettings, DescribeSettings, Question
from ..state import commands
from ..state.calls import InvalidCall
from ..state.settings import read_settings
from ..system import Promise
from .courier import CHANGE_S, Courier
from .host import Host
from .questions import Questions

__all__ = ["ClusterWide"]


class ClusterWide:
    """What is so for one cluster as a whole."""

    def __init__(self, host: Host, courier: Courier, questions: Questions) -> None:
        self._host = host
        self._courier = courier
        self._questions = questions

    def describe(self, _: DescribeSettings) -> Promise:
        """Every setting."""
        promise = self._host.context.promise()
        self._show(promise, {})
        return promise

    def change(self, request: ChangeSettings) -> Promise:
        """Those that the body names; the answer is all of them."""
        promise = self._host.context.promise()
        try:
            wanted = read_settings(request.body)
        except InvalidCall as error:
            promise.fail(InvalidRequest(error.message, path=error.path, hint=error.hint))
            return promise

        def done(result: Any, index: int) -> None:
            if isinstance(result, RaftyardError):
                promise.fail(result)
            else:
                self._show(promise, {"log_index": index})

        try:
            command = commands.ChangeSettings(preemption=wanted.preemption)
            self._courier.send(command, done, within_s=CHANGE_S)
        except QueueFull as error:
            promise.fail(error)
        return promise

    def _show(self, promise: Promise, extra: dict[str, Any]) -> None:
        def answer(value: Any) -> None:
            if isinstance(value, RaftyardError):
                promise.fail(value)
            else:
                promise.keep(value | extra)

        self._questions.ask_about(Question(about="settings"), answer)
