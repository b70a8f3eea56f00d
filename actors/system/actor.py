"""The Actor base class: what every actor of this program, and of programs that use it, subclasses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, Self

import pykka

from .pykka_bridge import Inbox, Reply, Stopped

if TYPE_CHECKING:
    from .context import Context


class Actor(pykka.Actor):
    """A mailbox and a handler. Messages are handled one at a time, so a handler needs no locks.

    A subclass overrides `on_receive`, and sees the world only through `self.context` (time, randomness, sending,
    timers, other actors): then the same class runs live and in virtual time. An exception in a handler is a crash: the
    system logs it and restarts the actor, made anew with the same arguments, with an empty mailbox.

    Start one with `spawn` of the system or of a context. `self.context` exists from `on_start` on, not in `__init__`.
    """

    mailbox_capacity: ClassVar[int] = 10_000
    """Messages that may wait. More from other actors are dropped and counted; `ask` raises MailboxFull."""

    overflow: ClassVar[Literal["drop_new", "drop_old"]] = "drop_new"
    """Which message is dropped when there is no room."""

    dedicated_thread: ClassVar[bool] = False
    """Live: a thread of its own, for an actor that blocks (disk, engine, socket)."""

    context: Context

    def __init__(self) -> None:
        """Nothing to do, and no need to call it: the system gives the actor all that it has, after `__init__`.

        Pykka's own `__init__` is left out on purpose; it makes a random id and an event for every actor.
        """

    def on_start(self) -> None:
        """Called once before the first message, in the actor's own turn."""

    def on_stop(self) -> None:
        """Called after the last message of an actor that is stopped; a crash calls `on_failure` instead."""

    def on_receive(self, message: Any) -> Any:
        """Handle one message. What it returns answers an ask; a returned Promise answers it when it is settled."""
        self.context.log.warning("unexpected message type=%s", type(message).__name__)

    def intake(self, message: Any) -> bool:
        """Optional: look at a message while it is being sent, before it is queued. True: consumed, nothing is queued.

        Runs in the sender's thread, perhaps before `on_start`, never at the same time as this actor's handlers; it must
        be quick and must not wait. Messages that reach the mailbox by `deliver` or by an ask are not offered.
        """
        return False

    def statistics(self) -> dict[str, int | float | str]:
        """This actor's own counters, added to those that the system keeps for every actor."""
        return {}

    # The rest makes a pykka.Actor of it: references, proxies and futures work, see pykka_bridge.py.

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Not the way to start one: an actor needs a system and a name."""
        raise TypeError(f"start {cls.__name__} with spawn: system.spawn({cls.__name__}, 'a name', ...)")

    def stop(self) -> None:
        """Stop this actor after the message that it handles."""
        self.context.stop()

    @property
    def actor_urn(self) -> str:  # type: ignore[override]
        """The actor's name: repeatable, where Pykka has a random id."""
        return self.context.name

    @property
    def actor_inbox(self) -> Inbox:  # type: ignore[override]
        """Where Pykka's references put their envelopes."""
        return self._create_actor_inbox()

    @property
    def actor_stopped(self) -> Stopped:  # type: ignore[override]
        """Whether this incarnation has ended, in the shape that Pykka's references want."""
        return Stopped(self.context)

    @property
    def actor_ref(self) -> pykka.ActorRef[Self]:
        """A Pykka reference to this incarnation; a restarted actor needs a new one, so prefer names."""
        return pykka.ActorRef(self)

    def _create_actor_inbox(self) -> Inbox:  # type: ignore[override]
        return Inbox(self.context)

    @staticmethod
    def _create_future() -> Reply:
        return Reply()

    def _start_actor_loop(self) -> None:
        raise TypeError("an actor runs in its system, not in a loop of its own")
