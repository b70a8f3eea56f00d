"""The benchmark openb reads its folder, scores by arrival, and writes placements that hold."""

import csv
import json
import random

import pytest

import benchmarks.__main__ as frame
from benchmarks import UsageError, openb


@pytest.fixture
def folder(tmp_path):
    """Ten nodes, two kinds of them, and more pods than fit, of every sort that the lists know."""
    rng = random.Random(5)
    nodes = [
        f"n{i},{16_000 if i % 2 else 32_000},65536,{4 if i % 2 else 0},{'T4' if i % 2 else ''}"
        for i in range(10)
    ]
    (tmp_path / "openb_node_list_gpu_node.csv").write_text(
        "\n".join(["sn,cpu_milli,memory_mib,gpu,model", *nodes]) + "\n"
    )
    sorts = [
        "1500,2048,1,1000,",
        "700.0,1024,1,470,T4",
        "900,1024,1,810,T4|P100",
        "4000,8192,2,1000,",
        "2000,4096,0,0,",
    ]
    pods = [f"p{i},{rng.choice(sorts)}" for i in range(60)]
    header = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec"
    (tmp_path / "openb_pod_list_small.csv").write_text("\n".join([header, *pods]) + "\n")
    orders = {seed: rng.sample(range(60), 60) for seed in (7, 8)}
    (tmp_path / "arrivals_small.txt").write_text(
        "".join(f"{seed} {' '.join(map(str, order))}\n" for seed, order in orders.items())
    )
    return tmp_path


def run(capsys, folder, *arguments):
    assert frame.main(["openb", "--data", str(folder), "--lists", "small", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["small"]


KEYS = {"gpu_allocated_pct_at_100", "gpu_allocated_pct_at_130", "unplaced", "pods_per_cpu_s"}


def test_every_seed_of_a_list_is_run_unless_some_are_named(capsys, folder):
    report = run(capsys, folder)
    assert list(report) == ["7", "8"]
    assert all(set(figures) == KEYS for figures in report.values())
    assert list(run(capsys, folder, "--seeds", "8")) == ["8"]


@pytest.mark.parametrize("batch", [[], ["--batch"]])
def test_what_is_written_fits_and_is_what_was_scored(capsys, folder, batch):
    report = run(capsys, folder, "--seeds", "7", "--out", str(folder / "out"), *batch)
    rows = list(csv.DictReader((folder / "out" / "small_7.csv").open()))
    pods = list(csv.DictReader((folder / "openb_pod_list_small.csv").open()))
    order = [int(row) for row in (folder / "arrivals_small.txt").read_text().splitlines()[0].split()[1:]]
    cpu, shares, allocated = {}, {}, 0
    for number, (row, index) in enumerate(zip(rows, order, strict=True)):
        assert row["pod"] == f"#{number}"
        if not row["node"]:
            continue
        pod, count = pods[index], int(pods[index]["num_gpu"])
        devices = row["gpus"].split("-") if row["gpus"] else []
        assert len(set(devices)) == count
        cpu[row["node"]] = cpu.get(row["node"], 0) + float(pod["cpu_milli"])
        for device in devices:
            key = (row["node"], device)
            shares[key] = shares.get(key, 0) + int(pod["gpu_milli"])
            allocated += int(pod["gpu_milli"])
    assert max(shares.values()) <= 1000
    assert all(used <= (16_000 if int(node[1:]) % 2 else 32_000) for node, used in cpu.items())
    assert report["7"]["gpu_allocated_pct_at_130"] == round(100 * allocated / 20_000, 2)
    assert report["7"]["unplaced"] == sum(not row["node"] for row in rows) > 0
    assert ("gpu_allocated_pct_by_arrival_at_100" in report["7"]) == bool(batch)


def test_what_is_allocated_at_100_is_counted_before_the_pod_that_goes_beyond():
    one = openb.Reservation(amounts=(), gpus=1)
    placed, not_placed = openb.Placed(node=0, devices=(0,)), openb.Unplaced(reasons=())
    answers = [placed, not_placed, placed]
    assert openb.allocated_pct(2_000, [one] * 3, answers, range(3)) == (50.0, 100.0)
    assert openb.allocated_pct(2_000, [one] * 3, answers, [0, 2, 1]) == (100.0, 100.0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "--data DIR: expected the folder"),
        ({"data": "x", "lists": "other"}, "openb_pod_list_other.csv cannot be read"),
        ({"data": "x", "lists": "small", "seeds": "9"}, "--seeds 9: arrivals_small.txt has 7, 8"),
        ({"data": "x", "lists": True}, "--lists: expected names with commas"),
    ],
)
def test_a_wrong_option_is_named_with_what_would_do(folder, options, text):
    with pytest.raises(UsageError, match=text):
        openb.run(options | ({"data": str(folder)} if options else {}))
