"""A retried command is applied once, on whichever member and after whatever restart."""

from collections import OrderedDict

import msgspec
import pytest

from raftyard.actors.raft.events import is_application
from raftyard.actors.raft.sessions import Sessions, encode


class Counter:
    """Adds what it is told, and answers with the sum."""

    def __init__(self) -> None:
        self.total = 0
        self.applied = 0

    def apply(self, index: int, command: bytes) -> tuple[int, int]:
        self.total += int(command)
        self.applied += 1
        return (index, self.total)

    def snapshot(self) -> bytes:
        return b"%d" % self.total

    def restore(self, data: bytes) -> None:
        self.total = int(data)


def test_a_retried_command_is_applied_once_and_its_second_reply_equals_the_first() -> None:
    sessions = Sessions(Counter())
    first = sessions.apply(1, encode("client", 1, b"5"))
    second = sessions.apply(7, encode("client", 1, b"5"))
    assert (first.result, second.result) == ([1, 5], [1, 5])
    assert (first.duplicate, second.duplicate) == (False, True)
    assert sessions.machine.total == 5


def test_without_a_session_a_command_is_applied_as_often_as_it_comes() -> None:
    sessions = Sessions(Counter())
    for index in (1, 2, 3):
        assert not sessions.apply(index, encode("", 1, b"5")).duplicate
    assert sessions.machine.total == 15
    assert len(sessions) == 0


def test_two_sessions_may_use_the_same_numbers() -> None:
    sessions = Sessions(Counter())
    assert not sessions.apply(1, encode("a", 1, b"1")).duplicate
    assert not sessions.apply(2, encode("b", 1, b"1")).duplicate
    assert sessions.machine.total == 2


def test_numbers_may_arrive_out_of_order_and_each_is_applied_once() -> None:
    sessions = Sessions(Counter())
    for index, sequence in enumerate((3, 1, 2, 1, 3), 1):
        sessions.apply(index, encode("a", sequence, b"1"))
    assert sessions.machine.total == 3


def test_an_acknowledged_answer_is_forgotten_but_its_command_is_not_run_again() -> None:
    sessions = Sessions(Counter())
    sessions.apply(1, encode("a", 1, b"1"))
    sessions.apply(2, encode("a", 2, b"1", acknowledged=1))
    late = sessions.apply(3, encode("a", 1, b"1"))
    assert (late.duplicate, late.refused) == (True, "result forgotten")
    assert sessions.machine.total == 2


def test_a_session_unused_for_many_entries_expires_and_its_command_is_refused_not_run_again() -> None:
    sessions = Sessions(Counter(), idle_entries=100)
    sessions.apply(1, encode("old", 1, b"1"))
    sessions.apply(102, encode("new", 1, b"1"))
    late = sessions.apply(103, encode("old", 1, b"1"))
    assert late.refused == "session expired"
    assert sessions.machine.total == 2


def test_a_session_at_the_limit_of_idleness_lives_on() -> None:
    sessions = Sessions(Counter(), idle_entries=100)
    sessions.apply(1, encode("old", 1, b"1"))
    assert sessions.apply(101, encode("old", 1, b"1")).duplicate


def test_of_too_many_sessions_the_one_unused_longest_expires() -> None:
    sessions = Sessions(Counter(), max_sessions=2)
    for index, name in enumerate(("a", "b", "a", "c"), 1):
        sessions.apply(index, encode(name, index, b"1"))
    assert sessions.apply(5, encode("b", 2, b"1")).refused == "session expired"
    assert sessions.apply(6, encode("a", 3, b"1")).duplicate


def test_of_the_expired_names_the_oldest_is_forgotten_and_found_without_a_walk() -> None:
    """A dict's first key is found ever more slowly behind those that were taken out: no clock has to tell."""
    sessions = Sessions(Counter(), max_sessions=1, max_expired=2)
    restored = Sessions(Counter(), max_sessions=1, max_expired=2)
    for index, name in enumerate("abcdef", 1):
        sessions.apply(index, encode(name, 1, b"1"))
        restored.restore(sessions.snapshot())
        for each in (sessions, restored):
            assert isinstance(each._expired, OrderedDict)
            assert list(each._expired) == list("abcdef"[max(0, index - 3) : index - 1])


def test_who_acknowledges_an_answer_is_not_taken_for_new_however_long_ago_it_expired() -> None:
    sessions = Sessions(Counter(), max_sessions=1, max_expired=0)
    sessions.apply(1, encode("a", 1, b"1"))
    sessions.apply(2, encode("b", 1, b"1"))
    sessions.apply(3, encode("c", 1, b"1"))
    assert sessions.apply(4, encode("a", 2, b"1", acknowledged=1)).refused == "session expired"


def test_too_many_answers_are_forgotten_from_the_oldest_on() -> None:
    sessions = Sessions(Counter(), max_results=2)
    for sequence in (1, 2, 3):
        sessions.apply(sequence, encode("a", sequence, b"1"))
    assert sessions.apply(4, encode("a", 1, b"1")).refused == "result forgotten"
    assert sessions.apply(5, encode("a", 3, b"1")).duplicate
    assert sessions.machine.total == 3


def test_the_session_table_is_part_of_the_snapshot() -> None:
    before = Sessions(Counter(), idle_entries=100)
    before.apply(1, encode("gone", 1, b"1"))
    first = before.apply(150, encode("client", 1, b"5"))
    after = Sessions(Counter(), idle_entries=100)
    after.restore(before.snapshot())
    assert after.apply(151, encode("client", 1, b"5")).result == first.result
    assert after.apply(152, encode("gone", 1, b"1")).refused == "session expired"
    assert after.machine.total == 6


def test_equal_logs_give_equal_snapshots_also_through_a_restore() -> None:
    log = [
        (index, encode(f"s{index % 7}", index // 7, b"1", max(index // 7 - 2, 0))) for index in range(1, 200)
    ]
    whole, first, second = (Sessions(Counter(), max_sessions=5) for _ in range(3))
    for index, payload in log:
        whole.apply(index, payload)
    for index, payload in log[:90]:
        first.apply(index, payload)
    second.restore(first.snapshot())
    for index, payload in log[90:]:
        second.apply(index, payload)
    assert second.snapshot() == whole.snapshot()


def test_what_is_no_envelope_is_refused_and_does_not_reach_the_machine() -> None:
    sessions = Sessions(Counter())
    for payload in (b"", b"\x00", b"nonsense", b"\x94", msgspec.msgpack.encode((1, 2, 3, 4))):
        assert sessions.apply(1, payload).refused == "no envelope"
    assert sessions.machine.applied == 0


@pytest.mark.parametrize("session", ["", "client"])
def test_an_envelope_is_an_application_entry(session: str) -> None:
    assert is_application(encode(session, 1, b""))


def test_results_get_their_type_back() -> None:
    class Sum(msgspec.Struct):
        total: int

    class Typed(Counter):
        def apply(self, index: int, command: bytes) -> Sum:  # type: ignore[override]
            return Sum(total=int(command))

    sessions = Sessions(Typed(), result_type=Sum)
    assert [sessions.apply(i, encode("a", 1, b"4")).result for i in (1, 2)] == [Sum(total=4), Sum(total=4)]
