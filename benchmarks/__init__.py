"""What every benchmark shares: how a sample is told, what counts as CPU time, where talk goes. Not installed."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Options", "UsageError", "cpu_s", "number", "percentile", "sample", "samples_of", "spread", "talk"]

Options = Mapping[str, str | bool]
"""What the command line gave a benchmark: `--lists a,b --batch` is {"lists": "a,b", "batch": True}."""


class UsageError(ValueError):
    """The command line cannot be carried out; the text says why and what would do."""


def talk(text: str) -> None:
    """Tell a person at the terminal; stdout belongs to the one JSON object."""
    print(text, file=sys.stderr, flush=True)


def cpu_s() -> float:
    """CPU seconds that this process, all its threads and its ended children have used; take the difference of two."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def number(options: Options, name: str, default: int) -> int:
    """The whole number of an option, or its default. Raises UsageError with what to write."""
    text = str(options.get(name, default))
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UsageError(
            f"--{name} {text}: expected a whole number of at least 1, such as --{name} {default}"
        )
    return int(text)


def sample(values: Iterable[float], digits: int = 3) -> dict[str, float]:
    """{"median", "min", "max"} of at least one value, rounded to `digits` significant digits or whole numbers."""
    ordered = sorted(values)
    told = {"median": statistics.median(ordered), "min": ordered[0], "max": ordered[-1]}
    return {key: _rounded(value, digits) for key, value in told.items()}


def spread(values: Iterable[float], digits: int = 3) -> dict[str, float]:
    """{"median", "mean", "p90", "p99", "max"}, for what is measured often, such as failovers."""
    ordered = sorted(values)
    told = {
        "median": statistics.median(ordered),
        "mean": statistics.fmean(ordered),
        "p90": percentile(ordered, 90),
        "p99": percentile(ordered, 99),
        "max": ordered[-1],
    }
    return {key: _rounded(value, digits) for key, value in told.items()}


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of the sorted values that at least `percent` of them do not exceed (nearest rank)."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def samples_of(run: Callable[[], float], runs: int = 5) -> dict[str, float]:
    """`sample` of what `run` returns, after one run that warms up and does not count."""
    run()
    return sample(run() for _ in range(runs))


def _rounded(value: float, digits: int) -> Any:
    if abs(value) >= 10**digits:
        return round(value)
    return float(f"{value:.{digits}g}")
