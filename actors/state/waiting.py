"""Why replicas wait, in one line: the numbers that a person needs to see what is missing."""

from __future__ import annotations

import numpy as np

from .nodes import NodeTable


def why_waiting(waiting: int, replicas: int, size: int, nodes: NodeTable) -> str:
    """A sentence for `waiting` of `replicas` replicas that take `size` slots each; empty when none waits."""
    if waiting <= 0:
        return ""
    who = f"{waiting} of {replicas} replicas wait"
    ready = int(np.count_nonzero(nodes.ready))
    if not ready:
        return f"no node is ready: {who}; {len(nodes.present())} nodes are known; start or add one"
    free = nodes.free()
    total, widest, capacity = int(free.sum()), int(free.max()), int(nodes.capacity[nodes.ready].sum())
    where = f"on {ready} ready node{'s' if ready > 1 else ''}"
    if widest >= size:
        return f"not placed yet: {who}; free slots {total} of {capacity} {where}; the next plan places them"
    need = "" if size == 1 else f"; each takes {size} slots and the freest node has {widest}"
    return f"no room: {who}; free slots {total} of {capacity} {where}{need}; add a node or ask for fewer"
