"""The replicated state: what the nodes of a cluster agree on, and how commands change it. Pure.

# General layout
#
# commands.py   what stands in the log             machine.py    apply, snapshot, restore
# calls.py      a service call's body, read        reading.py    what one may ask
# records.py    the answers                        views.py      the same, ready for JSON
# replicas.py   what runs where, and the counts    call_queue.py service calls in line
# nodes.py services.py tasks.py   the tables       plans.py runs.py   placements, written short
# untold.py     events until they are told
# task_states.py  how far a task has come          invariants.py what is true after every command
# waiting.py    why replicas wait                  changes.py    what one command touches
# specs.py needs.py constraints.py  what a user asks of a service, what a replica takes, rules about nodes
# spec_reading.py node_reading.py   the same, read from JSON    obstacles.py  what keeps a node from taking one more
# gpus.py       devices: which of a node's a task holds, and how much of each
# restarts.py history.py depending.py   slots whose tasks ended, those tasks, and what is waited for
# replacing.py   what a lost node took with it, in one step
# forks.py   a copy to try things on
# service_commands.py node_commands.py  what commands do to those   snapshots.py  the state as bytes, and older ones
"""

from .machine import ClusterState, SnapshotError

__all__ = ["ClusterState", "SnapshotError"]
