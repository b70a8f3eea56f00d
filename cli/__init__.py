"""The command line: `raftyard serve` starts a cluster; `python run.py` is the same command."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

__all__ = ["main"]

_USAGE_ERROR = 2


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="raftyard", prog_name="raftyard")
@click.pass_context
def main(context: click.Context) -> None:
    """A container orchestrator built as an actor system.

    Without a command it serves.
    """
    if context.invoked_subcommand is None:
        context.invoke(_serve)


@main.command("serve")
def _serve() -> None:
    """Start cluster 0 and answer REST calls until Ctrl-C or SIGTERM.

    Settings come from .env and the environment (which beats the file): PORT, DEFAULT_HOST, NODES, CAPACITY, TOKEN,
    THREADS, LOG_LEVEL.
    """
    # Loaded here, so that --help and wrong usage answer at once.
    from .settings import SettingError, load

    try:
        settings = load()
    except SettingError as error:
        _give_up(str(error))
    for warning in settings.warnings:
        click.echo(f"raftyard: {warning}", err=True)
    from .serve import CannotStart, serve as run

    try:
        run(settings)
    except CannotStart as error:
        _give_up(str(error))


def _give_up(reason: str) -> NoReturn:
    click.echo(f"raftyard: {reason}", err=True)
    sys.exit(_USAGE_ERROR)
