"""What should change, where it goes, and why something waits: pure functions of the agreed state.

# General layout
#
# reconcile.py   plans: desired against observed      placement.py   which node takes how many
# reasons.py     why replicas wait, node by node
"""

from .placement import spread, take_away
from .reasons import Explanation, explain
from .reconcile import plan_call, plan_repair

__all__ = ["Explanation", "explain", "plan_call", "plan_repair", "spread", "take_away"]
