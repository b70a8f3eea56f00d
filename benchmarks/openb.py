"""How well and how fast single replicas of all kinds are placed: pod lists of a real cluster with GPUs.

Pods arrive in a given order, one at a time, and never leave; one that fits nowhere is dropped. The figure is the part
of all GPU milli that is allocated when pods for 100 % of it have arrived, and at the end of the list. With `--batch`
all pods are known at once, and are placed in an order of the placer's own choice; then "arrived" means that their turn
has come, and one more key says what it would be in the order of arrival.
"""

import csv
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from raftyard.actors.scheduling import Fleet, Placed, Placer, Reservation, Unplaced
from raftyard.actors.scheduling.fleet import WHOLE

from . import Options, UsageError, talk

COLUMNS = ("cpu_milli", "memory_mib")
PROFILE = "mixed"


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One list: the pods, and by seed their order of arrival as rows of `pods`."""

    pods: list[Reservation]
    orders: dict[str, list[int]]


def run(options: Options) -> dict[str, Any]:
    """`openb` of BENCHMARKS.md: by list, then by seed. Options: --data, --lists, --seeds, --batch, --out."""
    folder = Path(str(options.get("data", "")))
    if not options.get("data") or not folder.is_dir():
        raise UsageError("--data DIR: expected the folder that holds openb_pod_list_*.csv and arrivals_*.txt")
    nodes = read_rows(node_list(folder))
    works = {name: read_work(folder, name) for name in words(options, "lists", "default,cpu250")}
    chosen = {name: seeds(options, name, work) for name, work in works.items()}
    report: dict[str, Any] = {"runs": 1}
    for name, work in works.items():
        report[name] = {}
        for seed in chosen[name]:
            wanted = [work.pods[row] for row in work.orders[seed]]
            figures, answers = place(fleet_of(nodes), wanted, is_batch=bool(options.get("batch")))
            report[name][seed] = figures
            talk(f"{name} {seed}: {figures}")
            if isinstance(out := options.get("out"), str):
                write(Path(out) / f"{name}_{seed}.csv", [row["sn"] for row in nodes], answers)
    return report


def place(
    fleet: Fleet, wanted: list[Reservation], *, is_batch: bool
) -> tuple[dict[str, float], list[Placed | Unplaced]]:
    """The figures of one order of arrival, and where each went. CPU time is that of placing alone."""
    capacity = int(fleet.gpu_capacity.sum())
    begin = time.process_time()
    placer = Placer(fleet, PROFILE)
    answers = placer.place_all(wanted) if is_batch else [placer.place(one) for one in wanted]
    spent_s = time.process_time() - begin
    turns = placer.order_of(wanted) if is_batch else range(len(wanted))
    at_100, at_130 = allocated_pct(capacity, wanted, answers, turns)
    figures = {
        "gpu_allocated_pct_at_100": at_100,
        "gpu_allocated_pct_at_130": at_130,
        "unplaced": sum(isinstance(answer, Unplaced) for answer in answers),
        "pods_per_cpu_s": round(len(wanted) / max(spent_s, 1e-9)),
    }
    if is_batch:
        by_arrival = allocated_pct(capacity, wanted, answers, range(len(wanted)))
        figures["gpu_allocated_pct_by_arrival_at_100"] = by_arrival[0]
    return figures, answers


def allocated_pct(
    capacity: int, wanted: Sequence[Reservation], answers: Sequence[Placed | Unplaced], turns: Iterable[int]
) -> tuple[float, float]:
    """The part of the GPU capacity that is allocated when as much has been asked for in turn, and at the end."""
    asked = allocated = 0
    at_100: int | None = None
    for turn in turns:
        asked += wanted[turn].milli
        if asked > capacity and at_100 is None:
            at_100 = allocated
        allocated += wanted[turn].milli * isinstance(answers[turn], Placed)
    first = allocated if at_100 is None else at_100
    return round(100 * first / max(capacity, 1), 2), round(100 * allocated / max(capacity, 1), 2)


def words(options: Options, name: str, default: str) -> list[str]:
    """A list with commas. Raises UsageError where there is nothing in it."""
    text = options.get(name, default)
    found = [word.strip() for word in text.split(",") if word.strip()] if isinstance(text, str) else []
    if not found:
        raise UsageError(f"--{name}: expected names with commas between, such as --{name} {default}")
    return found


def seeds(options: Options, name: str, work: Work) -> list[str]:
    """The seeds asked for, else all of them. Raises UsageError with those that there are."""
    asked = words(options, "seeds", ",".join(work.orders))
    if unknown := [seed for seed in asked if seed not in work.orders]:
        raise UsageError(f"--seeds {unknown[0]}: arrivals_{name}.txt has {', '.join(work.orders)}")
    return asked


def node_list(folder: Path) -> Path:
    """The file of nodes: the one of nodes with GPUs where there are several."""
    found = sorted(folder.glob("openb_node_list_*.csv"))
    if not found:
        raise UsageError(f"{folder} holds no openb_node_list_*.csv")
    return next((file for file in found if "gpu" in file.name), found[0])


def read_rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}; name others with --lists") from error


def read_work(folder: Path, name: str) -> Work:
    pods = [reservation(row) for row in read_rows(folder / f"openb_pod_list_{name}.csv")]
    arrivals = folder / f"arrivals_{name}.txt"
    try:
        lines = arrivals.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"{arrivals} cannot be read: {error.strerror}; name others with --lists") from error
    orders = {seed: [int(row) for row in rows] for seed, *rows in map(str.split, filter(str.strip, lines))}
    return Work(pods=pods, orders=orders)


def reservation(row: dict[str, str]) -> Reservation:
    return Reservation(
        amounts=tuple(whole(row[column]) for column in COLUMNS),
        gpus=whole(row["num_gpu"]),
        gpu_milli=max(1, min(WHOLE, whole(row["gpu_milli"]))) if whole(row["num_gpu"]) else WHOLE,
        models=tuple(filter(None, (row.get("gpu_spec") or "").split("|"))),
    )


def whole(text: str) -> int:
    """A number of the files, where an empty field is 0 and some have a decimal point."""
    return int(float(text or 0))


def fleet_of(nodes: list[dict[str, str]]) -> Fleet:
    return Fleet(
        COLUMNS,
        np.array([[whole(row[column]) for column in COLUMNS] for row in nodes], dtype=np.int64),
        np.array([whole(row["gpu"]) for row in nodes], dtype=np.int64),
        [row.get("model") or "" for row in nodes],
    )


def write(file: Path, names: Sequence[str], answers: Iterable[Placed | Unplaced]) -> None:
    """Who went where, in order of arrival: `pod,node,gpus`, with pod "#k" and the numbers of devices joined by "-"."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("pod", "node", "gpus"))
        for number, answer in enumerate(answers):
            if isinstance(answer, Placed):
                writer.writerow((f"#{number}", names[answer.node], "-".join(map(str, answer.devices))))
            else:
                writer.writerow((f"#{number}", "", ""))
