"""Writes errors down as application/problem+json (RFC 9457), and turns falcon's own errors into ours."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import falcon
import msgspec
from falcon import Request, Response

from .nearest import nearest
from .ports import NotAllowed, NotFound, Problem

CONTENT_TYPE = "application/problem+json"

log = logging.getLogger(__name__)


def problem_body(problem: Problem, instance: str) -> bytes:
    """The JSON of a problem; `instance` is the path that was asked for."""
    body: dict[str, Any] = {
        "type": f"/problems/{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
    }
    if problem.hint:
        body["hint"] = problem.hint
    if problem.errors:
        body["errors"] = problem.errors
    body.update(problem.more)
    return msgspec.json.encode(body, enc_hook=str) + b"\n"


def problem_headers(problem: Problem) -> list[tuple[str, str]]:
    """The headers that go with a problem's body."""
    headers = [("Content-Type", CONTENT_TYPE), *problem.headers.items()]
    if problem.retry_after_s is not None:
        headers.append(("Retry-After", str(problem.retry_after_s)))
    return headers


def status_line(status: int) -> str:
    """`404 Not Found`"""
    return f"{status} {HTTPStatus(status).phrase}"


def add_problem_handlers(app: falcon.App[Request, Response], paths: Iterable[str]) -> None:
    """Answer every error of `app` as a problem. `paths` are its route templates, to name the nearest one in a 404."""
    templates = tuple(paths)

    def on_unknown_path(
        req: Request, resp: Response, _error: falcon.HTTPError, _params: dict[str, Any]
    ) -> None:
        _write(req, resp, _unknown_path(req.path, templates))

    app.add_error_handler(Exception, _on_crash)
    app.add_error_handler(falcon.HTTPError, _on_http_error)
    app.add_error_handler(falcon.HTTPRouteNotFound, on_unknown_path)
    app.add_error_handler(falcon.HTTPMethodNotAllowed, _on_method)
    app.add_error_handler(Problem, _on_problem)


def _write(req: Request, resp: Response, problem: Problem) -> None:
    resp.status = status_line(problem.status)
    resp.data = problem_body(problem, req.path)
    resp.set_headers(problem_headers(problem))


def _on_problem(req: Request, resp: Response, error: Problem, _params: dict[str, Any]) -> None:
    _write(req, resp, error)


def _on_crash(req: Request, resp: Response, error: Exception, _params: dict[str, Any]) -> None:
    log.error("request failed method=%s path=%s", req.method, req.path, exc_info=error)
    _write(
        req,
        resp,
        Problem(f"{req.method} {req.path} failed here", "the server's log says why; please report it"),
    )


def _on_http_error(req: Request, resp: Response, error: falcon.HTTPError, _params: dict[str, Any]) -> None:
    """What falcon itself refuses: a URL that is too long, say."""
    problem = Problem(
        error.description or error.title or "", code="refused", headers=dict(error.headers or {})
    )
    problem.status = error.status_code
    problem.title = HTTPStatus(error.status_code).phrase
    _write(req, resp, problem)


def _on_method(req: Request, resp: Response, error: falcon.HTTPError, _params: dict[str, Any]) -> None:
    allow = dict(error.headers or {}).get("Allow", "")
    detail = f"{req.method} is not for {req.path}"
    _write(req, resp, NotAllowed(detail, f"use one of: {allow}", headers={"Allow": allow}))


def _unknown_path(path: str, templates: tuple[str, ...]) -> NotFound:
    parts = path.split("/")
    near = nearest(path, dict.fromkeys(_filled(template.split("/"), parts) for template in templates))
    hint = f"did you mean {near}?" if near else f"known paths: {', '.join(templates)}"
    return NotFound(f"there is nothing at {path}", hint, code="unknown-path")


def _filled(template: list[str], parts: list[str]) -> str:
    """`/clusters/{cluster}/stats` with the cluster that was asked for, so that only the wrong word differs."""
    wanted = parts + template[len(parts) :]
    return "/".join(
        asked if known.startswith("{") else known for known, asked in zip(template, wanted, strict=False)
    )
