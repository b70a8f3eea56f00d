"""What should change, where it goes, and why: pure, on the replicated state alone.

# General layout
#
# reconcile.py   plans: desired against observed      placement.py   which node takes how many of the same
# repairs.py     those plans in a bounded size, one after the other
# updating.py    how a rolling update goes on
# planning.py    what a change would do, beforehand     forecast.py    the control loop on a copy of the state
# survival.py    which single nodes could be lost
# wishes.py wish_reading.py   the changes that one may plan, and their JSON
# reasons.py     why replicas wait, node by node      moving.py      which replicas may not stay where they are
# choosing.py    the same by profile, with devices    affinity.py    which nodes a service rather goes to
#
# Replicas of all kinds, one at a time, with several resources and GPUs:
#
# placer.py      which node, which devices, or why     fleet.py       what nodes have free, as columns
# profiles.py    spread, binpack, cosine               mixed.py       the profile for mixed loads with GPUs
# demand.py      what kinds of replicas ask for GPUs   measured.py    what runs on nodes uses, for the profile `usage`
#
# Moves that even out a fleet:
#
# evening.py          moves of a running cluster, slice by slice
# rebalance_plan.py   ordered moves that end better    rebalance.py    the search for a better assignment
# reassignment.py     the fleet as columns, its rules  layout.py       an assignment move by move
"""

from .evening import EvenPlan, even_plan
from .fleet import Fleet, Reservation
from .placement import spread, take_away
from .placer import PROFILES, Placed, Placer, Unplaced
from .reasons import Explanation, explain, why_update_waits
from .reassignment import Balance, Reassignment
from .rebalance import steps
from .rebalance_plan import Move, RebalancePlan, even_fleet, plan_rebalance
from .reconcile import plan_call, plan_repair

__all__ = [
    "PROFILES",
    "Balance",
    "EvenPlan",
    "Explanation",
    "Fleet",
    "Move",
    "Placed",
    "Placer",
    "Reassignment",
    "RebalancePlan",
    "Reservation",
    "Unplaced",
    "even_fleet",
    "even_plan",
    "explain",
    "plan_call",
    "plan_rebalance",
    "plan_repair",
    "spread",
    "steps",
    "take_away",
    "why_update_waits",
]
