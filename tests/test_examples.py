"""The programs in examples/ run as they are, and tell what they promise to tell."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
SPREAD = {f"node_{number}": 5 for number in range(5)}


def lines_of(example: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, EXAMPLES / example], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr
    return ran.stdout.splitlines()


def test_the_kitchen_serves_on_both_clocks() -> None:
    lines = lines_of("own_actors.py")
    assert lines[0] == "virtual: soup, fish, cake; 1 burned; 246.0 s on this clock"
    assert len([line for line in lines if '"kind":"served"' in line]) == 3
    assert lines[-1].startswith("live:    soup, fish, cake; 1 burned; 0.")


def test_the_embedded_cluster_survives_its_leader_on_both_clocks() -> None:
    lines = lines_of("embedding.py")
    live = lines.index("live")
    assert lines[0] == "virtual"
    for story in (lines[1:live], lines[live + 1 :]):
        told = [line.partition(" s  ")[2] for line in story]
        first, second = told[0].split()[0], told[3].split()[0]
        assert first != second
        assert told[1] == f"the service call is executed: {SPREAD}"
        assert told[2] == f"every cable of {first} is cut"
        assert told[4].startswith(f"what {first} ran runs elsewhere: ")
        assert first not in told[4].partition(": ")[2]
        assert told[5] == f"{first} is back: " + told[4].partition(": ")[2]
        assert told[-2:] == [f"term 1: {first} led", f"term 2: {second} leads"]


def test_no_transfer_of_the_bank_is_lost_or_made_twice_on_either_clock() -> None:
    lines = lines_of("bank.py")
    live = lines.index("live")
    assert lines[0] == "virtual"
    assert lines[1:live] == [
        "    refused: ValueError: vault has only 700",
        "    not confirmed at first, and repeated: yes",
        "    {'vault': 700, 'ann': 100, 'bob': 100, 'eve': 100}, in all 1000",
    ]
    assert lines[live + 1] == lines[1]
    assert lines[-1] == lines[live - 1]


def test_the_virtual_half_is_the_same_each_time() -> None:
    first, second = lines_of("embedding.py"), lines_of("embedding.py")
    assert first[: first.index("live")] == second[: second.index("live")]
