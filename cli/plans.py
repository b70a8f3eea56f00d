"""`raftyard plan`: what a change would start, stop, move and leave waiting. Nothing is changed.

Exit codes: 0 all that is wanted has a place, 1 more would wait than now; the others as in client.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from .client import Client, Failed, as_json, with_client
from .printing import echo_json
from .stacks import FILE, compose_document, echo_warnings

__all__ = ["plan"]

_WAITS = 1
NODES_SHOWN = 20


@click.group("plan")
def plan() -> None:
    """See what would happen, before it does.

    Ends with code 1 where more replicas would wait than now.
    """


@plan.command("service")
@click.argument("name")
@click.option(
    "--spec",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The whole spec, JSON or YAML.",
)
@click.option("--patch", metavar="JSON", help="What is to change, as in PATCH.")
@click.option("--replicas", type=click.IntRange(min=0), help="What is to change: the number of replicas.")
@click.option("--image", help="What is to change: the image.")
@click.option("--version", type=click.IntRange(min=0), help="Only while that is the service's version.")
@as_json
@with_client
def _service(
    client: Client,
    name: str,
    spec: Path | None,
    patch: str | None,
    replicas: int | None,
    image: str | None,
    version: int | None,
    is_json: bool,
) -> None:
    """A new service, or a change of one."""
    changes = {key: value for key, value in (("replicas", replicas), ("image", image)) if value is not None}
    asked: dict[str, Any] = {"name": name} | ({} if version is None else {"version": version})
    if spec is not None:
        asked["spec"] = _spec(spec) | changes
    elif patch is not None or changes:
        asked["patch"] = _patch(patch) | changes
    else:
        raise click.UsageError("say what is to change: --spec, --patch, --replicas or --image")
    _echo(client, {"service": asked}, is_json)


@plan.command("stack")
@FILE
@click.argument("name")
@click.option("--version", type=click.IntRange(min=0), help="Only while that is the stack's version.")
@as_json
@with_client
def _stack(client: Client, file: Path, name: str, version: int | None, is_json: bool) -> None:
    """What `raftyard stack deploy FILE NAME` would do."""
    asked = {"name": name, "document": compose_document(file)}
    _echo(client, {"stack": asked | ({} if version is None else {"version": version})}, is_json)


@plan.command("drain")
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@click.option(
    "--max-parallel", type=click.IntRange(min=0), default=0, help="So many of a service at a time; 0: all."
)
@click.option(
    "--deadline", type=click.FloatRange(min=0), metavar="SECONDS", help="After that the rest goes at once."
)
@as_json
@with_client
def _drain(
    client: Client, nodes: tuple[str, ...], max_parallel: int, deadline: float | None, is_json: bool
) -> None:
    """Nodes give up what they have."""
    asked = {"nodes": list(nodes), "max_parallel": max_parallel, "deadline_s": deadline}
    _echo(client, {"drain": asked}, is_json)


@plan.command("loss")
@click.argument("nodes", nargs=-1, metavar="NODE...")
@click.option("--each", is_flag=True, help="Every node in turn: which single ones could be lost?")
@as_json
@with_client
def _loss(client: Client, nodes: tuple[str, ...], each: bool, is_json: bool) -> None:
    """Nodes fail, all at the same time; or each alone."""
    if bool(nodes) == each:
        raise click.UsageError("name the nodes, or say --each")
    if not each:
        _echo(client, {"loss": list(nodes)}, is_json)
        return
    report = client.ask("POST", "plan", {"loss": "each"})
    if is_json:
        echo_json(report)
    else:
        for line in _survival_lines(report):
            click.echo(line)
    if report["losses"]:
        raise click.exceptions.Exit(_WAITS)


def _spec(file: Path) -> dict[str, Any]:
    from .compose_file import WrongFile, read_yaml

    try:
        found = read_yaml(file)
    except WrongFile as error:
        raise Failed(str(error), 2) from None
    if not isinstance(found, dict):
        raise Failed(f"{file}: expected the fields of a service's spec", 2)
    return found


def _patch(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise click.UsageError(f"--patch is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError('--patch is an object, for example {"replicas": 5}')
    return found


def _echo(client: Client, body: dict[str, Any], is_json: bool) -> None:
    planned = client.ask("POST", "plan", body)
    if is_json:
        echo_json(planned)
    else:
        echo_warnings(planned.get("warnings", []))
        for line in _lines(planned):
            click.echo(line)
    if planned["summary"]["waits"] > planned["summary"]["waited"]:
        raise click.exceptions.Exit(_WAITS)


def _lines(planned: dict[str, Any]) -> Iterator[str]:
    total = planned["summary"]
    yield f"{planned['plan']}, planned on log index {planned['index']}: {_counts(total)}"
    for service in planned["services"]:
        yield from _service_lines(service)
    if planned.get("services_not_shown"):
        yield f"and {planned['services_not_shown']} services more"
    if total["steps"]:
        more = "" if planned["is_complete"] else ", and it goes on"
        took = f" over {total['takes_s']:g} s" if total["takes_s"] else ""
        yield f"{total['steps']} step{'s' if total['steps'] > 1 else ''}{took}{more}"
    if not planned.get("voters", {}).get("is_majority", True):
        voters = planned["voters"]
        left = f"only {voters['left']} of {voters['count']} voters would be left"
        yield f"{left}: nothing is decided, and nothing moves, until one of the others is back"
    if "version" in planned:
        yield f"to do just this: --version {planned['version']}"


def _survival_lines(report: dict[str, Any]) -> Iterator[str]:
    total = report["summary"]
    yield f"of {total['nodes']} nodes, {total['survivable']} could be lost alone with nothing more waiting"
    for loss in report["losses"]:
        services = ", ".join(f"{name} {waits}" for name, waits in loss["services"].items())
        yield f"- {loss['node']}: {loss['waits']} more would wait ({services})"
    hidden = total["not_survivable"] - len(report["losses"])
    if hidden:
        yield f"and {hidden} nodes more"
    if total["not_looked_at"]:
        yield f"{total['not_looked_at']} nodes were not looked at: too many are nearly full"
    if not report["voters"]["is_majority"]:
        yield f"{report['voters']['count']} nodes vote: without one of them nothing is decided"


def _service_lines(service: dict[str, Any]) -> Iterator[str]:
    sign = "+" if service["is_new"] else "-" if service["is_removed"] else "~"
    replicas = service["replicas"]
    number = f"{replicas['after']} replica{'' if replicas['after'] == 1 else 's'}"
    if not service["is_new"] and replicas["before"] != replicas["after"]:
        number = f"{replicas['before']} -> {number}"
    yield f"{sign} {service['name']}: {number}, version {service['version']}: {_counts(service)}"
    for change in service["changes"]:
        replaces = ", which replaces replicas" if change["replaces"] else ""
        yield f"    {change['field']}: {_value(change['before'])} -> {_value(change['after'])}{replaces}"
    nodes = service["nodes"].items()
    for address, one in list(nodes)[:NODES_SHOWN]:
        moved = " ".join(
            f"{sign}{one[what]}" for sign, what in (("+", "starts"), ("-", "stops")) if one[what]
        )
        yield f"    {address} {moved}"
    hidden = max(0, len(nodes) - NODES_SHOWN) + service["nodes_not_shown"]
    if hidden:
        yield f"    and {hidden} nodes more"
    for by, many in service.get("preempted_by", {}).items():
        yield f"    {many} make{'s' if many == 1 else ''} room for {by}, whose priority is higher"
    if service["waits"]:
        yield f"    {service['reason']}"
        for address, why in list(service["waiting"]["nodes"].items())[:NODES_SHOWN]:
            yield f"      {address}: {why}"


_WORDS = (
    ("starts", "start"),
    ("stops", "stop"),
    ("moves", "move"),
    ("replaces", "are replaced"),
    ("keeps", "stay"),
    ("waits", "wait"),
)


def _counts(counts: dict[str, Any]) -> str:
    told = [f"{counts[field]} {word}" for field, word in _WORDS if counts[field]]
    return ", ".join(told) or "nothing changes"


def _value(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)
