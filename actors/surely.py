"""Messages that are said once, and waited for: a mailbox that is full does not lose them."""

from __future__ import annotations

from .messages import Message
from .system import Context

__all__ = ["tell_surely"]


def tell_surely(context: Context, to: str, message: Message) -> None:
    """Send past the bound of the other's mailbox, as its own timers pass it.

    It does so long before that is full, as others put messages into it meanwhile. In number they must be bounded
    otherwise. One that passes is not handed on to the other's next incarnation.
    """
    cell = context.cells.get(to)
    if cell is None or len(cell.mailbox) < cell.capacity // 2:
        context.send(to, message)
    else:
        cell.context.after_ns(0, message)
