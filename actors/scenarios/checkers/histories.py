"""Clients see one service that answers one after the other, however many nodes there are: linearizability."""

from __future__ import annotations

from .base import Checker
from .linearizability import NotLinearizable, check

__all__ = ["Linearizable"]


class Linearizable(Checker):
    """The reads and writes of the scenario have an order, each between its call and its answer, that explains them."""

    name = "linearizable"
    promise = "one order of all reads and writes, each between its call and its answer, explains every answer"
    for_live_too = True
    from_outside_too = True

    def ended(self) -> None:
        try:
            check(self.history.operations)
        except NotLinearizable as error:
            raise self.broken(str(error)) from None
