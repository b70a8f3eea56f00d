"""`raftyard scenario`: play scripted outages, check their files, list the stories that come with the program.

Exit codes: 0 passed, 1 a promise was broken or a step failed, 2 a file is wrong.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from raftyard.actors.scenarios import Outcome, Scenario

__all__ = ["scenario"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FAILED = 1
_WRONG = 2
_FILES = click.argument("files", nargs=-1, required=True, metavar="FILE...")


@click.group("scenario")
def scenario() -> None:
    """Script an outage, and get the same answer every time."""


def _to_file(name: str, help: str) -> Callable[[_Command], _Command]:
    return click.option(name, type=click.Path(dir_okay=False, path_type=Path), metavar="PATH", help=help)


@scenario.command("run")
@_FILES
@click.option(
    "--seed", type=int, help="Play with this seed; else the file's own, else one that is drawn and printed."
)
@click.option(
    "--clock", type=click.Choice(["virtual", "live"]), help="Play on this clock, whatever the file says."
)
@_to_file("--events", "Write the event log there, as JSON lines.")
@_to_file("--junit", "Write JUnit XML there, for a CI server; of all files together.")
@_to_file("--html", "Write a timeline there: one page that opens in a browser.")
@_to_file("--trace", "Write a Chrome trace there, which Perfetto (ui.perfetto.dev) opens.")
@_to_file("--shiviz", "Write a log for ShiViz there: who could have known what.")
@click.option("-v", "--verbose", is_flag=True, help="Tell every event.")
def _run(
    files: tuple[str, ...],
    seed: int | None,
    clock: str | None,
    junit: Path | None,
    verbose: bool,
    **reports: Path | None,
) -> None:
    """Play scenarios: files, or names of the stories that come with the program."""
    from raftyard.actors.scenarios import play, told

    wanted = {name: path for name, path in reports.items() if path is not None}
    if wanted and len(files) > 1:
        raise click.UsageError(f"--{next(iter(wanted))} is of one run; name one file")
    outcomes = []
    for file in files:
        read = _read(file)
        with _quiet():
            outcome = play(read, seed=seed, clock=clock, with_messages=bool(wanted.keys() - {"events"}))
        outcomes.append(outcome)
        click.echo(told(outcome, with_events=verbose))
        _write(outcome, wanted)
    if junit is not None:
        from raftyard.actors.scenarios.reports import junit_xml

        _save(junit, junit_xml(outcomes))
    failed = sum(not outcome.passed for outcome in outcomes)
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


def _write(outcome: Outcome, wanted: dict[str, Path]) -> None:
    from raftyard.actors.scenarios import told
    from raftyard.actors.scenarios.reports import chrome_trace, html_timeline, shiviz_log

    for name, path in wanted.items():
        match name:
            case "events":
                content = b"".join(event.line() + b"\n" for event in outcome.events)
            case "html":
                page = html_timeline(
                    outcome.events, outcome.messages, title=outcome.title, told=told(outcome)
                )
                content = page.encode()
            case "trace":
                content = chrome_trace(outcome.events, outcome.messages)
            case _:
                content = shiviz_log(outcome.events, outcome.messages).encode()
        _save(path, content)


def _save(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        click.echo(f"raftyard: {path} cannot be written: {error.strerror}", err=True)
        sys.exit(_WRONG)


@scenario.command("timeline")
@click.argument("log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("page", type=click.Path(dir_okay=False, path_type=Path))
def _timeline(log: Path, page: Path) -> None:
    """Make an HTML timeline (PAGE) of a recorded event log (LOG): JSON lines, of a scenario or of a running program."""
    from raftyard.actors.scenarios import WrongScenario
    from raftyard.actors.scenarios.reports import html_timeline, read_events

    try:
        events = read_events(log)
    except WrongScenario as error:
        click.echo(str(error), err=True)
        sys.exit(_WRONG)
    _save(page, html_timeline(events, title=log.name).encode())
    click.echo(f"{page}: {len(events)} events")


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
