"""A guard is there when a test fails without it: here each is switched off, and its test fails.

`PITFALLS` is our list of mistakes that Raft implementations have made; the tests of each carry its number.  Some
controls stand beside their tests, too: P06 (without randomness votes split for ever), P35 (without pre-vote the term
grows).
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import test_raft_disk_errors as disks
import test_raft_joint as joint
import test_raft_more_pitfalls as more
import test_raft_paper as paper
import test_raft_pitfalls as pitfalls
import test_raft_snapshots as snapshots
from raft_mutants import Bug, planted

from raftyard.actors.disk import Disk
from raftyard.actors.raft import (
    changing,
    core,
    elections,
    progress,
    reading,
    replication,
    snapshots as snapshots_core,
)
from raftyard.actors.storage.memory import MemoryStorage
from raftyard.actors.storage.sqlite import SqliteStorage

Test = Callable[..., None]

PITFALLS = {
    "P02": "a message of a term goes out before the term is durable",
    "P03": "a vote that comes twice counts twice",
    "P05": "a late message takes back entries that agree",
    "P06": "timeouts are alike, and votes split for ever",
    "P08": "an entry of an old term is committed by counting",
    "P10": "a new leader never learns what is committed",
    "P12": "an old acknowledgement takes back what is known of a follower",
    "P13": "entries with a gap between them are taken",
    "P14": "logs that parted are compared an entry at a time",
    "P15": "what was lost on the way is never sent again",
    "P16": "a follower learns of a commit only by the next entry",
    "P20": "a late write stands for entries that were overwritten meanwhile",
    "P23": "a sync that failed is tried again and believed; a full disk leaves half a record",
    "P24": "a snapshot takes back what a follower has",
    "P26": "the pieces of two snapshots are mixed",
    "P27": "an entry is applied again after a restart",
    "P29": "a new leader answers reads before it knows what is committed",
    "P32": "a command that is retried is applied twice",
    "P34": "a leader without a quorum takes in without end",
    "P35": "a member that was away for long comes back with a higher term",
    "P39": "the only member that sees a quorum does not get to lead",
    "P40": "asking for pre-votes disturbs those who are asked",
    "P41": "a candidate with a higher term is never let in again",
    "P42": "handing over leadership loses writes, or never ends",
    "P43": "a slow disk is taken for a dead leader",
    "P45": "a leader that is removed counts itself, or stays",
    "P47": "a message of another life or another cluster is believed",
    "P48": "a change of membership is not taken back, not found again, or not ended",
    "P49": "logs are compared by length",
}

GUARDS: dict[str, tuple[Test, str | Bug]] = {
    "P02": (
        pitfalls.test_p02_a_candidates_requests_wait_for_its_term_to_be_durable,
        "sends before its term is durable",
    ),
    "P02 held": (
        pitfalls.test_p02_what_belongs_to_a_write_under_way_is_held_until_it_is_done,
        "sends before its term is durable",
    ),
    "P03": (
        paper.test_a_vote_that_comes_twice_counts_once,
        (core.Membership, "is_quorum", "_is_majority(self.voters, who)", "len(who) >= 1"),
    ),
    "P05": (
        paper.test_a_conflicting_entry_is_deleted_with_all_that_follow_and_an_equal_one_stays,
        "truncates on every append",
    ),
    "P06": (
        paper.test_the_timeout_is_drawn_anew_at_each_reset_from_the_members_own_stream,
        (replication, "on_append", "raft.random.random()", "0.5"),
    ),
    "P08": (
        paper.test_only_entries_of_the_own_term_are_committed_by_counting, "commits entries of old terms",
    ),
    "P10": (paper.test_a_leader_begins_with_an_entry_of_its_own, "begins a term without an entry of its own"),
    "P12": (
        pitfalls.test_p12_match_only_grows_and_next_stays_above_it,
        (replication, "on_append_reply", "if match > progress.match:", "if match != progress.match:"),
    ),
    "P13": (
        pitfalls.test_p13_a_message_that_no_leader_can_have_sent_is_dropped_whole,
        (replication, "on_append", "if not _is_sound(raft, message, count):", "if False:"),
    ),
    "P14": (
        pitfalls.test_p14_a_long_divergent_log_is_found_out_a_term_at_a_time,
        (replication, "_back_up", "progress.probe(agree + 1)", "progress.probe(prev)"),
    ),
    "P15": (
        pitfalls.test_p15_a_pipeline_that_was_lost_whole_is_refilled_after_a_heartbeat,
        "is never told of lost entries",
    ),
    "P16": (
        pitfalls.test_p16_a_follower_learns_of_a_commit_without_another_proposal,
        (replication, "_commit", "raft.notice_ns == NEVER_NS and raft.peers", "False"),
    ),
    "P16 blip": (
        pitfalls.test_p16_a_follower_learns_of_a_commit_after_a_blip_within_a_heartbeat, "sends no heartbeats",
    ),
    "P20": (
        pitfalls.test_p20_a_late_write_does_not_stand_for_entries_that_were_overwritten_and_written_again,
        "lets a late write stand for other entries",
    ),
    "P20 held": (
        pitfalls.test_p20_an_acknowledgement_that_is_held_back_is_dropped_when_its_entries_are_overwritten,
        (core.Raft, "truncate", "self.hold_no_more(index - 1)", "pass"),
    ),
    "P23": (
        disks.test_p23_a_node_whose_sync_failed_once_ends_this_life_and_reads_what_is_left,
        (Disk, "_synced", "self._fail(error)\n        return", "pass"),
    ),
    "P23 full": (
        disks.test_p23_a_storage_that_failed_to_write_takes_nothing_until_it_is_read_again,
        (SqliteStorage, "_check_usable", "if self._broken:", "if False:"),
    ),
    "P24": (
        snapshots.test_a_snapshot_that_the_log_agrees_with_keeps_what_follows_it,
        (
            snapshots_core, "on_install_snapshot",
            "elif raft.log.term_at(message.index) == message.snapshot_term:", "elif False:",
        ),
    ),
    "P26": (
        more.test_p26_pieces_of_two_snapshots_are_never_mixed_even_by_a_restart, "mixes the pieces of two snapshots",
    ),
    "P26 order": (
        more.test_p26_pieces_of_two_snapshots_are_never_mixed_even_by_a_restart,
        "puts pieces together in the order in which they come",
    ),
    "P26 overtaken": (
        more.test_p26_a_snapshot_that_was_overtaken_is_not_begun_again,
        (
            snapshots_core, "_collect",
            "incoming is not None and incoming.key[:2] == key[:2] and incoming.key[2] > message.index", "False",
        ),
    ),
    "P27 snapshot": (
        snapshots.test_a_restarted_member_begins_with_its_snapshot,
        "forgets that what a snapshot holds was applied",
    ),
    "P27": (more.test_p27_a_restarted_member_applies_each_entry_once, "applies an entry twice"),
    "P29": (
        pitfalls.test_p29_a_new_leader_answers_no_read_before_an_entry_of_its_own_is_committed,
        "reads before an entry of its own is committed",
    ),
    "P32": (
        more.test_p32_a_command_that_is_retried_at_another_leader_is_applied_once,
        "forgets the answers of a session",
    ),
    "P34": (
        pitfalls.test_p34_a_leader_without_a_quorum_refuses_after_the_limit,
        (replication, "_objection", "raft.uncommitted_bytes and", "False and"),
    ),
    "P35": (
        pitfalls.test_p35_a_member_that_was_isolated_for_long_comes_back_without_disturbance,
        (elections, "on_silence", "elif raft.config.pre_vote:", "elif False:"),
    ),
    "P39": (
        pitfalls.test_p39_the_only_member_that_sees_a_quorum_becomes_leader, "goes on leading without a quorum",
    ),
    "P40": (
        more.test_p40_a_pre_vote_resets_neither_timer_nor_vote_nor_term,
        (elections, "on_pre_vote_request", "granted = (", "redraw_deadline(raft)\n    granted = ("),
    ),
    "P40 storm": (
        more.test_p40_a_member_that_asks_again_and_again_disturbs_nobody,
        (elections, "_hears_leader", "if not raft.config.check_quorum:", "if True:"),
    ),
    "P41": (
        pitfalls.test_p41_a_candidate_stuck_with_a_higher_term_is_let_in_at_the_cost_of_one_election,
        "does not answer an older term",
    ),
    "P42": (
        pitfalls.test_p42_a_transfer_to_a_dead_member_is_given_up_and_the_leader_serves_again,
        "never takes leadership back",
    ),
    "P42 behind": (
        pitfalls.test_p42_a_transfer_to_one_that_is_behind_first_brings_it_up,
        (changing, "hand_over_if_ready", "and progress.match == raft.log.last_index", ""),
    ),
    "P42 log": (
        pitfalls.test_p42_a_transfer_passes_stickiness_but_not_the_check_of_the_log,
        "votes without looking at the log",
    ),
    "P42 removed": (
        more.test_p42_nobody_is_removed_while_leadership_is_handed_over,
        (changing, "_objection", "if raft.transfer_target is not None:", "if False:"),
    ),
    "P43": (more.test_p43_a_leader_whose_disk_stalls_goes_on_sending_heartbeats, "sends no heartbeats"),
    "P43 bound": (
        pitfalls.test_p43_what_the_leaders_own_disk_does_not_take_is_bounded,
        (replication, "forget_settled", "min(raft.commit_index, raft.durable_index)", "raft.commit_index"),
    ),
    "P43 hands over": (
        pitfalls.test_p43_another_takes_over_from_a_leader_whose_disk_hangs,
        (replication, "on_leader_deadline", "_watch_storage(raft, overslept)", "pass"),
    ),
    "P43 once": (
        pitfalls.test_p43_a_leader_whose_disk_hangs_hands_over_once_and_serves_on_if_nobody_takes_over,
        (replication, "_watch_storage", "raft.watched_ns = NEVER_NS", "pass"),
    ),
    "P43 needed": (
        pitfalls.test_p43_a_leader_whose_disk_hangs_leads_on_where_the_others_cannot_do_without_it,
        (replication, "_watch_storage", " and raft.membership.is_quorum(heard)", ""),
    ),
    "P43 follower": (
        pitfalls.test_p43_a_follower_whose_disk_stalls_is_still_heard,
        (replication, "on_append", "(raft.acks if new else raft.out)", "raft.acks"),
    ),
    "P45": (pitfalls.test_p45_a_leader_that_is_leaving_does_not_count_itself, "counts a leader that is leaving"),
    "P45 hands over": (
        pitfalls.test_p45_a_leader_that_removes_itself_commits_steps_down_and_hands_over,
        (changing, "on_membership_committed", "if heir is not None:", "if False:"),
    ),
    "P47": (
        pitfalls.test_p47_what_an_earlier_life_of_a_member_sent_is_dropped,
        (core.Raft, "_has_started_anew", "if message.incarnation < contact.incarnation:", "if False:"),
    ),
    "P47 cluster": (
        pitfalls.test_p47_a_message_of_another_cluster_or_for_another_member_is_dropped_and_counted,
        (core.Raft, "_is_news", "message.cluster != self.cluster or message.to != self.member", "False"),
    ),
    "P48 taken back": (
        pitfalls.test_p48_an_uncommitted_change_that_is_overwritten_is_taken_back,
        "keeps a membership that was overwritten",
    ),
    "P48 pending": (
        pitfalls.test_p48_a_second_change_is_refused_while_one_is_pending,
        "changes members before the last change is committed",
    ),
    "P48 new leader": (
        pitfalls.test_p48_no_change_before_an_entry_of_the_own_term_is_committed,
        "changes members before an entry of its own is committed",
    ),
    "P48 learner": (
        more.test_p48_a_learner_that_is_behind_does_not_become_a_voter,
        (changing, "on_promote_learner", "elif not raft.is_caught_up(event.member):", "elif False:"),
    ),
    "P48 told": (
        more.test_a_learner_that_was_not_told_who_votes_does_not_become_a_voter,
        (changing, "is_caught_up", "or progress.match < raft.membership.index", ""),
    ),
    "P48 found again": (
        snapshots.test_the_membership_survives_two_snapshots_and_a_restart,
        (
            MemoryStorage, "save_snapshot",
            "membership_before(self._membership, self._first_index, self._payloads[:forget])", "self._membership",
        ),
    ),
    "P48 ended": (
        joint.test_the_next_leader_ends_a_change_that_the_last_one_began,
        (changing, "leave_joint", "joint.outgoing and", "False and"),
    ),
    "P48 both halves": (
        joint.test_nothing_is_committed_while_either_half_is_missing,
        "commits a joint change by the new voters alone",
    ),
    "P49": (
        paper.test_a_vote_needs_a_log_at_least_as_up_to_date_by_term_first, "compares logs by length only",
    ),
    "flow control": (
        pitfalls.test_the_window_bounds_what_is_under_way_in_messages_and_in_bytes,
        (replication, "_has_room", "count < config.max_inflight_messages\n        and ", ""),
    ),
    "resends": (
        more.test_a_burst_on_a_wire_that_reorders_and_doubles_begets_no_storm,
        (progress.Progress, "probe", "self.window = 1", "pass"),
    ),
    "read rounds": (
        pitfalls.test_an_answer_to_an_earlier_round_confirms_nothing,
        (
            replication, "on_append_reply",
            "if message.round > progress.round:\n        progress.round = message.round",
            "if True:\n        progress.round = raft.round",
        ),
    ),
    "read answers": (
        pitfalls.test_a_late_answer_to_an_earlier_question_answers_no_later_read,
        (reading, "on_read_index_reply", "message.batch != reads.batch or", ""),
    ),
    "answers to an earlier life": (
        pitfalls.test_an_answer_to_an_earlier_life_of_a_member_answers_nothing_of_this_one,
        (reading.Reads, "__init__", "incarnation << 32", "0"),
    ),
    "wiped storage": (
        pitfalls.test_a_member_whose_storage_was_wiped_is_filled_again,
        (progress.Progress, "forget", "self.match = 0", "pass"),
    ),
}  # fmt: skip


def every_case(test: Test) -> list[dict[str, Any]]:
    """The arguments of a parametrized test; one empty set for a plain one."""
    columns = []
    for mark in getattr(test, "pytestmark", ()):
        names, rows = mark.args
        names = names.split(",") if isinstance(names, str) else names
        columns.append([dict(zip(names, row if len(names) > 1 else (row,), strict=True)) for row in rows])
    return [{key: value for part in parts for key, value in part.items()} for parts in product(*columns)]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("guard", GUARDS)
def test_without_its_guard_the_test_fails(guard: str) -> None:
    test, bug = GUARDS[guard]
    failed = 0
    with planted(bug):
        for arguments in every_case(test):
            try:
                test(**arguments)
            except Exception:
                failed += 1
    assert failed, f"{test.__name__} does not need its guard"


def test_every_pitfall_of_the_list_has_its_test_and_its_guard() -> None:
    assert sorted({name.split()[0] for name in GUARDS if name[0] == "P"}) == sorted(PITFALLS)
    for name, (test, _) in GUARDS.items():
        number = name.split()[0].lower()
        told = f"{test.__name__} {test.__doc__ or ''}".lower()
        assert number in told or test.__module__ == "test_raft_paper" or name not in PITFALLS, f"{name}: {told}"
