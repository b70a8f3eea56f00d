"""Plans: what would happen if, asked of the leader; nothing is changed."""

from __future__ import annotations

from typing import Any

import msgspec

from ..control import check_schedule, check_schedules
from ..errors import Conflict, InvalidRequest, RaftyardError, StaleVersion, Unavailable, UnknownService
from ..messages import DescribePlan, Question
from ..scheduling.wish_reading import PatchedService, read_wish
from ..scheduling.wishes import ServiceWish, StackWish, Wish
from ..state.calls import InvalidCall
from ..state.depending import CIRCLE_HINT
from ..state.spec_reading import merge, read_spec
from ..state.specs import ServiceSpec
from ..system import Promise
from .addresses import resolve
from .home import Home
from .host import Host
from .questions import Questions
from .refusals import conflict
from .stacks import warnings

__all__ = ["Plans"]

PLAN_S = 20.0
"""How long a leader may take: it makes a plan in slices, between all else that it does."""


class Plans:
    """One cluster's plans, for those who ask."""

    def __init__(self, host: Host, home: Home, questions: Questions) -> None:
        self._host = host
        self._home = home
        self._questions = questions

    def describe(self, request: DescribePlan) -> Promise:
        """What would become of the wish in the request's body."""
        promise = self._host.context.promise()
        try:
            wish = read_wish(request.body, lambda node: resolve(self._home, node))
            _check_schedules(wish)
        except InvalidCall as error:
            promise.fail(InvalidRequest(error.message, path=error.path, hint=error.hint))
        except RaftyardError as error:
            promise.fail(error)
        else:
            if isinstance(wish, PatchedService):
                self._patch(wish, promise)
            else:
                self._ask(wish, promise)
        return promise

    def _patch(self, wish: PatchedService, promise: Promise) -> None:
        """The patch makes a spec of the present one, and holds for that one alone."""

        def known(value: Any) -> None:
            if isinstance(value, RaftyardError):
                promise.fail(value)
                return
            if value is None:
                promise.fail(
                    UnknownService(
                        f"no service {wish.name!r} in cluster {self._host.id}",
                        hint="send the whole spec of a new one as spec",
                    )
                )
                return
            try:
                present = msgspec.convert(value["spec"], ServiceSpec)
                spec = read_spec(merge(present, wish.patch), name=wish.name)
                check_schedule(spec)
            except InvalidCall as error:
                path = "$.service.patch" + error.path.removeprefix("$")
                promise.fail(InvalidRequest(error.message, path=path, hint=error.hint))
                return
            version = value["version"] if wish.version is None else wish.version
            scales = "replicas" in wish.patch
            self._ask(ServiceWish(name=wish.name, spec=spec, version=version, scales=scales), promise)

        self._questions.ask_about(Question(about="service", name=wish.name), known)

    def _ask(self, wish: Wish, promise: Promise) -> None:
        def answer(value: Any) -> None:
            error = value if isinstance(value, RaftyardError) else _error_of(value, isinstance(wish, StackWish))
            if error is not None:
                promise.fail(error)
            else:
                shown = {"plan": wish.__struct_config__.tag} | value
                if isinstance(wish, StackWish):
                    shown["warnings"] = warnings(wish.ignored)
                promise.keep(shown)

        self._questions.ask_about(Question(about="plan", of=wish), answer, within_s=PLAN_S)


def _check_schedules(wish: Wish | PatchedService) -> None:
    place = "$"
    try:
        if isinstance(wish, ServiceWish):
            place = "$.service.spec"
            check_schedule(wish.spec)
        elif isinstance(wish, StackWish):
            place = "$.stack.document"
            check_schedules(wish.name, wish.services)
    except InvalidCall as error:
        raise InvalidCall(place + error.path.removeprefix("$"), error.message, error.hint) from None


def _error_of(value: dict[str, Any], is_stack: bool) -> RaftyardError | None:
    """What the change itself would be answered."""
    if "busy" in value:
        return Unavailable(f"{value['busy']} plans wait already")
    if "failed" in value:
        return Conflict(
            f"no plan could be made: {value['failed']}", hint="this is our mistake; the log has more"
        )
    refused = value.get("refused")
    if refused is None:
        return None
    if refused["code"] == "stale-version":
        return StaleVersion(refused["reason"], hint="read it, then send its version")
    if refused["code"] == "circle":
        place = "$.stack" if is_stack else "$.service"
        return InvalidRequest(refused["reason"], path=place, hint=CIRCLE_HINT)
    return conflict(refused)
