"""`raftyard scenario`: play scripted outages, check their files, list the stories that come with the program.

Exit codes: 0 passed, 1 a promise was broken or a step failed, 2 a file is wrong.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from raftyard.actors.scenarios import Outcome, Scenario

__all__ = ["scenario"]

_FAILED = 1
_WRONG = 2
_FILES = click.argument("files", nargs=-1, required=True, metavar="FILE...")


@click.group("scenario")
def scenario() -> None:
    """Script an outage, and get the same answer every time."""


@scenario.command("run")
@_FILES
@click.option(
    "--seed", type=int, help="Play with this seed; else the file's own, else one that is drawn and printed."
)
@click.option(
    "--clock", type=click.Choice(["virtual", "live"]), help="Play on this clock, whatever the file says."
)
@click.option(
    "--events",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the event log there, as JSON lines.",
)
@click.option("-v", "--verbose", is_flag=True, help="Tell every event.")
def _run(
    files: tuple[str, ...], seed: int | None, clock: str | None, events: Path | None, verbose: bool
) -> None:
    """Play scenarios: files, or names of the stories that come with the program."""
    from raftyard.actors.scenarios import play, told

    failed = 0
    for file in files:
        read = _read(file)
        with _quiet():
            outcome = play(read, seed=seed, clock=clock)
        failed += not outcome.passed
        click.echo(told(outcome, with_events=verbose))
        _write(outcome, events)
    if len(files) > 1:
        click.echo(f"{len(files) - failed} of {len(files)} passed")
    sys.exit(_FAILED if failed else 0)


@contextmanager
def _quiet() -> Iterator[None]:
    """What an actor logs when it is crashed on purpose is no news; what matters is in the event log."""
    logger = logging.getLogger("raftyard")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _write(outcome: Outcome, events: Path | None) -> None:
    if events is not None:
        events.write_bytes(b"".join(event.line() + b"\n" for event in outcome.events))


@scenario.command("check")
@_FILES
def _check(files: tuple[str, ...]) -> None:
    """Find every mistake in scenario files, with its place and the nearest right word."""
    from raftyard.actors.scenarios import WrongScenario, read_scenario_file

    wrong = 0
    for file in files:
        try:
            read_scenario_file(file)
        except WrongScenario as error:
            wrong += len(error.mistakes)
            click.echo(str(error), err=True)
        else:
            click.echo(f"{file}: ok")
    sys.exit(_WRONG if wrong else 0)


@scenario.command("schema")
def _schema() -> None:
    """Print the JSON Schema of scenario files, for editors."""
    from raftyard.actors.scenarios import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def _read(file: str) -> Scenario:
    from raftyard.actors.scenarios import WrongScenario, read_scenario_file

    try:
        return read_scenario_file(file)
    except WrongScenario as error:
        click.echo(str(error), err=True)
        sys.exit(_WRONG)
