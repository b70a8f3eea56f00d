"""Asks a running program over REST, for the commands that are its clients.

Exit codes: 1 refused, 2 the request is wrong, 3 no answer, 4 not found, 5 no leader or not in time.
"""

from __future__ import annotations

import functools
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, TypeVar

import click

__all__ = ["Client", "Failed", "as_json", "with_client"]

TIMEOUT_S = 60.0
_EXIT_CODES = {400: 2, 422: 2, 404: 4, 503: 5, 504: 5}
_UNREACHABLE = 3

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Failed(click.ClickException):
    """What the program answered, or that it did not, in a line or two that say what to do."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it here

    def show(self, file: Any = None) -> None:
        """As every other command says what is wrong."""
        click.echo(f"raftyard: {self.format_message()}", err=True)


class Client:
    """One cluster of a running program. `url` is the orchestrator's: `http://localhost:8000`."""

    def __init__(self, url: str, cluster: str = "0", token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.cluster = cluster
        self._token = token

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The decoded answer of `/clusters/{cluster}/path`; a query value of None is left out. Raises Failed."""
        place = "/".join(
            urllib.parse.quote(part, safe="") for part in ("clusters", self.cluster, *path.split("/"))
        )
        if not all(path.split("/")):
            raise Failed("an empty name names nothing; say which one", 2)
        try:
            data = None if body is None else json.dumps(body, allow_nan=False).encode()
        except ValueError:
            raise Failed("NaN and infinity cannot be sent; write a number", 2) from None
        given = {name: value for name, value in query.items() if value is not None}
        request = urllib.request.Request(
            f"{self.url}/{place}" + (f"?{urllib.parse.urlencode(given)}" if given else ""),
            method=method,
            headers={"Content-Type": "application/json"}
            | ({"Authorization": f"Bearer {self._token}"} if self._token else {}),
            data=data,
        )
        try:
            # Straight there: a proxy knows nothing of this machine's ports.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(request, timeout=TIMEOUT_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise _refused(error) from None
        except (OSError, ValueError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            hint = "start it with: raftyard serve; or name it with --api"
            raise Failed(f"no answer from {self.url}: {reason}; {hint}", _UNREACHABLE) from None


def _refused(error: urllib.error.HTTPError) -> Failed:
    exit_code = _EXIT_CODES.get(error.code, 1)
    try:
        problem = json.load(error)
        lines = [f"{problem.get('detail') or problem.get('title')}"]
        lines += [f"  at {one['path']}" for one in problem.get("errors", ())]
        if problem.get("hint"):
            lines.append(f"  {problem['hint']}")
        return Failed("\n".join(lines), exit_code)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Failed(f"status {error.code}, and no words with it; is this Raftyard?", exit_code)


def with_client(command: _Command) -> _Command:
    """The options that say which program and which cluster; the command gets a Client first."""

    @click.option(
        "--api", metavar="URL", help="The orchestrator. Without it: RAFTYARD_API, else localhost and PORT."
    )
    @click.option("--cluster", default="0", show_default=True, metavar="ID", help="The cluster.")
    @functools.wraps(command)
    def wrapped(*arguments: Any, api: str | None, cluster: str, **options: Any) -> Any:
        return command(_client(api, cluster), *arguments, **options)

    return wrapped  # type: ignore[return-value]


def as_json(command: _Command) -> _Command:
    """The option for programs that read the answer."""
    return click.option("--json", "is_json", is_flag=True, help="Print the answer as it came, as JSON.")(
        command
    )


def _client(api: str | None, cluster: str) -> Client:
    from .settings import SettingError, load

    try:
        settings = load()
    except SettingError as error:
        raise Failed(str(error), 2) from None
    url = api or os.environ.get("RAFTYARD_API") or f"http://localhost:{settings.port}"
    if "://" not in url:
        url = f"http://{url}"
    return Client(url, cluster, settings.token)
