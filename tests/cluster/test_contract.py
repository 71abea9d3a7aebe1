"""From the suite that every store has to pass: what sends each kind of command there is, here to a cluster.

All of it would take as long again as on another server. What differs is on the way to Redis, not in Redis.
"""

# ruff: noqa: F401  to be imported is to be run here, with this folder's store

from tests.contract.test_append import (
    test_a_bad_event_in_a_batch_leaves_nothing_behind,
    test_a_cancel_flag_comes_with_the_answer,
    test_a_terminal_event_closes_the_stream,
    test_an_append_moves_the_tail,
    test_nothing_to_append_is_nothing_to_do,
    test_one_refusal_does_not_disturb_the_others,
    test_the_same_append_again_finds_the_tail,
    test_what_never_was_is_gone,
)
from tests.contract.test_claim import test_a_lease_that_ran_out_can_be_taken, test_a_zombie_is_fenced
from tests.contract.test_create import test_a_taken_id_exists, test_an_idempotency_key_leads_to_the_same_stream
from tests.contract.test_end import (
    test_a_stop_is_announced,
    test_an_abandoned_stream_ends_at_once_and_keeps_its_text,
    test_delete_leaves_a_tombstone,
    test_finish_ends_what_nobody_holds,
)
from tests.contract.test_expiry import (
    test_a_finished_stream_expires_and_says_when,
    test_an_expired_stream_is_due_until_somebody_looks,
    test_statistics_let_go_of_what_expired,
)
from tests.contract.test_heartbeat import (
    test_a_released_stream_can_be_claimed_at_once,
    test_many_heartbeats_have_an_answer_each,
)
from tests.contract.test_reading import (
    test_a_forgotten_stream_is_neither_due_nor_listed,
    test_a_listing_shows_a_tenants_streams_newest_first,
    test_a_log_is_read_in_pages,
    test_a_snapshot_is_meta_and_log,
    test_due_is_what_nobody_looks_after,
    test_many_streams_of_one_millisecond_are_all_listed,
    test_ping,
    test_present_leaves_out_what_has_vanished,
    test_statistics_count_streams,
    test_the_secret_is_made_once,
)
from tests.contract.test_resume import test_a_cursor_inside_an_event_gets_the_rest_of_it
from tests.contract.test_tail import (
    tailer,
    test_a_cancelled_read_leaves_no_reply_behind,
    test_a_closed_tailer_can_be_closed_again,
    test_a_deleted_stream_is_silent,
    test_a_new_attempt_is_seen_from_an_old_cursor,
    test_a_read_cancelled_while_it_waits_leaves_no_reply_behind,
    test_a_read_is_bounded,
    test_a_stream_that_begins_later_is_seen,
    test_a_waiting_read_sees_an_append,
    test_a_waiting_read_sees_the_end,
    test_an_interrupt_is_never_too_early,
    test_an_interrupt_of_nothing_does_nothing,
    test_an_interrupted_read_returns_now,
    test_nothing_new_is_said_at_once_or_in_time,
)
from tests.memory.test_budget import (
    test_a_finished_stream_is_folded_after_a_while_and_then_expires,
    test_admission_of_a_tenant,
    test_every_way_to_go_leaves_no_bytes_behind,
    test_the_least_recently_read_go_first_and_a_live_one_never,
)
from tests.memory.test_compaction import (
    test_a_finished_log_is_folded_but_for_its_ending,
    test_what_is_over_the_budget_of_a_stream_is_trimmed_and_told,
    test_who_may_fold,
)

__all__ = ()
