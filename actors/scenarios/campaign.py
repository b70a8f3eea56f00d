"""Campaigns: one scenario on thousands of seeds, on any executor; the first seed that fails is shrunk.

    with ProcessPoolExecutor() as pool:
        campaign = run_campaign(text, "file.yaml", range(10_000), pool)

Nothing but texts and numbers goes to the workers, so an executor of another machine (Dask's) does as well.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from itertools import islice
from threading import Lock
from typing import Any

import msgspec

from .reading import read_scenario
from .running import play

__all__ = ["Campaign", "run_campaign"]

BATCH = 20
WINDOW = 64
"""So many batches wait or run at a time; a campaign of a million seeds needs no more memory than one of a thousand."""

Progress = Callable[["Campaign"], None]


class Campaign(msgspec.Struct, kw_only=True):
    """How far a campaign is. `failures`: (seed, promise, reason) of each seed that failed."""

    seeds: int
    done: int = 0
    cpu_s: float = 0.0
    virtual_s: float = 0.0
    """How long they took on their own clock, which is the live one where the scenario or the caller says so."""
    wall_s: float = 0.0
    failures: list[tuple[int, str, str]] = []

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def rate(self) -> float:
        """Seeds a second."""
        return self.done / self.wall_s if self.wall_s else 0.0

    @property
    def left_s(self) -> float:
        """How long the rest takes at this rate."""
        return (self.seeds - self.done) / self.rate if self.rate else 0.0


class _Result(msgspec.Struct, frozen=True):
    done: int
    cpu_s: float
    virtual_s: float
    failures: list[tuple[int, str, str]]


def run_campaign(
    text: str,
    file: str,
    seeds: range,
    executor: Executor | Any,
    *,
    clock: str | None = None,
    stop_at: int | None = 1,
    progress: Progress = lambda _: None,
) -> Campaign:
    """Play a scenario's text on these seeds. Ends early once `stop_at` of them have failed (None: never), and those are
    the lowest that fail, however many are played at a time.

    `clock` overrides that of the scenario. `executor` has `submit` as `concurrent.futures` have it. Raises
    what the workers raise.
    """
    campaign = Campaign(seeds=len(seeds), failures=[])
    began = time.monotonic()
    batches = _batches(seeds)
    running: dict[Future[bytes], int] = {}

    def begin(many: int) -> None:
        for first, last in islice(batches, many):
            running[executor.submit(play_batch, text, file, first, last, clock, stop_at)] = first

    begin(WINDOW)
    while running:
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            del running[future]
            result = msgspec.msgpack.decode(future.result(), type=_Result)
            campaign.done += result.done
            campaign.cpu_s += result.cpu_s
            campaign.virtual_s += result.virtual_s
            campaign.failures += result.failures
        campaign.failures.sort()
        campaign.wall_s = time.monotonic() - began
        progress(campaign)
        if stop_at is not None and len(campaign.failures) >= stop_at:
            # A lower seed may fail yet: batches before this one are played to their end, and no others.
            last_seed = campaign.failures[stop_at - 1][0]
            for future in [future for future, first in running.items() if first > last_seed]:
                future.cancel()
                del running[future]
        else:
            begin(len(finished))
    return campaign


def _batches(seeds: range) -> Iterator[tuple[int, int]]:
    for first in range(seeds.start, seeds.stop, BATCH):
        yield first, min(first + BATCH, seeds.stop)


def play_batch(
    text: str, file: str, first: int, last: int, clock: str | None = None, stop_at: int | None = 1
) -> bytes:
    """In a worker: play the seeds from `first` to before `last`, until `stop_at` have failed; as msgpack."""
    with _QUIET:
        return msgspec.msgpack.encode(_played(text, file, range(first, last), clock, stop_at))


class _Quiet:
    """What an actor logs when it is crashed on purpose is no news. The worker may be one of several threads of somebody
    else's program: with the end of the last batch its logger is as it was before the first."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._batches = 0
        self._level = logging.NOTSET

    def __enter__(self) -> None:
        logger = logging.getLogger("raftyard")
        with self._lock:
            if self._batches == 0:
                self._level = logger.level
                logger.setLevel(logging.CRITICAL + 1)
            self._batches += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._batches -= 1
            if self._batches == 0:
                logging.getLogger("raftyard").setLevel(self._level)


_QUIET = _Quiet()


def _played(text: str, file: str, seeds: range, clock: str | None, stop_at: int | None) -> _Result:
    scenario = read_scenario(text, file)
    done, cpu_s, virtual_s = 0, 0.0, 0.0
    failures: list[tuple[int, str, str]] = []
    for seed in seeds:
        outcome = play(scenario, seed=seed, clock=clock)
        done += 1
        cpu_s += outcome.cpu_s
        virtual_s += outcome.t_ns / 1e9
        if outcome.failure is not None:
            failures.append((seed, outcome.failure.promise, outcome.failure.reason.splitlines()[0]))
            if len(failures) == stop_at:
                break
    return _Result(done, cpu_s, virtual_s, failures)
