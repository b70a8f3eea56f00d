"""How a run is told to people: in a few lines when it passed, with everything that helps when it failed."""

from __future__ import annotations

from ..system import Event
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
    file = f"'{outcome.file}'" if " " in outcome.file else outcome.file
    live = " --clock live" if outcome.clock == "live" else ""
    if outcome.url is not None:
        live = f" --url {outcome.url}"
    return f"raftyard scenario run {file} --seed {outcome.seed}{live}"


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
    if outcome.not_watched:
        names = ", ".join(outcome.not_watched)
        lines.append(f"  not watched here, as only the virtual clock can: {names}")
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
