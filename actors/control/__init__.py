"""What a leader does besides leading: the control loop, and the decisions that it is made of.

# General layout:
#   loop.py         compares desired with observed, proposes the difference, waits, looks again
#   assigning.py    what each node was told, and has confirmed
#   liveness.py     which nodes are heard, which have fallen silent
#   answers.py      what it tells of services, tasks and nodes
#   rebalancing.py  plans of moves, made a slice at a time
#   plans.py        what it tells of what would happen if
#   membership.py   who should vote, given the nodes there are
#   usage.py        what replicas use, asked of their agents in rounds
#   autoscaler.py   how many replicas services should have, by what they use
#   cron.py         which services are due by the wall clock; schedules.py, when that is
"""

from .liveness import Liveness
from .loop import ControlBeat, ControlLoop, ControlTick
from .membership import VOTER_LOST_S, VOTERS, next_change
from .rebalancing import Planning
from .schedules import check_schedule, check_schedules
from .usage import UsageShown

__all__ = [
    "VOTERS",
    "VOTER_LOST_S",
    "ControlBeat",
    "ControlLoop",
    "ControlTick",
    "Liveness",
    "Planning",
    "UsageShown",
    "check_schedule",
    "check_schedules",
    "next_change",
]
