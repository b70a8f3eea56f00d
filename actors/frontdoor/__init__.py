"""What the front door of a cluster is made of: one matter a file, each handed to the Cluster actor that runs it.

# General layout:
#   home.py         what outlives the actors of one cluster on this host: its nodes, their storages, the cuts
#   claims.py       who claims to lead
#   courier.py      commands on their way into the log: sent again until they are applied
#   questions.py    questions to nodes, and the answers that came in time
#   calls.py        service calls: taken, carried to the leader, waited for, told
#   rebalancing.py  plans that even out the load, and their moves put into the log
#   services.py     services, tasks and nodes as resources: read from the leader, changed by commands
#   stacks.py       stacks: services that are deployed together
#   plans.py        what would happen if
#   refusals.py     what the state refuses, as an error with a hint
#   settings.py     what is so for the cluster as a whole
#   cables.py       which links are up, and how well they carry
#   transfers.py    the leadership handed over on request
#   addresses.py    which node an address means, and the address of a new one
#   ports.py        the ports that nodes listen on
#   hosting.py      of a nested cluster: where its nodes run, and which there should be
#   nesting.py      for the Orchestrator: which clusters are services of others
#   host.py         what these need of the actor
"""

from .cables import Cables, Recut
from .calls import Calls
from .claims import Claims
from .courier import CHANGE_S, Applied, Courier, Retry
from .home import Home
from .hosting import Hosting
from .nesting import Nesting
from .plans import Plans
from .ports import NodePorts, Ports
from .questions import Answers, Expired, Questions
from .rebalancing import Rebalancing
from .services import Services
from .settings import ClusterWide
from .stacks import Stacks
from .transfers import Transfers

__all__ = [
    "CHANGE_S",
    "Answers",
    "Applied",
    "Cables",
    "Calls",
    "Claims",
    "ClusterWide",
    "Courier",
    "Expired",
    "Home",
    "Hosting",
    "Nesting",
    "NodePorts",
    "Plans",
    "Ports",
    "Questions",
    "Rebalancing",
    "Recut",
    "Retry",
    "Services",
    "Stacks",
    "Transfers",
]
