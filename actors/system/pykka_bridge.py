"""What makes our actors Pykka actors: references, asks and proxies of Pykka reach their mailboxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pykka
from pykka._envelope import Envelope

from .promise import Promise

if TYPE_CHECKING:
    from .context import Context


class Reply(pykka.ThreadingFuture[Any]):
    """A Pykka future whose `get` knows its system: in virtual time it runs it, in a handler it refuses to wait."""

    def __init__(self) -> None:
        super().__init__()
        self._context: Context | None = None
        self._promise = Promise()

    def attach(self, context: Context) -> Promise:
        """The promise that settles this future. Pykka makes futures of a class, so this one learns its system late."""
        self._context = context
        self._promise.on_settled(self._settle)
        return self._promise

    def get(self, *, timeout: float | None = None) -> Any:
        """The answer; raises pykka.Timeout after `timeout` seconds of the system's clock."""
        if self._context is not None:
            self._context.wait_outside(self._promise, timeout)
        return super().get(timeout=timeout)

    def _settle(self, promise: Promise) -> None:
        if promise.error is None:
            self.set(promise.value)
        else:
            self.set_exception((type(promise.error), promise.error, promise.error.__traceback__))


class Inbox:
    """Takes Pykka's envelopes; our own messages do not pass here."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def put(self, envelope: Envelope[Any], /) -> None:
        """Queue an envelope as a message."""
        self._context.put_envelope(envelope)

    def get(self) -> Envelope[Any]:
        """Never used: the system takes the messages out."""
        raise NotImplementedError("the system takes messages out of a mailbox, not the inbox")

    def empty(self) -> bool:
        """Whether no message waits."""
        return self._context.depth == 0


class Stopped:
    """The part of threading.Event that Pykka's references use; a real Event is 1 KiB an actor."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def is_set(self) -> bool:
        """Whether the incarnation has ended."""
        return not self._context.is_current
