"""What every storage promises; each implementation runs the same tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftyard.actors.raft.core import Restored
from raftyard.actors.raft.events import HardState, Persist, Snapshot, StorageDone
from raftyard.actors.raft.membership import Membership, encode_membership
from raftyard.actors.storage.base import Storage, StorageBroken
from raftyard.actors.storage.memory import MemoryStorage
from raftyard.actors.storage.simulated import SimulatedStorage
from raftyard.actors.storage.sqlite import SqliteStorage

FRESH = Restored.bootstrap(("a", "b", "c"), learners=("d",))


@pytest.fixture(params=["memory", "simulated", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Restored], Storage]]:
    """A loaded storage of each kind."""
    made: list[Storage] = []

    def loaded(initial: Restored) -> Storage:
        match request.param:
            case "memory":
                storage: Storage = MemoryStorage(initial)
            case "simulated":
                storage = SimulatedStorage(initial)
            case "sqlite":
                storage = SqliteStorage(tmp_path / "a.sqlite", "0", "a", initial)
        storage.load()
        made.append(storage)
        return storage

    yield loaded
    for storage in made:
        storage.close()


def write(first: int, *terms: int, hard: HardState | None = None) -> Persist:
    payloads = tuple(b"%d/%d" % (index, term) for index, term in enumerate(terms, first))
    last = first + len(terms) - 1
    done = StorageDone(term=terms[-1] if terms else 0, index=last, sequence=1, incarnation=1)
    return Persist(hard_state=hard, first_index=first, terms=terms, payloads=payloads, done=done)


def test_a_fresh_storage_gives_what_it_was_made_with(make: Callable[[Restored], Storage]) -> None:
    assert make(FRESH).load() == FRESH


def test_entries_are_found_again_in_order(make: Callable[[Restored], Storage]) -> None:
    storage = make(FRESH)
    storage.save(write(1, 1, 1))
    storage.save(write(3, 2))
    found = storage.load()
    assert found.terms == (1, 1, 2)
    assert found.payloads == (b"1/1", b"2/1", b"3/2")
    assert found.membership == FRESH.membership


def test_the_hard_state_is_found_again_and_a_write_without_one_keeps_it(
    make: Callable[[Restored], Storage],
) -> None:
    storage = make(FRESH)
    storage.save(write(1, hard=HardState(term=3, voted_for="b")))
    storage.save(write(1, 3))
    assert storage.load().hard_state == HardState(term=3, voted_for="b")


def test_a_write_forgets_what_lies_at_and_after_its_first_entry(make: Callable[[Restored], Storage]) -> None:
    storage = make(FRESH)
    storage.save(write(1, 1, 1, 1))
    storage.save(write(2, 2))
    assert storage.load().payloads == (b"1/1", b"2/2")


def test_a_write_of_the_hard_state_alone_keeps_the_log(make: Callable[[Restored], Storage]) -> None:
    storage = make(FRESH)
    storage.save(write(1, 1, 1))
    storage.save(write(3, hard=HardState(term=2)))
    assert storage.load().terms == (1, 1)


def test_a_write_that_leaves_a_gap_is_refused_and_changes_nothing(
    make: Callable[[Restored], Storage],
) -> None:
    storage = make(FRESH)
    storage.save(write(1, 1))
    with pytest.raises(StorageBroken, match="entry 3 cannot follow a log that holds 1..1"):
        storage.save(write(3, 1, hard=HardState(term=9)))
    assert storage.load() == Restored(membership=FRESH.membership, terms=(1,), payloads=(b"1/1",))


def test_a_closed_storage_saves_nothing_until_it_is_loaded_again(make: Callable[[Restored], Storage]) -> None:
    storage = make(FRESH)
    storage.save(write(1, 1))
    storage.close()
    with pytest.raises(StorageBroken):
        storage.save(write(2, 1))
    assert storage.load().terms == (1,)
    storage.save(write(2, 1))


def test_what_was_loaded_does_not_change_with_later_writes(make: Callable[[Restored], Storage]) -> None:
    storage = make(FRESH)
    storage.save(write(1, 1))
    before = storage.load()
    storage.save(write(1, 2, 2))
    assert before.terms == (1,)


def test_several_writes_are_found_again_as_if_made_one_by_one(make: Callable[[Restored], Storage]) -> None:
    storage = make(FRESH)
    storage.save_many(
        (
            write(1, 1, 1, 1, hard=HardState(term=1)),
            write(3, 2, 2, hard=HardState(term=2)),
            write(4, 3),
            write(5, 3),
        )
    )
    found = storage.load()
    assert found.hard_state == HardState(term=2)
    assert found.payloads == (b"1/1", b"2/1", b"3/2", b"4/3", b"5/3")
    storage.save_many((write(4, 4), write(2, 5)))
    assert storage.load().payloads == (b"1/1", b"2/5")


def test_of_several_writes_all_count_or_none(make: Callable[[Restored], Storage]) -> None:
    storage = make(FRESH)
    with pytest.raises(StorageBroken, match="entry 4 cannot follow a log that holds 1..2"):
        storage.save_many((write(1, 1, 1), write(4, 1)))
    assert storage.load() == FRESH


def snapshot(index: int, term: int, membership: Membership = FRESH.membership) -> Snapshot:
    return Snapshot(index=index, term=term, membership=membership, data=b"state at %d" % index)


def test_a_snapshot_takes_the_place_of_entries(make: Callable[[Restored], Storage]) -> None:
    storage = make(FRESH)
    storage.save(write(1, 1, 1, 2, 2))
    storage.save_snapshot(snapshot(3, 2), keep_from=3)
    found = storage.load()
    assert found.snapshot == snapshot(3, 2)
    assert (found.first_index, found.base_term, found.payloads) == (3, 1, (b"3/2", b"4/2"))
    storage.save(write(5, 3))
    storage.save_snapshot(snapshot(5, 3), keep_from=6)
    found = storage.load()
    assert (found.first_index, found.base_term, found.payloads) == (6, 3, ())
    storage.save(write(6, 3))
    assert storage.load().payloads == (b"6/3",)


def test_a_membership_among_forgotten_entries_is_in_force_before_the_rest(
    make: Callable[[Restored], Storage],
) -> None:
    storage = make(FRESH)
    changed = Membership(voters=("a", "e"), index=2)
    persist = Persist(
        hard_state=None,
        first_index=1,
        terms=(1, 1, 1),
        payloads=(b"x", encode_membership(changed), b"y"),
        done=StorageDone(term=1, index=3, sequence=1, incarnation=1),
    )
    storage.save(persist)
    storage.save_snapshot(snapshot(3, 1, changed), keep_from=3)
    assert storage.load().membership == changed


def test_a_snapshot_ahead_of_the_log_or_at_odds_with_it_replaces_it(
    make: Callable[[Restored], Storage],
) -> None:
    storage = make(FRESH)
    storage.save(write(1, 1, 1, 1))
    storage.save_snapshot(snapshot(2, 2), keep_from=3)
    found = storage.load()
    assert (found.first_index, found.base_term, found.payloads) == (3, 2, ())
    storage.save_snapshot(snapshot(9, 4, Membership(voters=("z",), index=7)), keep_from=10)
    found = storage.load()
    assert (found.first_index, found.base_term, found.membership.voters) == (10, 4, ("z",))
    storage.save(write(10, 4))
    assert storage.load().payloads == (b"10/4",)


def test_a_write_before_the_snapshot_is_refused(make: Callable[[Restored], Storage]) -> None:
    storage = make(FRESH)
    storage.save(write(1, 1, 1))
    storage.save_snapshot(snapshot(2, 1), keep_from=3)
    with pytest.raises(StorageBroken, match="entry 2 cannot follow"):
        storage.save(write(2, 2))


def test_a_snapshot_is_read_in_pieces_of_any_size(make: Callable[[Restored], Storage]) -> None:
    storage = make(FRESH)
    storage.save(write(1, 1, 1, 1))
    assert storage.read_snapshot(2, 0, 10) is None
    data = bytes(number * 7 % 251 for number in range(600_001))
    large = Snapshot(index=2, term=1, membership=FRESH.membership, data=data)
    storage.save_snapshot(large, keep_from=3)
    for size in (1000, 262_144, 262_145, 400_000, len(data), 10**7):
        offsets = range(0, len(data), size)
        found = [storage.read_snapshot(2, offset, size) for offset in offsets]
        assert [piece for piece in found if piece is None or piece[1] != len(data)] == []
        assert b"".join(piece[0] for piece in found if piece is not None) == data
    assert storage.read_snapshot(1, 0, 10) is None
    assert storage.load().snapshot == large
    storage.save_snapshot(snapshot(3, 1), keep_from=4)
    assert storage.read_snapshot(2, 0, 10) is None
    assert storage.read_snapshot(3, 6, 100) == (b"at 3", 10)
    empty = Snapshot(index=5, term=2, membership=FRESH.membership, data=b"")
    storage.save_snapshot(empty, keep_from=6)
    assert storage.read_snapshot(5, 0, 10) == (b"", 0)
    assert storage.load().snapshot == empty
    storage.close()
    with pytest.raises(StorageBroken, match="load it again"):
        storage.read_snapshot(5, 0, 10)


def test_starts_are_counted_upwards(make: Callable[[Restored], Storage]) -> None:
    storage = make(FRESH)
    first = storage.start(1)
    assert first >= 1
    storage.load()
    assert storage.start(first + 1) > first
