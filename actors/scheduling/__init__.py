"""What should change, where it goes, and why something waits: pure functions of the agreed state.

# General layout
#
# reconcile.py   plans: desired against observed      placement.py   which node takes how many
# reasons.py     why replicas wait, node by node
# rebalance_plan.py   ordered moves that even out a fleet     rebalance.py    the search for a better assignment
# reassignment.py     the fleet as columns, its rules         layout.py       an assignment move by move
"""

from .placement import spread, take_away
from .reasons import Explanation, explain
from .reassignment import Balance, Reassignment
from .rebalance import steps
from .rebalance_plan import Move, RebalancePlan, even_fleet, plan_rebalance
from .reconcile import plan_call, plan_repair

__all__ = [
    "Balance",
    "Explanation",
    "Move",
    "Reassignment",
    "RebalancePlan",
    "even_fleet",
    "explain",
    "plan_call",
    "plan_rebalance",
    "plan_repair",
    "spread",
    "steps",
    "take_away",
]
