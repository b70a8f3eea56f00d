"""What placing costs by size, as a picture. Needs matplotlib, which nothing else does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import UsageError

__all__ = ["check_drawing", "draw"]

BLUE, GREY = "#1f5fa8", "#666666"


def check_drawing() -> None:
    """Raises UsageError where nothing can be drawn: better before the measuring than after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("--plot needs matplotlib: .venv/bin/pip install matplotlib") from None


def draw(points: Sequence[dict[str, Any]], file: str) -> None:
    """Write the picture of `points`, as `scale` reports them under `by_size`."""
    check_drawing()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    total, each = figure.subplots(1, 2)
    replicas = [point["placed"] for point in points]
    total.loglog(replicas, [point["cpu_s"] for point in points], "o-", color=BLUE)
    total.loglog(replicas, [60e-6 * count for count in replicas], "--", color=GREY, linewidth=1)
    middle = replicas[len(replicas) // 2]
    total.annotate(
        "goal: 60 CPU s a million", (middle, 60e-6 * middle), (-8, 4), **_BESIDE, color=GREY, ha="right"
    )
    total.set_ylim(bottom=points[0]["cpu_s"] / 2)
    for point in points:
        total.annotate(f"{point['nodes']:,} nodes", (point["placed"], point["cpu_s"]), (6, -12), **_BESIDE)
    total.set_title("CPU seconds until all are placed and run", fontsize=10)
    each.semilogx(replicas, [1e6 * point["cpu_s"] / point["placed"] for point in points], "o-", color=BLUE)
    each.set_ylim(bottom=0)
    each.set_title("CPU µs a replica, five voters and all agents", fontsize=10)
    for axes in (total, each):
        axes.set_xlabel("replicas")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xticks(replicas, [_short(count) for count in replicas])
        axes.minorticks_off()
    total.set_yticks(*_seconds(max(point["cpu_s"] for point in points)))
    figure.savefig(file, dpi=130)


_BESIDE: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8}


def _short(count: int) -> str:
    return f"{count / 1e6:g} M" if count >= 1_000_000 else f"{count / 1e3:g} k"


def _seconds(most: float) -> tuple[list[float], list[str]]:
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100, 200) if tick <= 2 * most]
    return ticks, [f"{tick:g}" for tick in ticks]
