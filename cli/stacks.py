"""`raftyard stack`: deploy the services of a Compose file together, and see what became of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from .client import Client, Failed, as_json, with_client
from .printing import echo_json, echo_table

__all__ = ["compose_document", "echo_warnings", "stack"]

FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group("stack")
def stack() -> None:
    """Deploy the services of a Compose file together: all of them, or none."""


@stack.command("deploy")
@FILE
@click.argument("name")
@click.option(
    "--version", type=click.IntRange(min=0), help="Only while that is the stack's version; 0: none yet."
)
@as_json
@with_client
def _deploy(client: Client, file: Path, name: str, version: int | None, is_json: bool) -> None:
    """Make the services of FILE those of the stack NAME; what is no longer in it is removed.

    What Raftyard does not know of Compose is ignored, and told. $VARIABLES come from the environment.
    """
    deployed = client.ask("PUT", f"stacks/{name}", compose_document(file), version=version)
    if is_json:
        echo_json(deployed)
        return
    echo_warnings(deployed["warnings"])
    click.echo(f"stack {name} is deployed as version {deployed['version']}")
    _echo_services(deployed)


@stack.command("list")
@as_json
@with_client
def _list(client: Client, is_json: bool) -> None:
    """Every stack, and how much of it runs."""
    listed = client.ask("GET", "stacks", limit=1000)
    if is_json:
        echo_json(listed)
        return
    columns = ("name", "version", "service_count", "replicas", "placed", "pending")
    echo_table(
        ("STACK", "VERSION", "SERVICES", "REPLICAS", "PLACED", "WAIT"),
        [[one[column] for column in columns] for one in listed["results"]],
    )


@stack.command("show")
@click.argument("name")
@as_json
@with_client
def _show(client: Client, name: str, is_json: bool) -> None:
    """One stack, service by service."""
    shown = client.ask("GET", f"stacks/{name}")
    if is_json:
        echo_json(shown)
        return
    click.echo(f"stack {name}, version {shown['version']}")
    _echo_services(shown)


@stack.command("remove")
@click.argument("name")
@click.option("--version", type=click.IntRange(min=0), help="Only while that is the stack's version.")
@with_client
def _remove(client: Client, name: str, version: int | None) -> None:
    """Stop all services of a stack and forget them."""
    client.ask("DELETE", f"stacks/{name}", version=version)
    click.echo(f"stack {name} is removed")


def compose_document(file: Path) -> Any:
    """The document in a Compose file, with its variables put in. Raises Failed."""
    from .compose_file import WrongFile, read_yaml, with_variables

    unset: dict[str, None] = {}
    try:
        document = with_variables(read_yaml(file), os.environ, unset)
    except WrongFile as error:
        raise Failed(str(error), 2) from None
    if not isinstance(document, dict):
        raise Failed(f"{file}: expected keys such as services, and their values", 2)
    for name in unset:
        click.echo(f"raftyard: {file}: {name} is not set; an empty text stands for it", err=True)
    return document


def echo_warnings(warnings: list[dict[str, str]]) -> None:
    """What a document says to no effect."""
    for warning in warnings:
        click.echo(f"raftyard: {warning['path']}: {warning['message']}", err=True)


def _echo_services(shown: dict[str, Any]) -> None:
    columns = ("name", "mode", "replicas", "placed", "pending")
    rows = [
        [
            *(service[column] for column in columns),
            service["spec"].get("image", ""),
            service.get("reason", ""),
        ]
        for service in shown["services"]
    ]
    echo_table(("SERVICE", "MODE", "REPLICAS", "PLACED", "WAIT", "IMAGE", "WHY"), rows)
