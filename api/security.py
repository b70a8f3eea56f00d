"""Decides who may ask: this machine without a token, others with one, and web pages of other origins not at all.

Why each check is there (each attack was tried in a real browser against a server without it):

- Host: a page can point its own name at 127.0.0.1 (DNS rebinding); only the Host header then tells.
- Origin and Sec-Fetch-Site: a page can send forms and plain requests to localhost; it cannot hide where it comes from.
- Token: whoever reaches another address than this machine's own must know it.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from .ports import Forbidden, Misdirected, Problem, Unauthorized
from .problems import problem_body, problem_headers, status_line

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Those who watch over the program ask these, and have no token; they tell nothing but yes or no.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cache-Control", "no-store"),
]


class UnsafeAddress(ValueError):
    """The server was to listen where others reach it, without a token."""


class Guard:
    """Checks every request on every port before anything else sees it.

    `host` is the address that the server listens on; another than this machine's own needs a `token`, or raises
    UnsafeAddress. `allowed_hosts` are further names for the Host header (`raftyard.example`), `allowed_origins` web
    pages that may write (`https://raftyard.example`).
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        token: str | None = None,
        allowed_hosts: Collection[str] = (),
        allowed_origins: Collection[str] = (),
    ) -> None:
        self._is_local = is_loopback(host)
        if not self._is_local and not token:
            raise UnsafeAddress(
                f"listening on {host} lets other machines in; set a token, or listen on 127.0.0.1"
            )
        self._token = token.encode() if token else None
        self._hosts = LOOPBACK_HOSTS | {name.lower() for name in (host, *allowed_hosts)}
        self._origins = {origin.lower().rstrip("/") for origin in allowed_origins}

    def around(self, app: WSGIApplication) -> WSGIApplication:
        """`app`, reached only by requests that pass; every answer carries the security headers."""

        def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Callable[[bytes], object]:
                return start_response(status, headers + HEADERS, *more)

            try:
                self.check(environ)
            except Problem as problem:
                return _refusal(problem, environ, start)
            return app(environ, start)

        return guarded

    def check(self, environ: WSGIEnvironment) -> None:
        """Raise Misdirected, Forbidden or Unauthorized, or let it pass."""
        host = environ.get("HTTP_HOST", "")
        self._check_host(host)
        if environ["REQUEST_METHOD"] not in SAFE_METHODS:
            self._check_origin(environ, host)
        if self._token is not None and environ.get("PATH_INFO", "").rstrip("/") not in OPEN_PATHS:
            self._check_token(environ.get("HTTP_AUTHORIZATION", ""))

    def _check_host(self, host: str) -> None:
        name = _without_port(host.lower())
        # A name can be pointed anywhere by whoever owns it, an address cannot: where others may reach us, any will do.
        if name in self._hosts or (not self._is_local and _is_ip_address(name)):
            return
        raise Misdirected(
            f"the host name {host or '(none)'} is not one of this server's",
            f"use one of: {', '.join(sorted(self._hosts))}",
        )

    def _check_origin(self, environ: WSGIEnvironment, host: str) -> None:
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None:
            own = f"{environ['wsgi.url_scheme']}://{host}"
            if origin.lower() != own.lower() and origin.lower() not in self._origins:
                raise Forbidden(
                    f"a page of {origin} may not change anything here", "add it to the allowed origins"
                )
        elif environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("none", "same-origin"):
            raise Forbidden(
                "a page of another origin may not change anything here", "use curl, or this server's pages"
            )

    def _check_token(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        assert self._token is not None
        if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode("latin-1"), self._token):
            return
        raise Unauthorized(
            "the token is missing or wrong",
            "send the header Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": 'Bearer realm="raftyard"'},
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isascii() and port.isdigit() else host


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _refusal(problem: Problem, environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
    body = problem_body(problem, environ.get("PATH_INFO", ""))
    start_response(
        status_line(problem.status), [*problem_headers(problem), ("Content-Length", str(len(body)))]
    )
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
