"""The command line: `raftyard serve` starts a cluster; `python run.py` is the same command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import click
import msgspec

from .plans import plan as _plan
from .scenarios import scenario as _scenario
from .stacks import stack as _stack

__all__ = ["main"]

_FAILED = 1
_USAGE_ERROR = 2
_KEEPERS = ("serve", "backup", "restore")
"""The commands that take --data and --ephemeral, before their name or behind it."""


_DATA = (
    click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        help="The folder that keeps everything. Without it: DATA_DIR, else data.",
    ),
    click.option("--ephemeral", is_flag=True, help="Keep everything in memory, and nothing after the end."),
)


def _with_data(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say where everything is kept."""
    for option in reversed(_DATA):
        command = option(command)
    return command


def _said(data: Path | None, ephemeral: bool) -> tuple[Path | None, bool]:
    """The options, wherever they stood: before the command they are the group's."""
    before = click.get_current_context().find_root().params
    first = before.get("data")
    if data is not None and first is not None and data != first:
        _give_up(f"--data is given twice, as {first} and as {data}; name one folder")
    return data or first, ephemeral or bool(before.get("ephemeral"))


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="raftyard", prog_name="raftyard")
@_with_data
@click.pass_context
def main(context: click.Context, data: Path | None, ephemeral: bool) -> None:
    """A container orchestrator built as an actor system.

    Without a command it serves.
    """
    command = context.invoked_subcommand
    if command is None:
        context.invoke(_serve, data=data, ephemeral=ephemeral)
    elif command not in _KEEPERS and (data is not None or ephemeral):
        _give_up(f"{'--ephemeral' if data is None else '--data'} is not for {command}; leave it out")


@main.command("serve")
@_with_data
def _serve(data: Path | None, ephemeral: bool) -> None:
    """Start the clusters and answer REST calls until Ctrl-C or SIGTERM.

    What was there when the program last ended, however it ended, is there again. Settings come from .env and the
    environment (which beats the file): PORT, DEFAULT_HOST, NODES, CAPACITY, TOKEN, THREADS, DATA_DIR, LOG_LEVEL.
    """
    data, ephemeral = _said(data, ephemeral)
    # Loaded here, so that --help and wrong usage answer at once.
    from .settings import SettingError, load

    try:
        settings = load()
    except SettingError as error:
        _give_up(str(error))
    if data is not None and ephemeral:
        _give_up("--data keeps everything and --ephemeral nothing; name one of them")
    if data is not None or ephemeral:
        settings = msgspec.structs.replace(settings, data_dir=data)
    for warning in settings.warnings:
        click.echo(f"raftyard: {warning}", err=True)
    from .serve import CannotStart, serve as run

    try:
        run(settings)
    except CannotStart as error:
        _give_up(str(error))


def _give_up(reason: str, exit_code: int = _USAGE_ERROR) -> NoReturn:
    click.echo(f"raftyard: {reason}", err=True)
    sys.exit(exit_code)


@main.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_with_data
def _backup(file: Path, data: Path | None, ephemeral: bool) -> None:
    """Copy what is kept into FILE, which must not be there yet. The program may run meanwhile."""
    from . import backups

    _carry_out(lambda folder: backups.backup(folder, file), data, ephemeral)


@main.command("restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_with_data
def _restore(file: Path, data: Path | None, ephemeral: bool) -> None:
    """Put a backup into an empty data folder; the next start finds everything that was in it."""
    from . import backups

    _carry_out(lambda folder: backups.restore(file, folder), data, ephemeral)


main.add_command(_scenario)
main.add_command(_plan)
main.add_command(_stack)


def _carry_out(action: Callable[[Path], str], data: Path | None, ephemeral: bool) -> None:
    """Do something with the data folder, and say in one line how it went."""
    from .backups import CannotCopy
    from .settings import SettingError, load

    data, ephemeral = _said(data, ephemeral)
    if ephemeral:
        _give_up("--ephemeral keeps nothing that could be copied; name the folder with --data")
    try:
        folder = data or load().data_dir
        assert folder is not None, "only --ephemeral gives none"
        click.echo(action(folder))
    except SettingError as error:
        _give_up(str(error))
    except CannotCopy as error:
        _give_up(str(error), exit_code=_FAILED)
