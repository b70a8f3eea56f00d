"""A cell: all that the system knows of one name. The actor in it may be replaced; the cell stays until its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from queue import SimpleQueue
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .messages import Restart
from .promise import Promise

if TYPE_CHECKING:
    from .actor import Actor
    from .context import Context, Timer


class Control(Enum):
    """What the system itself puts into a mailbox."""

    START = "start"
    STOP = "stop"
    CRASH = "crash"  # the message is the error
    WIND_DOWN = "wind down"  # a child has ended: go on with the stop or restart that waits for it
    RESTART = "restart"
    OFFER = "offer"  # an ordinary message that `intake` has not seen yet
    PYKKA = "pykka"  # the message is a Pykka envelope
    PAUSE = "pause"  # from now on keep what comes instead of handling it
    RESUME = "resume"  # handle what was kept, in its order, before what waits in the mailbox


class State(Enum):
    """A cell's life; only a running one takes ordinary messages."""

    RUNNING = "running"
    STOPPING = "stopping"
    RESTARTING = "restarting"
    ENDING = "ending"  # as stopping, but there is no actor any more that could be told
    ENDED = "ended"


# Who sent it: a name, None for the outside, or while tracing (name, number of the message being handled).
Origin: TypeAlias = "str | tuple[str, int] | None"
# What makes a message more than an ordinary one: the promise of an ask, the timer that it is, or a control.
Via: TypeAlias = "Promise | Timer | Control | None"
# message, who sent it, the event that led to it, what is special about it. One is made for every message, so a tuple.
Item: TypeAlias = tuple[Any, Origin, "int | None", Via]

REFUSE = -1  # as `bound`: not even an empty mailbox has room


class Cell:
    """One name: its actor, its mailbox, its place in the tree, its counters."""

    __slots__ = (
        "actor",
        "args",
        "bound",
        "capacity",
        "children",
        "cls",
        "context",
        "crash_times",
        "crashes",
        "dropped",
        "end",
        "gate",
        "handled",
        "has_intake",
        "has_started",
        "held",
        "incarnation",
        "intake",
        "kwargs",
        "lock",
        "mailbox",
        "name",
        "number",
        "open_asks",
        "parent",
        "receive",
        "restart",
        "runq",
        "slow",
        "state",
        "watchers",
        "watching",
    )

    actor: Actor
    context: Context
    receive: Callable[[Any], Any]
    intake: Callable[[Any], bool] | None  # only for classes that override it, while the actor lives
    lock: RLock | None  # live, with intake: held by whoever runs the actor's code
    gate: Any  # live: a lock that is held while the cell is queued for, or running on, a thread
    runq: SimpleQueue[Cell | None] | None  # live: where the cell queues for its turn

    def __init__(
        self,
        name: str,
        number: int,
        cls: type[Actor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        restart: Restart,
        parent: Cell | None,
        has_intake: bool,
    ) -> None:
        self.name = name
        self.number = number
        self.cls = cls
        self.args = args
        self.kwargs = kwargs
        self.restart = restart
        self.parent = parent
        self.children: dict[str, Cell] | None = None  # in order of start
        self.watchers: dict[str, None] | None = None  # names, in the order in which they began to watch
        self.watching: dict[str, None] | None = None  # names, those whose watcher it is
        self.open_asks: dict[Promise, None] | None = None  # answered by promises that are not settled yet
        self.mailbox: deque[Item] = deque()
        self.capacity = cls.mailbox_capacity
        self.bound = REFUSE
        self.state = State.RESTARTING
        self.end: Literal["stopped", "gave-up"] = "stopped"
        self.incarnation = 0
        self.crash_times: tuple[int, ...] = ()
        self.has_started = False  # this incarnation's on_start came through
        self.handled = 0
        self.dropped = 0
        self.crashes = 0
        self.slow = 0
        self.held: list[Item] | None = None  # while paused: what came meanwhile
        self.has_intake = has_intake
        self.intake = None
        self.lock = None
        self.gate = Lock()
        self.runq = None

    @property
    def refuses(self) -> bool:
        """Whether nothing can be put into its mailbox; a paused actor's takes in, though nothing is taken out."""
        return self.state is not State.RUNNING

    @property
    def waiting(self) -> int:
        """How much waits in its mailbox, and while it is paused besides."""
        # The mailbox first: what goes from there to what is held is rather counted twice than not.
        in_mailbox = len(self.mailbox)
        held = self.held
        return in_mailbox if held is None else in_mailbox + len(held)
