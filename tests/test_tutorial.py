"""What a page tells its reader to do is done, command by command in an empty folder, and what it shows is printed.

tests/reader.py says how a page is read, and which commands are run with smaller numbers.
"""

from pathlib import Path

import pytest
from reader import SMALLER, STANDS_FOR, Reader, blocks_of, commands_of, inline_commands

PAGES = {
    "scenarios": ("docs/scenarios.md",),
    "stacks": ("docs/stacks.md",),
    "first-steps-and-data": ("docs/getting-started.md", "docs/data.md"),
}


@pytest.mark.timeout(400)  # half a minute of CPU, which a busy machine makes minutes of
@pytest.mark.parametrize("pages", PAGES.values(), ids=PAGES)
def test_every_command_of_a_page_does_and_prints_what_the_page_shows(pages: tuple[str, ...], tmp_path: Path) -> None:
    Reader(tmp_path).follow(*pages)


def test_no_exception_is_made_for_a_command_that_no_page_has() -> None:
    blocks = [block for pages in PAGES.values() for page in pages for block in blocks_of(page)]
    typed = [told.command for block in blocks for told in commands_of(block)]
    typed += [command for block in blocks for command in inline_commands(block.prose)]
    assert not [part for part in SMALLER if not any(part in command.split("#")[0] for command in typed)]
    assert not STANDS_FOR.keys() - set(typed)
