"""What a leader does besides leading: the control loop, and the decisions that it is made of.

# General layout:
#   loop.py         compares desired with observed, proposes the difference, waits, looks again
#   liveness.py     which nodes are heard, which have fallen silent
#   answers.py      what it tells of services, tasks and nodes
#   rebalancing.py  plans of moves, made a slice at a time
#   plans.py        what it tells of what would happen if
#   membership.py   who should vote, given the nodes there are
"""

from .liveness import Liveness
from .loop import ControlLoop, ControlTick
from .membership import VOTER_LOST_S, VOTERS, next_change
from .rebalancing import Planning

__all__ = ["VOTERS", "VOTER_LOST_S", "ControlLoop", "ControlTick", "Liveness", "Planning", "next_change"]
