"""Consensus: one member's part of Raft as a value machine. It is given what happened and says what to do."""

from .config import RaftConfig
from .core import Raft, Restored, Role

__all__ = ["Raft", "RaftConfig", "Restored", "Role"]
