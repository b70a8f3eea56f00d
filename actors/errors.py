"""What can go wrong for a user of the actors, as one tree.

    RaftyardError
    ├── InvalidRequest       the request itself is wrong; `path` says where
    ├── UnknownCluster       no cluster of that id
    ├── UnknownNode          no node of that name or address in the cluster
    ├── UnknownCall          no service call of that id is remembered
    ├── UnknownService       no service of that name
    ├── UnknownStack         no stack of that name
    ├── Conflict             the request contradicts what is there
    │   ├── PortInUse        somebody listens on that port already
    │   ├── SessionExpired   a machine's members have forgotten the session of a command
    │   └── StaleVersion     somebody else changed it since it was read
    ├── MachineRaised        the user's own machine raised it: `kind` and `text`
    └── Unavailable          not now; `retry_after_s` says when to ask again
        ├── NoLeader         only a leader can answer, and there is none
        ├── QueueFull        more service calls wait than the queue holds
        └── TimedOut         accepted, but not finished within the caller's time

Every message says what happened, to what, and what to do.
"""

from __future__ import annotations

__all__ = [
    "Conflict",
    "InvalidRequest",
    "MachineRaised",
    "NoLeader",
    "PortInUse",
    "QueueFull",
    "RaftyardError",
    "SessionExpired",
    "StaleVersion",
    "TimedOut",
    "Unavailable",
    "UnknownCall",
    "UnknownCluster",
    "UnknownNode",
    "UnknownService",
    "UnknownStack",
]


class RaftyardError(Exception):
    """The root: `str(error)` is what happened, `hint` is what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InvalidRequest(RaftyardError):
    """The request is wrong at `path` (a JSON path such as `$.containers[0].replicas`)."""

    def __init__(self, message: str, *, path: str = "$", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class UnknownCluster(RaftyardError):
    """No cluster of that id."""


class UnknownNode(RaftyardError):
    """No node of that name or address in the cluster."""


class UnknownCall(RaftyardError):
    """No service call of that id is remembered."""


class UnknownService(RaftyardError):
    """No service of that name in the cluster."""


class UnknownStack(RaftyardError):
    """No stack of that name in the cluster."""


class Conflict(RaftyardError):
    """The request contradicts what is there."""


class StaleVersion(Conflict):
    """Somebody else changed it since it was read."""


class PortInUse(Conflict):
    """Somebody listens on `host:port` already."""

    def __init__(self, host: str, port: int, *, hint: str = "") -> None:
        super().__init__(f"port {port} on {host} is in use", hint=hint or "choose another port")
        self.host = host
        self.port = port


class SessionExpired(Conflict):
    """The members have forgotten the session, so whether its command was applied before cannot be told."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint or "look at the state, then go on in a session of another name")


class MachineRaised(RaftyardError):
    """The machine's own `apply` or `read` raised an exception of the class `kind` with that text."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}", hint="the machine's own answer; the command counts as applied")
        self.kind = kind
        self.text = text


class Unavailable(RaftyardError):
    """Not now; ask again after `retry_after_s` whole seconds."""

    def __init__(self, message: str, *, retry_after_s: int = 1, hint: str = "") -> None:
        super().__init__(message, hint=hint or f"retry in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class NoLeader(Unavailable):
    """Only a leader can answer, and the cluster has none at the moment."""


class QueueFull(Unavailable):
    """More service calls wait than the queue holds."""


class TimedOut(Unavailable):
    """Accepted, but not finished within the caller's time; it goes on."""


_KINDS: dict[str, type[RaftyardError]] = {
    kind.__name__: kind for kind in (Conflict, NoLeader, QueueFull, TimedOut, UnknownCluster, UnknownNode)
}


def as_values(error: RaftyardError) -> tuple[str, str, str]:
    """An error as a message can carry it: its kind, what happened, what to do."""
    kind = type(error).__name__
    return (kind if kind in _KINDS else "Conflict", str(error), error.hint)


def from_values(values: tuple[str, str, str]) -> RaftyardError:
    """The error that `as_values` took apart."""
    kind, text, hint = values
    return _KINDS[kind](text, hint=hint)
