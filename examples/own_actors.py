"""Your own actors on Raftyard's actor system, once in virtual time and once live.

A kitchen with one cook and one waiter. The cook takes a minute a dish and burns every third one: then it crashes, is
restarted, and the waiter, who watches it, orders again. In virtual time the evening is over at once.

    python examples/own_actors.py
"""

import logging
from typing import Any

import msgspec

from raftyard.actors.system import Actor, Live, Promise, Restart, System, Terminated, Virtual


class Order(msgspec.Struct, frozen=True, kw_only=True):
    dish: str


class Cooked(msgspec.Struct, frozen=True, kw_only=True):
    dish: str


class OrderAgain(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Serve(msgspec.Struct, frozen=True, kw_only=True):
    dishes: tuple[str, ...]


class Cook(Actor):
    """Cooks one dish at a time: the time it takes is a timer, so nobody is blocked meanwhile."""

    def __init__(self, seconds_a_dish: float) -> None:
        self.seconds_a_dish = seconds_a_dish

    def on_receive(self, message: Any) -> None:
        match message:
            case Order(dish=dish):
                self.context.after(self.seconds_a_dish, Cooked(dish=dish))
            case Cooked(dish=dish) if self.context.random.random() < 1 / 3:
                raise RuntimeError(f"burned the {dish}")
            case Cooked():
                self.context.send("waiter", message)


class Waiter(Actor):
    """Answers `Serve` when all dishes are on the table."""

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self.waiting: list[str] = []
        self.served: list[str] = []
        self.burned = 0

    def on_start(self) -> None:
        self.context.watch("cook")

    def on_receive(self, message: Any) -> Promise | None:
        match message:
            case Serve(dishes=dishes):
                self.waiting, self.bill = list(dishes), self.context.promise()
                self.order()
                return self.bill  # the ask is answered when it is kept
            case Cooked(dish=dish):
                self.served.append(self.waiting.pop(0))
                self.context.emit("served", dish=dish)
                self.order()
            case Terminated(reason="crashed"):  # it comes back, but has forgotten everything
                self.burned += 1
                self.context.after(self.patience_s, OrderAgain())
            case OrderAgain():
                self.order()
        return None

    def order(self) -> None:
        if self.waiting:
            self.context.send("cook", Order(dish=self.waiting[0]))
        else:
            self.bill.keep(f"{', '.join(self.served)}; {self.burned} burned")


def evening(system: System, seconds_a_dish: float) -> str:
    """Open the kitchen, order, and return what came of it."""
    system.spawn(Cook, "cook", seconds_a_dish, restart=Restart(limit=100))
    system.spawn(Waiter, "waiter", seconds_a_dish / 10)
    answer = system.ask("waiter", Serve(dishes=("soup", "fish", "cake")), timeout_s=3600)
    return f"{answer}; {system.now_ns / 1e9:.1f} s on this clock"


def main() -> None:
    logging.disable()  # a burned dish would be a traceback here
    with Virtual(seed=3) as system:
        print("virtual:", evening(system, seconds_a_dish=60))
        for event in system.events.since(0):
            print("        ", event.line().decode())
    with Live(seed=3) as system:
        print("live:   ", evening(system, seconds_a_dish=0.05))


if __name__ == "__main__":
    main()
