"""Random stories of a whole cluster keep every promise, and equal seeds tell equal stories."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from story import play

SEED = int(os.environ.get("RAFTYARD_SEED", "0"))
CAMPAIGN = 1000 if os.environ.get("RAFTYARD_CAMPAIGN") == "full" else 100
SLICES = 20


@pytest.mark.parametrize("seed", range(SEED, SEED + 25))
def test_a_random_story_ends_with_every_call_executed_once_and_every_replica_running(seed):
    play(seed)


@pytest.mark.parametrize("seed", [501014, 910001300])
def test_a_story_that_once_went_wrong_ends_well(seed):
    """An event that nobody told; two leaders in a term, by the vote of a node that had the name of a removed one."""
    play(seed)


@pytest.mark.campaign
@pytest.mark.parametrize("part", range(SLICES))
def test_many_random_stories_keep_every_promise(part):
    first = SEED + 1000
    print(f"RAFTYARD_SEED={SEED}: seeds {first} to {first + CAMPAIGN - 1}, every {SLICES}th from {first + part}")
    for seed in range(first + part, first + CAMPAIGN, SLICES):
        play(seed)


@pytest.mark.parametrize("shuffle_seed", [1, 2])
def test_a_story_ends_well_whatever_the_order_of_what_happens_at_once(shuffle_seed):
    for seed in range(SEED, SEED + 4):
        play(seed, shuffle_seed=shuffle_seed)


def test_a_story_leaves_nothing_running():
    assert play(SEED).system.names() == ()


# -- the same seed is the same story


def told(seed: int, **virtual) -> tuple[str, bytes]:
    system = play(seed, **virtual).system
    return system.digest(), system.events.lines()


def test_equal_seeds_tell_equal_stories_byte_for_byte():
    assert told(SEED) == told(SEED)


def test_another_seed_tells_another_story():
    assert told(SEED)[0] != told(SEED + 1)[0]


def test_messages_that_were_encoded_and_decoded_tell_the_same_story():
    assert told(SEED) == told(SEED, codec_check=True)


def test_a_story_is_the_same_in_any_process_whatever_the_hash_seed():
    program = "from test_story import told; import sys; print(told(int(sys.argv[1]))[0])"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, str(SEED)],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("0", "4711")
    }
    assert digests == {told(SEED)[0]}
