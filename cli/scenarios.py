"""`raftyard scenario`: play scripted outages, check their files, list the stories that come with the program.

Exit codes: 0 passed, 1 a promise was broken or a step failed, 2 a file is wrong, 3 nobody answers at --url.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from .stopping import Stopped, signals_raise

if TYPE_CHECKING:
    from raftyard.actors.scenarios import Campaign, Interrupted, Outcome, Scenario

    from .remote import Api, RemoteDoor

__all__ = ["scenario"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Answer = TypeVar("_Answer")
_FAILED = 1
_WRONG = 2
_UNREACHABLE = 3
_FILES = click.argument("files", nargs=-1, required=True, metavar="FILE...")


_TOKEN = click.option("--token", envvar="TOKEN", help="With --url: the token of that program. Without it: TOKEN.")


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
@click.option(
    "--seeds", type=click.IntRange(min=1), help="A campaign: so many seeds, from --seed (else 0) on."
)
@click.option(
    "--jobs", type=click.IntRange(min=1), help="With --seeds: so many processes, else one for each core."
)
@click.option(
    "--dask", metavar="ADDRESS", help="With --seeds: play on this Dask cluster, such as tcp://host:8786."
)
@click.option("--url", help="Play on the cluster of a program that runs, such as http://localhost:8000/clusters/0.")
@_TOKEN
@_to_file("--shrunk", "With --seeds: write the shrunk scenario of the first seed that fails there.")
@_to_file("--events", "Write the event log there, as JSON lines.")
@_to_file("--junit", "Write JUnit XML there, for a CI server; of all files together.")
@_to_file("--html", "Write a timeline there: one page that opens in a browser.")
@_to_file("--trace", "Write a Chrome trace there, which Perfetto (ui.perfetto.dev) opens.")
@_to_file("--shiviz", "Write a log for ShiViz there: who could have known what.")
@click.option("-v", "--verbose", is_flag=True, help="Tell every event.")
def _run(files: tuple[str, ...], **options: Any) -> None:
    """Play scenarios: files, or names of the stories that come with the program (`raftyard scenario list`)."""
    reports = {
        name: options[name] for name in ("events", "html", "trace", "shiviz") if options[name] is not None
    }
    if options["seeds"] is not None:
        for word in (*reports, *(name for name in ("junit", "url") if options[name] is not None)):
            raise click.UsageError(f"--{word} is of a single run, not of a campaign (--seeds)")
        passed = [_campaign(read, options) for read in _read_all(files)]
    else:
        for word in ("jobs", "dask", "shrunk"):
            if options[word] is not None:
                raise click.UsageError(f"--{word} needs --seeds")
        if reports and len(files) > 1:
            raise click.UsageError(f"--{next(iter(reports))} is of one run; name one file")
        passed = _play(files, options, reports)
    if len(files) > 1:
        click.echo(f"{sum(passed)} of {len(files)} passed")
    sys.exit(0 if all(passed) else _FAILED)


def _play(files: tuple[str, ...], options: dict[str, Any], reports: dict[str, Path]) -> list[bool]:
    from raftyard.actors.scenarios import Interrupted, play, told

    outcomes = []
    door = _door(options)
    nodes = None if door is None else _asked(door.api.node_names)
    for read in _read_all(files, nodes):
        if door is not None and nodes is not None:
            _tell_difference(door, read, nodes)
        with _quiet(), signals_raise():
            with_messages = bool(reports.keys() - {"events"})
            try:
                outcome = play(
                    read, seed=options["seed"], clock=options["clock"], with_messages=with_messages, door=door
                )
            except Interrupted as ended:
                _tell_interrupted(read, ended)
        outcomes.append(outcome)
        click.echo(told(outcome, with_events=options["verbose"]))
        _write(outcome, reports)
    if options["junit"] is not None:
        from raftyard.actors.scenarios.reports import junit_xml

        _save(options["junit"], junit_xml(outcomes))
    return [outcome.passed for outcome in outcomes]


def _tell_interrupted(scenario: Scenario, ended: Interrupted) -> NoReturn:
    by = ended.__cause__ if isinstance(ended.__cause__, Stopped) else Stopped(signal.SIGINT)
    click.echo(f"stopped by {by}: {scenario.title}")
    click.echo(f"  at {ended.t_ns / 1e9:.3f} s, {ended.step}")
    if ended.not_mended:
        click.echo(f"  not mended, as {ended.url} did not answer: {'; '.join(ended.not_mended)}")
    elif ended.url is not None:
        click.echo(f"  what it had broken at {ended.url} is mended")
    sys.exit(by.exit_code)


def _door(options: dict[str, Any]) -> RemoteDoor | None:
    """To the cluster that runs already, if one was named."""
    if options["url"] is None:
        if options["token"] is not None and not os.environ.get("TOKEN"):
            raise click.UsageError("--token needs --url")
        return None
    if options["clock"] == "virtual":
        raise click.UsageError("a program that runs has the live clock; leave --clock out")
    from .remote import RemoteDoor

    return RemoteDoor(_api(options["url"], options["token"]))


def _api(url: str, token: str | None) -> Api:
    """The program there, once it has answered."""
    from .remote import Api

    def answering() -> Api:
        api = Api(url, token)
        api.call("GET", "/connections")
        return api

    return _asked(answering)


def _asked(ask: Callable[[], _Answer]) -> _Answer:
    """The answer of a program that runs; why there is none ends the command."""
    from raftyard.actors.errors import InvalidRequest, RaftyardError, Unavailable

    try:
        return ask()
    except RaftyardError as error:
        click.echo(f"raftyard: {error}" + (f"; {error.hint}" if error.hint else ""), err=True)
        sys.exit(_UNREACHABLE if isinstance(error, Unavailable) else _WRONG if isinstance(error, InvalidRequest) else 4)


def _campaign(scenario: Scenario, options: dict[str, Any]) -> bool:
    from msgspec.structs import replace

    from raftyard.actors.scenarios import run_campaign

    clock = options["clock"] or scenario.clock
    scenario = replace(scenario, clock=clock)
    text = Path(scenario.file).read_text(encoding="utf-8")
    first = options["seed"] or 0
    seeds = range(first, first + options["seeds"])
    shown = _Progress(scenario.title, len(seeds))
    with signals_raise():
        try:
            with _executor(options["dask"], options["jobs"]) as executor:
                campaign = run_campaign(text, scenario.file, seeds, executor, clock=clock, progress=shown.show)
        except Stopped as stopped:
            shown.end()
            _tell_campaign(f"stopped by {stopped}:", scenario, first, shown.campaign)
            if shown.campaign.done and shown.campaign.passed:
                click.echo("  all that were played passed; the others were not played")
            sys.exit(stopped.exit_code)
        shown.end()
        _tell_campaign("passed " if campaign.passed else "FAILED ", scenario, first, campaign)
        if not campaign.passed:
            try:
                _shrink(scenario, campaign.failures[0][0], options["shrunk"])
            except Stopped as stopped:
                click.echo(f"  stopped by {stopped}: it was not shrunk")
                sys.exit(stopped.exit_code)
    return campaign.passed


def _tell_campaign(how: str, scenario: Scenario, first: int, campaign: Campaign) -> None:
    kind = "real" if scenario.clock == "live" else "virtual"
    click.echo(f"{how} {scenario.title}")
    click.echo(
        f"  {campaign.done} of {campaign.seeds} seeds from {first}, {campaign.rate:.1f} a second, "
        f"{campaign.virtual_s:.0f} s of {kind} time, {campaign.cpu_s:.1f} s of CPU"
    )
    if not campaign.passed:
        seed, promise, reason = campaign.failures[0]
        click.echo(f"  seed {seed} broke {promise}: {reason}")


def _shrink(scenario: Scenario, seed: int, wanted: Path | None) -> None:
    """Write the shrunk scenario as a file, and tell how it fails."""
    from raftyard.actors.scenarios import as_yaml, play, read_scenario_file, shrink, told

    name = Path(scenario.file).name.removesuffix(".yaml").removesuffix(".scenario")
    path = wanted or Path(f"{name}-seed-{seed}.scenario.yaml")
    with _quiet():
        smaller, outcome = shrink(scenario, seed)
        _save(path, as_yaml(smaller, seed).encode())
        if outcome.passed:
            click.echo(f"  seed {seed} did not fail again, so it was not shrunk: {path}")
            return
        again = play(read_scenario_file(path))
    click.echo(f"  shrunk from {len(scenario.steps)} steps to {len(smaller.steps)}: {path}")
    click.echo(told(again))


@contextmanager
def _executor(dask: str | None, jobs: int | None) -> Iterator[Any]:
    """Processes of this machine, or a Dask cluster."""
    if dask is None:
        with _processes(jobs or os.cpu_count() or 1) as pool:
            yield pool
        return
    try:
        distributed = importlib.import_module("distributed")
    except ImportError:
        click.echo("raftyard: --dask needs Dask: pip install 'raftyard[campaign]'", err=True)
        sys.exit(_WRONG)
    try:
        client = distributed.Client(dask, timeout="10s")
    except (OSError, ValueError) as error:
        click.echo(f"raftyard: no Dask scheduler answers at {dask}: {error}", err=True)
        sys.exit(_WRONG)
    try:
        yield client.get_executor(pure=False)
    finally:
        client.close()


@contextmanager
def _processes(many: int) -> Iterator[Any]:
    """A pool of processes. At the end of this block they end at once: what they still play, nobody asks for."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    others = set(multiprocessing.active_children())
    # Started anew rather than copied: a copy of a process with threads may never get a lock.
    pool = ProcessPoolExecutor(many, mp_context=multiprocessing.get_context("spawn"))
    try:
        # A terminal sends Ctrl-C to all processes of the command. It is for this one, which ends the others, so they
        # are started while it is held back, and inherit that.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(many):
                pool.submit(int)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        pool.shutdown()


