"""Random faults, drawn from the seed alone, then peace: the cluster must be in order again in time."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from .format import Chaos
from .quantities import ns_of

if TYPE_CHECKING:
    from .simulation import Simulation

__all__ = ["play_chaos"]

KEYS = ("x", "y", "z")
CLIENT_PAUSE_NS = 100_000_000
_DISK_FAULTS: tuple[dict[str, Any], ...] = (
    {"slow": 0.2},
    {"full": True},
    {"failing": 0.3},
    {"lose_power": True},
)


def play_chaos(sim: Simulation, chaos: Chaos) -> None:
    """Faults for `chaos.for_`, with clients if there are any; then everything is healed, and must settle."""
    end_ns = sim.now_ns + ns_of(chaos.for_)
    clients = [_Client(sim, number, chaos.clients) for number in range(chaos.clients)]
    for client in clients:
        client.begin(end_ns)
    number = 0
    random = Random(f"chaos/{sim.seed}")
    verbs, weights = list(chaos.faults), list(chaos.faults.values())
    while any(weights) and sim.now_ns < end_ns:
        sim.pass_until(min(end_ns, sim.now_ns + _about(random, chaos.every)))
        if sim.now_ns >= end_ns:
            break
        number += 1
        verb = random.choices(verbs, weights)[0]
        # On the live clock it may be over by now.
        lasting_s = max(0, min(_about(random, chaos.lasting), end_ns - sim.now_ns)) / 1e9
        if chaos.only is not None and number not in chaos.only:
            continue
        # A stream of its own for each fault, so that one that is left out changes no other.
        sim.random = Random(f"chaos/{sim.seed}/{number}")
        sim.emit("scenario-step", step=number, verb=verb, what=f"chaos {number}: {verb} for {lasting_s:.3f}s")
        _strike(sim, verb, lasting_s)
    sim.pass_until(end_ns)
    sim.emit("scenario-log", text="chaos is over: everything is healed")
    sim.settle(chaos.settle)


def _about(random: Random, time: str) -> int:
    """Half to one and a half times as long."""
    return round(ns_of(time) * random.uniform(0.5, 1.5))


def _strike(sim: Simulation, verb: str, for_: float) -> None:
    random, names = sim.random, sim.names()
    if len(names) < 2:
        return
    target = "leader" if random.random() < 0.4 and sim.view.leader in names else "one"
    pair = random.sample(names, 2)
    match verb:
        case "cut":
            sim.cut("->".join(pair) if random.random() < 0.5 else "-".join(pair), for_=for_)
        case "isolate":
            sim.isolate(target, for_=for_)
        case "partition":
            sim.partition(random.choice(("halves", "majority", "ring", "bridge")), for_=for_)
        case "crash":
            sim.crash(target, for_=for_)
        case "pause":
            sim.pause(target, for_=for_)
        case "loss" | "duplicate" | "reorder":
            getattr(sim, verb)(random.choice((0.05, 0.2, 0.5)), for_=for_)
        case "delay":
            sim.delay(random.uniform(0.0, 0.1), jitter=random.uniform(0.0, 0.05), for_=for_)
        case "drain":
            sim.begin_drain(target, for_=for_)
        case "clock":
            sim.clock(target, **_clock_fault(random), for_=for_)
        case "disk":
            sim.disk(target, **random.choice(_DISK_FAULTS), for_=for_)


def _clock_fault(random: Random) -> dict[str, Any]:
    if random.random() < 0.5:
        return {"leap": random.choice((0.1, 1.0, 10.0))}
    return {"rate": random.choice((0.5, 0.9, 1.1, 2.0))}


class _Client:
    """Writes and reads one after the other, by itself, until the chaos ends."""

    def __init__(self, sim: Simulation, number: int, many: int) -> None:
        self._sim = sim
        self._many = many
        self._name = f"client {number}"
        self._random = Random(f"client/{sim.seed}/{number}")
        self._number = number
        self._count = 0
        self._until_ns = 0

    def begin(self, until_ns: int) -> None:
        self._until_ns = until_ns
        self._sim.later(self._pause_ns(), self._act)

    def _pause_ns(self) -> int:
        return round(self._random.uniform(0.2, 2.0) * CLIENT_PAUSE_NS)

    def _act(self) -> None:
        sim = self._sim
        if sim.now_ns >= self._until_ns:
            return
        key = self._random.choice(KEYS)
        self._count += 1
        if self._random.random() < 0.5:
            # Never the same twice, so that each read tells its write.
            value = self._count * self._many + self._number
            sim.begin_write({key: value}, f"{self._name}.{self._count}", 3.0)
        else:
            names = sim.names()
            node = self._random.choice(names) if names else None
            if node is not None:
                sim.begin_read(key, node, f"{self._name}.{self._count}")
        sim.later(self._pause_ns(), self._act)
