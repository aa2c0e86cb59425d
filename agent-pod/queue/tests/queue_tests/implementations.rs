//! What every implementation of the ports promises, run on each of them.

use crate::contract::Fixture;

/// Tests in a module each implementation that opens at once.
macro_rules! run_on {
    ([$($implementation:ident = $open:ident),+] $tests:tt) => {
        $(run_on!(@ $implementation $open $tests);)+
    };
    (@ $implementation:ident $open:ident { $($subject:ident { $($test:ident)+ })+ }) => {
        mod $implementation {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::contract::$subject::$test(&super::Fixture::$open()).await;
                }
            )+)+
        }
    };
}

/// Tests on a real broker, of one version.
macro_rules! run_on_jetstream {
    ($name:ident = $version:ident { $($subject:ident { $($test:ident)+ })+ }) => {
        mod $name {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let version = crate::nats::Version::$version;
                    if let Some(fixture) = super::Fixture::jetstream(version, stringify!($subject)).await {
                        crate::contract::$subject::$test(&fixture).await;
                    }
                }
            )+)+
        }
    };
}

macro_rules! on_every_implementation {
    ($($tests:tt)+) => {
        run_on!([memory = memory, embedded = embedded] { $($tests)+ });
        run_on_jetstream!(jetstream = Newest { $($tests)+ });
        run_on_jetstream!(jetstream_before_with_accounts = BeforeWithAccounts { $($tests)+ });
        run_on_jetstream!(jetstream_oldest = Oldest { $($tests)+ });
    };
}

on_every_implementation! {
    delivery {
        a_message_is_published_pulled_and_acknowledged
        pulling_nothing_returns_nothing
        a_waiting_pull_wakes_when_a_message_is_published
        every_waiting_pull_gets_its_message
        a_waiting_pull_ends_when_its_time_is_over
        a_waiting_pull_ends_when_its_process_leaves
        a_pull_takes_along_what_comes_while_its_process_leaves
        a_pull_that_was_given_up_takes_no_message_along
        pools_are_separate
        depth_counts_what_is_not_acknowledged
        depth_counts_what_ever_came_and_went_and_tells_the_oldest_that_waits
        workers_in_parallel_deliver_each_message_once
        a_message_is_discarded_unless_a_worker_has_it
    }
    condemned {
        what_is_kept_is_not_removed
        who_keeps_what_is_being_removed_waits_for_its_end
        a_removal_whose_process_died_is_ended_by_another
        a_payload_that_is_asked_for_or_put_again_is_kept
    }
    deduplication {
        an_id_that_is_queued_is_swallowed
        an_id_that_is_in_work_is_swallowed
        an_id_that_is_in_work_for_long_is_swallowed
        an_id_is_swallowed_for_a_while_after_it_was_worked_at_once
        an_id_given_twice_in_one_call_is_published_once
    }
    leases {
        a_lease_that_ends_delivers_the_message_again
        a_waiting_pull_wakes_when_a_lease_ends
        extending_keeps_the_message
        after_its_lease_a_receipt_changes_nothing
        a_receipt_of_an_earlier_delivery_changes_nothing
        acknowledging_twice_is_refused
        a_released_message_comes_back_at_once
        a_released_message_comes_back_after_its_delay
        a_waiting_pull_wakes_when_a_delay_ends
    }
    priorities {
        while_all_classes_wait_they_share_by_weight
        a_low_message_is_served_under_a_stream_of_critical_ones
        within_a_class_the_first_comes_first
        a_batch_is_filled_by_weight
    }
    records {
        a_record_is_created_read_changed_and_deleted
        creating_twice_is_a_conflict
        changing_an_old_revision_is_a_conflict
        a_record_created_again_does_not_repeat_a_revision
        a_record_is_removed_as_it_was_read_or_not_at_all
        a_scan_goes_in_order_by_prefix_from_after_to_limit
        records_of_several_names_are_seen_as_one_order
        writers_in_parallel_lose_no_increment
    }
    payloads {
        a_payload_is_named_by_its_digest_and_read_back
        putting_twice_stores_once
        a_payload_that_is_not_there_is_not_found
        a_name_that_is_no_digest_is_not_found
        deleting_removes_and_deleting_nothing_is_no_error
        payloads_of_every_size_come_back_whole
        digests_are_listed_a_page_at_a_time_in_order
        a_payload_that_comes_in_parts_is_the_same_payload
        a_payload_that_breaks_off_leaves_nothing
        a_put_that_is_given_up_leaves_nothing
    }
    timers {
        alarms_are_delivered_oldest_first_when_their_time_has_come
        a_waiting_call_wakes_when_an_alarm_becomes_due
        a_waiting_call_wakes_when_a_due_alarm_is_set
        setting_again_replaces_time_and_body
        an_alarm_that_is_due_is_replaced_before_it_is_delivered
        a_cancelled_alarm_is_not_delivered
        an_alarm_that_is_not_done_is_delivered_again
        done_keeps_an_alarm_that_was_set_again
        no_more_than_max_are_delivered_at_once
    }
    events {
        watchers_see_the_subjects_of_their_prefix
        a_slow_watcher_loses_the_oldest
        events_from_before_the_watch_are_not_seen
        a_watcher_that_left_disturbs_nobody
    }
    statuses {
        the_last_status_of_each_key_is_seen_in_order
        a_status_that_is_taken_back_is_gone
        who_watches_a_key_hears_what_is_said_and_taken_back
        a_status_that_is_not_said_again_is_gone_after_its_time
    }
}

// What only those promise that keep the books themselves.
run_on!([memory_exactly = memory, embedded_exactly = embedded] {
    delivery { depth_counts_what_waits_what_is_in_work_and_the_oldest }
    deduplication {
        an_id_that_is_queued_is_swallowed_in_every_pool
        the_window_counts_from_the_acknowledgement
    }
});

// Object stores have payloads alone.
run_on!([folder = payloads_in_a_folder, object_memory = payloads_in_memory] {
    payloads {
        a_payload_is_named_by_its_digest_and_read_back
        putting_twice_stores_once
        a_payload_that_is_not_there_is_not_found
        a_name_that_is_no_digest_is_not_found
        deleting_removes_and_deleting_nothing_is_no_error
        payloads_of_every_size_come_back_whole
        digests_are_listed_a_page_at_a_time_in_order
        a_payload_that_comes_in_parts_is_the_same_payload
        a_payload_that_breaks_off_leaves_nothing
        a_put_that_is_given_up_leaves_nothing
    }
});

#[tokio::test]
async fn a_write_that_fails_in_memory_has_no_effect() {
    let faults = queue::Faults::default();
    let ports = queue::memory::open_with(faults.clone());
    faults.fail_write(2);
    ports.records.create("a", "1".into()).await.expect("the first write");
    let failed = ports.records.create("b", "1".into()).await;
    assert!(matches!(failed, Err(queue::Error::Store { .. })), "{failed:?}");
    assert_eq!(ports.records.get("b").await.expect("read"), None);
    ports.records.create("b", "1".into()).await.expect("the third write");
    assert_eq!(faults.writes(), 3);
}