class _Progress:
    """A line that is written over, on a terminal only: how many seeds, how fast, how long to go."""

    def __init__(self, title: str, seeds: int) -> None:
        from raftyard.actors.scenarios import Campaign

        self._title = title
        self._is_shown = sys.stderr.isatty()
        self.campaign = Campaign(seeds=seeds)
        """As it was when it was last shown."""

    def show(self, campaign: Campaign) -> None:
        self.campaign = campaign
        if self._is_shown:
            share = campaign.done / campaign.seeds
            bar = "#" * round(30 * share)
            rate = f"{campaign.done} seeds, {campaign.rate:.1f}/s, {campaign.left_s:.0f} s left"
            text = f"[{bar:<30}] {share:4.0%}  {rate}"
            click.echo(f"\r{text:<90}", nl=False, err=True)

    def end(self) -> None:
        if self._is_shown:
            click.echo("\r" + " " * 90 + "\r", nl=False, err=True)


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
@click.option("--cluster", metavar="ID", help="Show this one, with those nested in it; else 0, or the only one.")
def _timeline(log: Path, page: Path, cluster: str | None) -> None:
    """Make an HTML timeline (PAGE) of a recorded event log (LOG): JSON lines, of a scenario or of a running program."""
    from raftyard.actors.scenarios import WrongScenario
    from raftyard.actors.scenarios.reports import (
        clusters_of,
        html_timeline,
        main_cluster,
        of_cluster,
        read_events,
    )

    try:
        events = read_events(log)
    except WrongScenario as error:
        click.echo(str(error), err=True)
        sys.exit(_WRONG)
    known = clusters_of(events)
    if cluster is None and len(known) > 1 and known[0] != "0":
        raise click.UsageError(f"{log} tells of the clusters {', '.join(known)}; name one with --cluster")
    if cluster is not None and cluster not in {event.cluster for event in events}:
        raise click.UsageError(f"{log} tells nothing of cluster {cluster!r}; it tells of {', '.join(known) or 'none'}")
    of = cluster or main_cluster(events)
    _save(page, html_timeline(events, title=log.name, cluster=of).encode())
    others = [one for one in known if one != of]
    more = f" of cluster {of}; --cluster shows {' or '.join(others)}" if others else ""
    click.echo(f"{page}: {len(of_cluster(events, of))} events{more}")


