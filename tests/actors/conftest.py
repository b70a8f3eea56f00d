"""A started yard on virtual time, every promise checked after every event."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from yard import Yard


@pytest.fixture
def yard() -> Iterator[Yard]:
    """Five nodes of capacity 100, a leader, and nothing to do."""
    with Yard(seed=1) as started:
        started.settle()
        yield started
