"""Options of the whole suite."""

import os

import hypothesis
import pytest

# No test measures time: a busy machine makes an example slow now and then, which says nothing about it.
hypothesis.settings.register_profile("raftyard", deadline=None)
hypothesis.settings.load_profile("raftyard")

SLICE_TIMEOUT_S, FULL_CAMPAIGN_TIMEOUT_S = 600, 3600
"""Of one test of a campaign: it has more to do than the suite's own timeout is meant for, perhaps beside others."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write what happens now into the transcripts (tests/**/transcripts/*.txt)",
    )


WAITS = ("test_tutorial.py", "test_crashes.py", "test_nested_restart.py", "test_restart.py")
"""Tests that mostly wait for programs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a campaign the time that it takes, also on a machine that others use. What waits begins first, while others
    compute."""
    items.sort(key=lambda item: item.path.name not in WAITS)
    is_full = os.environ.get("RAFTYARD_CAMPAIGN") == "full"
    limit_s = FULL_CAMPAIGN_TIMEOUT_S if is_full else SLICE_TIMEOUT_S
    for item in items:
        if item.get_closest_marker("campaign") is not None:
            item.add_marker(pytest.mark.timeout(limit_s))
