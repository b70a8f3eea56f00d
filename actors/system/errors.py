"""What can go wrong when a message is sent or an actor is started.

ActorError
├── NameTaken       spawn: another actor has this name
├── NoSuchActor     ask, stop, spawn under a parent: nobody has this name
├── MailboxFull     ask: the actor has more messages waiting than it may
├── AskTimeout      ask: no answer in time (also a TimeoutError)
├── ActorCrashed    ask: the actor crashed before it answered
├── AskInHandler    somebody waited inside a handler: a mistake of the program, on both clocks
└── SystemClosed    the system has been closed
"""

from __future__ import annotations


class ActorError(Exception):
    """The root of everything that this package raises on purpose."""


class NameTaken(ActorError):
    """Another living actor has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"an actor named {name!r} is running already; stop it first or choose another name")
        self.name = name


class NoSuchActor(ActorError):
    """Nobody answers to this name (never started, stopped, or given up after crashes)."""

    def __init__(self, name: str, why: str = "it was never started, or it has ended") -> None:
        super().__init__(f"there is no actor named {name!r}; {why}")
        self.name = name


class MailboxFull(ActorError):
    """The actor has more messages waiting than it may; try again later."""

    def __init__(self, name: str, capacity: int) -> None:
        super().__init__(
            f"{name!r} has {capacity} messages waiting, as many as it may; try again in a moment"
        )
        self.name = name
        self.capacity = capacity


class AskTimeout(ActorError, TimeoutError):
    """No answer came in time. The message may still be handled."""


class ActorCrashed(ActorError):
    """The actor crashed before it answered; its traceback is in the log."""

    def __init__(self, name: str, error: BaseException | None = None) -> None:
        detail = f": {type(error).__name__}: {error}" if error is not None else ""
        super().__init__(f"{name!r} crashed before it answered{detail}; its traceback is in the log")
        self.name = name
        self.error = error


class AskInHandler(ActorError):
    """Waiting inside a handler would stop the actor; send a message and handle its answer."""

    def __init__(self, doing: str) -> None:
        super().__init__(
            f"{doing} inside a handler would make the actor wait for others; "
            "send a message, and handle the answer as another message"
        )


class SystemClosed(ActorError):
    """The system has been closed; nothing can be started in it or asked of it."""

    def __init__(self) -> None:
        super().__init__("this actor system has been closed; start another one")
