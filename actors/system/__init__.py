"""How actors run: the Actor base class and the two clocks, live and virtual.

    class Greeter(Actor):
        def on_receive(self, message):
            return f"hello, {message}"

    with Virtual(seed=1) as system:          # or Live()
        system.spawn(Greeter, "greeter")
        system.ask("greeter", "world")

# General layout
#
# actor.py      what one subclasses                 context.py   what an actor may do, and its timers
# system.py     names, supervision, watching        cell.py      what the system knows of one name
# live.py       real time, a pool of threads        virtual.py   virtual time, one heap, one seed
# events.py     the event log                       promise.py   an answer given later
# messages.py   Terminated, Statistics, ...         errors.py    what can go wrong
# testkit.py    probes that expect messages         pykka_bridge.py   Pykka's references and proxies
"""

from .actor import Actor
from .context import Context, Timer
from .errors import (
    ActorCrashed,
    ActorError,
    AskInHandler,
    AskTimeout,
    MailboxFull,
    NameTaken,
    NoSuchActor,
    SystemClosed,
)
from .events import Event, EventLog
from .live import Live
from .messages import Restart, Statistics, Terminated, Traced
from .promise import Promise
from .system import System
from .testkit import Probe
from .virtual import Virtual

__all__ = [
    "Actor",
    "ActorCrashed",
    "ActorError",
    "AskInHandler",
    "AskTimeout",
    "Context",
    "Event",
    "EventLog",
    "Live",
    "MailboxFull",
    "NameTaken",
    "NoSuchActor",
    "Probe",
    "Promise",
    "Restart",
    "Statistics",
    "System",
    "SystemClosed",
    "Terminated",
    "Timer",
    "Traced",
    "Virtual",
]
