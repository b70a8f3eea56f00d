"""Options of the whole suite."""

import os

import pytest

FULL_CAMPAIGN_TIMEOUT_S = 3600
"""A slice of a campaign ends within the suite's own timeout; the whole of one does not."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write what happens now into the transcripts (tests/**/transcripts/*.txt)",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a whole campaign the time that it takes, also on a machine that others use."""
    if os.environ.get("RAFTYARD_CAMPAIGN") != "full":
        return
    for item in items:
        if item.get_closest_marker("campaign") is not None:
            item.add_marker(pytest.mark.timeout(FULL_CAMPAIGN_TIMEOUT_S))
