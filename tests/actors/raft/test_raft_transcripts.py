"""Conversations between members, told line by line and compared word for word; `--rewrite` writes them anew."""

from pathlib import Path

import pytest
from raft_transcript import Stage, played

FOLDER = Path(__file__).parent / "transcripts"
FILES = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_conversation_goes_as_it_is_written(file: Path, request: pytest.FixtureRequest) -> None:
    written = file.read_text(encoding="utf-8")
    now = played(written)
    if request.config.getoption("--rewrite"):
        file.write_text(now, encoding="utf-8")
    else:
        assert now == written, "see the difference above; if it is right: pytest --rewrite"


def test_a_command_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no such command: dance n1"):
        Stage().run("dance n1")


def test_every_command_is_used_somewhere() -> None:
    """One that no transcript needs would only be in the way."""
    commands = {name[3:].replace("_", "-") for name in dir(Stage) if name.startswith("do_")}
    used = {
        line.split()[1]
        for file in FILES
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.startswith("> ")
    }
    assert commands == used
