"""Consensus: one member's part of Raft as a value machine. It is given what happened and says what to do."""
