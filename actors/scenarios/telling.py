"""How a run is told to people: in a few lines when it passed, with everything that helps when it failed."""

from __future__ import annotations

import shlex

from ..system import Event
from .checkers import CHECKERS
from .quantities import text_of
from .running import Outcome

__all__ = ["event_line", "replay_command", "told"]


def event_line(event: Event) -> str:
    """One event, short: `  3.214 s  leader-elected        node_2 term=3`."""
    words = [f"term={event.term}"] if event.term is not None else []
    words += [f"{key}={_short(value)}" for key, value in event.data.items() if value is not None]
    return f"{text_of(event.t_ns):>11}  {event.kind:<19} {event.node or '':<8} {' '.join(words)}".rstrip()


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def replay_command(outcome: Outcome) -> str:
    """The command that plays the same run again."""
    where = ""
    if outcome.url is not None:
        where = f" --url {shlex.quote(outcome.url)}"
    elif outcome.clock == "live" or outcome.clock_of_file == "live":
        where = f" --clock {outcome.clock}"
    return f"raftyard scenario run {shlex.quote(outcome.file)} --seed {outcome.seed}{where}"


def _not_watched(outcome: Outcome) -> list[str]:
    """Why which promises were not watched."""
    by_clock = [name for name in outcome.not_watched if not CHECKERS[name].for_live_too]
    by_place = [name for name in outcome.not_watched if name not in by_clock]
    lines = []
    if by_clock:
        lines.append(f"  not watched here, as only the virtual clock can: {', '.join(by_clock)}")
    if by_place:
        lines.append(f"  not watched here, as they are not seen from outside: {', '.join(by_place)}")
    return lines


def told(outcome: Outcome, *, with_events: bool = False) -> str:
    """The whole story of one run."""
    lines = [f"{'passed' if outcome.passed else 'FAILED'}  {outcome.title}"]
    if with_events:
        lines += [f"  {event_line(event)}" for event in outcome.events]
    lines.append(
        f"  seed {outcome.seed}, {outcome.clock} clock, {text_of(outcome.t_ns)}, {len(outcome.events)} events, "
        f"{outcome.cpu_s:.2f} s of CPU"
    )
    lines.append(f"  events sha256:{outcome.digest}")
    lines += _not_watched(outcome)
    if outcome.not_mended:
        lines.append(f"  not mended, as it did not answer: {'; '.join(outcome.not_mended)}")
    failure = outcome.failure
    if failure is not None:
        place = f" at {outcome.file}:{failure.line}:{failure.column}" if failure.line else ""
        lines += [
            f"  promised  {failure.promise}",
            f"  broken    at {text_of(failure.t_ns)}, {failure.step}{place}",
        ]
        first, *rest = failure.reason.splitlines() or [""]
        lines += [f"  because   {first}", *(f"            {line}" for line in rest)]
        lines.append("  before it")
        lines += [f"  {event_line(event)}" for event in failure.before]
        lines.append(f"  replay    {replay_command(outcome)}")
    return "\n".join(lines)
