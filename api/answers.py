"""Writes an answer into a response as JSON."""

from __future__ import annotations

from typing import Any

import falcon
import msgspec
from falcon import Response

_encode = msgspec.json.Encoder().encode


def answer(resp: Response, value: Any, status: str = falcon.HTTP_200, location: str | None = None) -> None:
    """Send `value` as JSON. The newline keeps a shell's prompt off curl's last line."""
    resp.status = status
    resp.data = _encode(value) + b"\n"
    if location is not None:
        resp.location = location
