"""What every storage promises; each implementation runs the same tests."""

from collections.abc import Callable

import pytest

from raftyard.actors.raft.core import Restored
from raftyard.actors.raft.events import HardState, Persist, StorageDone
from raftyard.actors.storage.base import Storage, StorageBroken
from raftyard.actors.storage.memory import MemoryStorage

MAKERS: dict[str, Callable[[Restored], Storage]] = {"memory": MemoryStorage}
FRESH = Restored.bootstrap(("a", "b", "c"), learners=("d",))


@pytest.fixture(params=sorted(MAKERS))
def make(request: pytest.FixtureRequest) -> Callable[[Restored], Storage]:
    return MAKERS[request.param]


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
