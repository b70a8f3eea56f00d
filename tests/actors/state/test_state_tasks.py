"""The columns of tasks: found again by id, service and node, whatever was added and dropped."""

import random

import numpy as np
import pytest

from raftyard.actors.state import tasks
from raftyard.actors.state.tasks import COLUMNS, TaskTable


@pytest.mark.parametrize("spare", [1, 7, 1024])
def test_tasks_are_found_by_service_and_by_node_whatever_was_dropped(monkeypatch, spare):
    monkeypatch.setattr(tasks, "SPARE_ROWS", spare)
    for seed in range(30):
        rng, table, model = random.Random(seed), TaskTable(), {}
        for _ in range(30):
            count, service = rng.randrange(20), rng.randrange(4)
            slots, nodes = (
                np.arange(count),
                np.array([rng.randrange(5) for _ in range(count)], dtype=np.int64),
            )
            for row in table.add(
                service=service, slots=slots, nodes=nodes, needs=0, version=1, now_ms=1
            ).tolist():
                model[int(table.id[row])] = (service, int(table.node[row]))
            low, many = table.between(np.array([rng.randrange(1, 300)]), np.array([rng.randrange(60)]))
            rows = np.arange(low[0], low[0] + many[0])
            rows = rows[table.service[rows] >= 0]
            for id in table.id[rows].tolist():
                del model[id]
            table.drop(rows)
            table.close_up(always=rng.random() < 0.1)
            assert len(table) == len(model), f"seed {seed}"
            for key in range(5):
                assert table.id[table.of_service(key)].tolist() == [i for i in model if model[i][0] == key], (
                    f"seed {seed}"
                )
                assert table.id[table.of_node(key)].tolist() == [i for i in model if model[i][1] == key], (
                    f"seed {seed}"
                )


def test_a_task_takes_forty_bytes():
    assert sum(np.dtype(dtype).itemsize for _, dtype in COLUMNS) == 40


def test_ids_are_never_given_twice_even_after_all_tasks_are_gone():
    table = TaskTable()
    first = table.add(
        service=0, slots=np.arange(3), nodes=np.zeros(3, dtype=np.int64), needs=0, version=1, now_ms=1
    )
    table.drop(first)
    table.close_up(always=True)
    again = table.add(
        service=0, slots=np.arange(1), nodes=np.zeros(1, dtype=np.int64), needs=0, version=1, now_ms=1
    )
    assert table.id[again].tolist() == [4]
    copy = TaskTable()
    copy.load(table.columns(), table.next_id)
    assert copy.columns() == table.columns()
    assert copy.of_service(0).tolist() == [0]
