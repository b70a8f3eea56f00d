"""Where a node keeps its promises: its term, its vote and its log."""
