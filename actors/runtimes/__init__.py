"""What a replica really is, where it is not simulated by the agent itself.

A runtime is told what its node should run and says what it wants done: plain values, effects, that the agent carries
out. It knows no actors.

# General layout:
#   nested.py       a node of a nested cluster
"""

from .nested import NestedRuntime

__all__ = ["NestedRuntime"]