@scenario.command("record")
@click.argument("log", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--url", required=True, help="The program that runs, such as http://localhost:8000/clusters/0.")
@_TOKEN
@click.option("--for", "for_s", type=click.FloatRange(min=0), default=0.0, help="Go on for so many seconds.")
def _record(log: Path, url: str, token: str | None, for_s: float) -> None:
    """Copy what a running program says has happened into LOG, as JSON lines: what it keeps, then with --for what comes.

    `raftyard scenario timeline LOG PAGE` shows it.
    """
    from threading import Event, Timer

    from raftyard.actors.errors import RaftyardError

    from .remote import all_events

    api = _api(url, token)
    is_over = Event()
    timer = Timer(for_s, is_over.set)
    timer.daemon = True
    timer.start()
    count = 0
    try:
        with log.open("wb") as file:
            for events, dropped in all_events(api, is_over):
                if dropped:
                    lost = f"events {dropped['from']} to {dropped['to']} are not kept any more"
                    click.echo(f"raftyard: {lost}", err=True)
                for event in events:
                    file.write(json.dumps(event, sort_keys=True, separators=(",", ":")).encode() + b"\n")
                count += len(events)
                file.flush()
    except OSError as error:
        click.echo(f"raftyard: {log} cannot be written: {error.strerror}", err=True)
        sys.exit(_WRONG)
    except RaftyardError as error:
        click.echo(f"raftyard: {error}; {log} has the {count} events until then", err=True)
        sys.exit(_UNREACHABLE)
    except KeyboardInterrupt:
        pass  # whoever has seen enough
    click.echo(f"{log}: {count} events")


@scenario.command("check")
@_FILES
def _check(files: tuple[str, ...]) -> None:
    """Find every mistake in scenario files, with its place and the nearest right word."""
    found = [_read_or_tell(file) for file in files]
    for file, read in zip(files, found, strict=True):
        if read is not None:
            click.echo(f"{file}: ok")
    sys.exit(_WRONG if None in found else 0)


@scenario.command("list")
def _list() -> None:
    """List the stories that come with the program."""
    from raftyard.actors.scenarios import describe_stories

    found = describe_stories()
    width = max(len(name) for name, _, _ in found)
    for name, title, _ in found:
        click.echo(f"{name:<{width}}  {title}")


@scenario.command("show")
@click.argument("name")
@click.option("--file", "whole", is_flag=True, help="The whole file, to begin one's own with.")
def _show(name: str, whole: bool) -> None:
    """Tell what a story is about, and what to watch."""
    import textwrap

    story = _read(name)
    if whole:
        click.echo(Path(story.file).read_text(encoding="utf-8"), nl=False)
        return
    click.echo(f"{story.title}\n")
    click.echo(textwrap.fill(story.about, width=100))
    click.echo(f"\nplay it: raftyard scenario run {name} -v")


@scenario.command("schema")
def _schema() -> None:
    """Print the JSON Schema of scenario files, for editors."""
    from raftyard.actors.scenarios import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def _tell_difference(door: RemoteDoor, read: Scenario, nodes: tuple[str, ...]) -> None:
    """Say where the cluster that runs there is not what the scenario would start."""
    from raftyard.actors.scenarios.format import ClusterShape

    wanted = read.cluster.nodes
    different = []
    if wanted != len(nodes):
        different.append(f"it has {len(nodes)} nodes, where {read.title} would start {wanted}")
    if read.cluster != ClusterShape(nodes=wanted):
        different.append("what the file says of it under `cluster:` does not change it")
    if different:
        click.echo(f"{door.url} runs already: {'; '.join(different)}")


def _read(file: str) -> Scenario:
    return _read_all((file,))[0]


def _read_all(files: tuple[str, ...], nodes: tuple[str, ...] | None = None) -> list[Scenario]:
    """All of them, before the first is played; or the mistakes of all. `nodes`: of a cluster that runs already."""
    found = [_read_or_tell(file, nodes) for file in files]
    scenarios = [read for read in found if read is not None]
    if len(scenarios) < len(found):
        sys.exit(_WRONG)
    return scenarios


def _read_or_tell(file: str, nodes: tuple[str, ...] | None = None) -> Scenario | None:
    """A file or a story; None where its mistakes were told, also those for a cluster that runs already."""
    from raftyard.actors.scenarios import WrongScenario, find_scenario, read_scenario_file
    from raftyard.actors.scenarios.running import check_outside

    try:
        read = read_scenario_file(find_scenario(file), nodes)
        if nodes is not None:
            check_outside(read)
    except FileNotFoundError as error:
        click.echo(f"raftyard: {error}", err=True)
    except WrongScenario as error:
        click.echo(str(error), err=True)
    else:
        return read
    return None
