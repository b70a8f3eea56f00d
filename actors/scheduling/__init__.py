"""What should change, where it goes, and why something waits: pure functions of the agreed state.

# General layout
#
# reconcile.py   plans: desired against observed      placement.py   which node takes how many of the same
# updating.py    how a rolling update goes on
# reasons.py     why replicas wait, node by node      moving.py      which replicas may not stay where they are
#
# Replicas of all kinds, one at a time, with several resources and GPUs:
#
# placer.py      which node, which devices, or why     fleet.py       what nodes have free, as columns
# profiles.py    spread, binpack, cosine               mixed.py       the profile for mixed loads with GPUs
# demand.py      what kinds of replicas ask for GPUs
"""

from .fleet import Fleet, Reservation
from .placement import spread, take_away
from .placer import PROFILES, Placed, Placer, Unplaced
from .reasons import Explanation, explain, why_update_waits
from .reconcile import plan_call, plan_repair

__all__ = [
    "PROFILES",
    "Explanation",
    "Fleet",
    "Placed",
    "Placer",
    "Reservation",
    "Unplaced",
    "explain",
    "plan_call",
    "plan_repair",
    "spread",
    "take_away",
    "why_update_waits",
]
