"""How many commands three members agree on when each syncs before it acknowledges, and how long one takes.

As `live`, with sqlite files in the working directory: all members on the same disk, as are etcd's and PySyncObj's
beside them. Ours are three members in one process, with the client in it too; etcd's are three processes with a gRPC
client in a fourth, its usual shape. PySyncObj has a journal and never syncs it: compare its speed, not its safety.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from raftyard.actors import Live, Statistics

from . import Options, number, sample, talk
from ._etcd import Etcd
from ._members import start_members
from ._pysyncobj import Peers
from .live import WARM_UP_S, Client, Figures, Load, figures

OUTSTANDING = (1, 100, 256, 1000)


def one_run(outstanding: int, for_s: float) -> Figures:
    """Fresh members on fresh files, one load."""
    with TemporaryDirectory(dir=".") as place, Live() as system:
        leader = start_members(system, data=Path(place))
        system.spawn(Client, "client")
        load = Load(leader=leader, outstanding=outstanding, for_s=for_s)
        took = system.ask("client", load, timeout_s=for_s + 60)
        disk = system.ask(leader.replace("/node/", "/disk/"), Statistics())
    syncs = float(disk["syncs"]) / max(1.0, float(disk["entries"]))
    return figures(took, for_s) | {"syncs_per_commit": syncs}


def run(options: Options) -> dict[str, Any]:
    """`--runs 5 --seconds 2`: ours and the peers' runs, in turn, on the same disk."""
    runs, for_s = number(options, "runs", 5), float(number(options, "seconds", 2))
    kinds = ("one_process", "etcd", "pysyncobj")
    taken: dict[str, dict[int, list[Figures]]] = {kind: {size: [] for size in OUTSTANDING} for kind in kinds}
    with Peers(durable=True) as peers, Etcd() as etcd:
        for turn in range(runs):
            for outstanding in OUTSTANDING:
                taken["one_process"][outstanding].append(one_run(outstanding, for_s))
                for kind, peer in (("etcd", etcd), ("pysyncobj", peers)):
                    if peer.is_there:
                        took = peer.load(outstanding, for_s, WARM_UP_S)
                        taken[kind][outstanding].append(figures(took, for_s))
            talk(f"durable: run {turn + 1} of {runs}")
    return {"runs": runs, "three_processes": None} | {kind: _told(taken[kind]) for kind in kinds}


def _told(taken: dict[int, list[Figures]]) -> dict[str, Any] | None:
    if not all(taken.values()):
        return None
    return {
        str(outstanding): {key: sample(one[key] for one in samples) for key in samples[0]}
        for outstanding, samples in taken.items()
    }
