"""What README.md shows is what happens: its commands, its calls, and the output of its programs."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import click.testing
from test_run import LINES, MISTYPED

from raftyard.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN = "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/python run.py"


def curl_lines(page: str) -> list[str]:
    """The command lines of a page's code blocks, with or without a prompt."""
    blocks = re.findall(r"^```(?:console|)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [
        line.removeprefix("$ ")
        for block in blocks
        for line in block.splitlines()
        if re.match(r"(\$ )?curl ", line)
    ]


def test_it_gives_the_two_commands_and_the_hint_of_run_py_is_the_first() -> None:
    blocks = re.findall(r"^```\n(.*?)\n```$", README, re.MULTILINE | re.DOTALL)
    test_command = re.search(r'^test_command="(.*)"$', (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert test_command
    assert {RUN, test_command[1]} <= set(blocks)
    assert RUN in (ROOT / "run.py").read_text()
    assert RUN in (ROOT / "docs/getting-started.md").read_text()


def test_its_calls_are_those_that_are_tried_on_a_running_yard_in_the_same_order() -> None:
    assert curl_lines(README) == [*LINES, MISTYPED]


def test_the_calls_of_the_first_steps_are_tried_too() -> None:
    known = {*LINES, MISTYPED, "curl localhost:8001/stats"}
    assert set(curl_lines((ROOT / "docs/getting-started.md").read_text())) <= known


def test_the_embedding_snippet_prints_what_stands_below_it() -> None:
    found = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", README, re.DOTALL)
    assert found
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(found[1], "README.md", "exec"), {})
    assert printed.getvalue() == found[2]


def test_the_example_prints_in_virtual_time_what_the_transcript_shows() -> None:
    found = re.search(
        r"^\$ .venv/bin/python (examples/embedding.py)\n(.*?)^live$", README, re.MULTILINE | re.DOTALL
    )
    assert found
    ran = subprocess.run(
        [sys.executable, ROOT / found[1]], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.startswith(found[2])


def test_the_story_prints_what_the_transcript_shows_and_its_events_have_that_digest() -> None:
    found = re.search(r"^\$ .venv/bin/(raftyard scenario run [^\n]*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found
    played = click.testing.CliRunner().invoke(main, found[1].split()[1:])
    of_cpu = re.compile(r"[\d.]+ s of CPU")
    assert of_cpu.sub("", played.output) == of_cpu.sub("", found[2])
