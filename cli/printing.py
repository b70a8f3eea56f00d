"""How commands print answers: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

__all__ = ["echo_json", "echo_table"]


def echo_json(answer: Any) -> None:
    """An answer as it came, on several lines."""
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))


def echo_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns as wide as they need to be; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    kinds = (
        [all(isinstance(cell, int) for cell in column) for column in zip(*rows, strict=True)] if cells else []
    )
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    for row in (head, *cells):
        shown = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, kinds or [False] * len(head), strict=True)
        ]
        click.echo("  ".join(shown).rstrip())
