//! Leader election: the decisions, and whole elections in simulated time.

use std::time::Duration;

use crate::election::{Faults, overlap, scenario};
use operator::lease::{
    Election, Elector, Ended, Failure, Identity, Leadership, LeaseApi, MemoryLease, Record, Step, Timing, TimingError,
    while_leading,
};
use proptest::prelude::*;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);
const USUAL: Faults = Faults { skew: 1.5, compares: true };

fn record(holder: Option<&str>, epoch: u32, version: &str) -> Record {
    let holder = holder.map(str::to_owned);
    Record { holder, epoch, duration: Duration::from_secs(15), version: version.to_owned() }
}

fn election(now: Instant) -> (Election, Identity) {
    let identity = Identity::of_process("operator-a");
    (Election::new(identity.clone(), Timing::USUAL, now), identity)
}

/// Leads since `now`, with epoch 4.
fn leader(now: Instant) -> (Election, Identity) {
    let (mut election, identity) = election(now);
    assert_eq!(election.next(now), Step::Read);
    election.observed(Some(record(None, 3, "1")), now);
    assert_eq!(election.next(now), Step::Acquire { epoch: 4 });
    election.written(record(Some(identity.as_str()), 4, "2"), now, now);
    (election, identity)
}

#[test]
fn a_lease_that_changes_is_never_taken_and_one_that_does_not_is_taken_after_its_duration() {
    let begin = Instant::now();
    let (mut election, _) = election(begin);
    let mut now = begin;
    for version in ["1", "2", "3"] {
        assert_eq!(election.next(now), Step::Read);
        election.observed(Some(record(Some("other"), 7, version)), now);
        assert_eq!(election.next(now), Step::Sleep(now + 2 * SECOND));
        now += 14 * SECOND;
    }
    let first_seen = now - 14 * SECOND;
    assert_eq!(election.next(now), Step::Read);
    election.observed(Some(record(Some("other"), 7, "3")), now);
    assert_eq!(
        election.next(now),
        Step::Sleep(first_seen + 15 * SECOND),
        "an old version is not new by being read again"
    );
    assert_eq!(election.next(first_seen + 15 * SECOND), Step::Acquire { epoch: 8 });
}

#[test]
fn the_holders_own_duration_counts_where_it_is_longer() {
    let begin = Instant::now();
    let (mut election, _) = election(begin);
    election.observed(Some(Record { duration: 60 * SECOND, ..record(Some("other"), 1, "1") }), begin);
    assert_eq!(election.next(begin + 59 * SECOND), Step::Read);
    election.observed(Some(Record { duration: 60 * SECOND, ..record(Some("other"), 1, "1") }), begin + 59 * SECOND);
    assert_eq!(election.next(begin + 60 * SECOND), Step::Acquire { epoch: 2 });
}

#[test]
fn a_leadership_ends_at_its_deadline_which_counts_from_the_start_of_the_last_request() {
    let begin = Instant::now();
    let (mut election, identity) = leader(begin);
    let started = begin + 2 * SECOND;
    assert_eq!(election.next(started), Step::Renew);
    election.written(record(Some(identity.as_str()), 4, "3"), started, started + 4 * SECOND);
    let until = started + 10 * SECOND;
    assert_eq!(election.leadership(until - SECOND), Leadership::Leading { epoch: 4, until });
    let holder = Some(identity.as_str().to_owned());
    assert_eq!(election.leadership(until), Leadership::Following { holder });
    assert_eq!(election.leadership(until - SECOND).epoch_at(until), Err(operator::lease::NotLeading));
}

#[test]
fn a_holder_that_has_not_renewed_in_time_leads_no_more() {
    let begin = Instant::now();
    let (mut election, _) = election(begin);
    let other = || Leadership::Following { holder: Some("other".to_owned()) };
    let nobody = Leadership::Following { holder: None };
    election.observed(Some(record(Some("other"), 1, "1")), begin);
    assert_eq!(election.leadership(begin + 14 * SECOND), other());
    election.observed(Some(record(Some("other"), 1, "1")), begin + 14 * SECOND);
    assert_eq!(election.leadership(begin + 15 * SECOND), nobody, "the same again is no renewal");
    election.observed(Some(record(Some("other"), 1, "2")), begin + 16 * SECOND);
    assert_eq!(election.leadership(begin + 30 * SECOND), other());
    // Nor does anybody know of one while the Lease cannot be read.
    election.unreadable(begin + 30 * SECOND);
    assert_eq!(election.leadership(begin + 31 * SECOND), nobody);
}

#[test]
fn a_leader_whose_renewal_was_not_answered_reads_and_renews_again() {
    let begin = Instant::now();
    let (mut election, identity) = leader(begin);
    let now = begin + 2 * SECOND;
    assert_eq!(election.next(now), Step::Renew);
    election.not_written(Failure::LookAgain, now + 5 * SECOND);
    assert_eq!(election.next(now + 5 * SECOND), Step::Read);
    // It was applied: the version is another, the holder is the same.
    election.observed(Some(record(Some(identity.as_str()), 4, "3")), now + 5 * SECOND);
    assert_eq!(election.next(now + 5 * SECOND), Step::Renew, "its start is not known to count, so it is done again");
    assert!(matches!(election.leadership(begin + 10 * SECOND), Leadership::Following { .. }));
}

#[test]
fn a_refused_write_waits_before_the_next_try_and_an_unreadable_lease_does_too() {
    let begin = Instant::now();
    let (mut election, _) = leader(begin);
    let now = begin + 2 * SECOND;
    assert_eq!(election.next(now), Step::Renew);
    election.not_written(Failure::Refused, now);
    assert_eq!(election.next(now), Step::Sleep(now + 2 * SECOND));
    assert_eq!(election.next(now + 2 * SECOND), Step::Read);
    election.unreadable(now + 3 * SECOND);
    assert_eq!(election.next(now + 3 * SECOND), Step::Sleep(now + 5 * SECOND));
    assert_eq!(election.next(now + 5 * SECOND), Step::Read);
    election.unreadable(now + 7 * SECOND);
    let deadline = begin + 10 * SECOND;
    assert_eq!(election.next(now + 7 * SECOND), Step::Sleep(deadline), "it wakes for the end of its leadership");
}

#[test]
fn a_leader_that_sees_another_holder_or_no_lease_steps_down_at_once() {
    for found in [Some(record(Some("other"), 5, "9")), None] {
        let begin = Instant::now();
        let (mut election, _) = leader(begin);
        let now = begin + 2 * SECOND;
        assert_eq!(election.next(now), Step::Renew);
        election.not_written(Failure::LookAgain, now);
        assert_eq!(election.next(now), Step::Read);
        election.observed(found, now);
        assert!(matches!(election.leadership(now), Leadership::Following { .. }));
    }
}

#[test]
fn each_tenure_has_a_greater_epoch_even_of_the_same_process_and_after_the_lease_was_removed() {
    let begin = Instant::now();
    let (mut election, identity) = leader(begin);
    let late = begin + 60 * SECOND;
    assert_eq!(election.next(late), Step::Acquire { epoch: 5 }, "a leader that was paused begins anew");
    election.written(record(Some(identity.as_str()), 5, "3"), late, late);
    assert_eq!(election.next(late + 2 * SECOND), Step::Renew);
    election.not_written(Failure::LookAgain, late + 2 * SECOND);
    assert_eq!(election.next(late + 2 * SECOND), Step::Read);
    election.observed(None, late + 2 * SECOND);
    assert_eq!(election.next(late + 2 * SECOND), Step::Create { epoch: 6 });
}

#[test]
fn a_lease_that_is_removed_under_another_leader_is_not_made_before_that_leader_must_have_noticed() {
    let begin = Instant::now();
    let (mut election, _) = election(begin);
    election.observed(Some(record(Some("other"), 7, "1")), begin);
    election.observed(None, begin + SECOND);
    assert_eq!(election.next(begin + SECOND), Step::Sleep(begin + 3 * SECOND));
    assert_eq!(election.next(begin + 3 * SECOND), Step::Read);
    election.observed(None, begin + 15 * SECOND);
    assert_eq!(election.next(begin + 16 * SECOND), Step::Create { epoch: 8 });
}

#[test]
fn durations_that_could_give_two_leaders_or_none_are_refused() {
    assert_eq!(Timing::USUAL.check(), Ok(()));
    let with = |lease: u32, renew_deadline: u32, retry: u32, call: u32| Timing {
        lease: lease * SECOND,
        renew_deadline: renew_deadline * SECOND,
        retry: retry * SECOND,
        call: call * SECOND,
    };
    assert!(matches!(with(14, 10, 2, 5).check(), Err(TimingError::LeaseTooShort { .. })));
    assert!(matches!(with(15, 7, 2, 5).check(), Err(TimingError::DeadlineTooShort { .. })));
    assert_eq!(with(15, 10, 0, 5).check(), Err(TimingError::Zero));
    let elector = Elector::new(MemoryLease::default(), Identity::of_process("a"), with(10, 10, 2, 5));
    assert!(elector.is_err());
}

#[test]
fn two_processes_of_one_name_are_two() {
    assert_ne!(Identity::of_process("operator"), Identity::of_process("operator"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Delays, lost requests and answers, refusals, pauses, kills, orderly ends, and clocks of different rates.
    #[test]
    fn there_is_never_a_second_leader_and_always_a_next_one(seed: u64) {
        let (reigns, led) = scenario(seed, USUAL);
        prop_assert_eq!(overlap(&reigns, |reign| reign.until), None);
        prop_assert!(led, "nobody led in the end: {:?}", reigns.last());
        prop_assert!(reigns.len() > 3, "nothing happened: {:?}", reigns);
        for pair in reigns.windows(2) {
            prop_assert!(pair[0].epoch < pair[1].epoch, "epochs do not grow: {:?}", pair);
        }
    }
}

/// With losses to the very end, nobody led for half a minute with this seed: what must be is a leader once nothing is lost.
#[test]
fn somebody_leads_once_nothing_is_lost_any_more() {
    assert!(scenario(2_761_768_469_674_093_830, USUAL).1);
}

/// The first of many seeds that shows two leaders.
fn seed_with_two_leaders(faults: Faults, deadline_counts: bool) -> Option<u64> {
    (0..60).find(|&seed| {
        let (reigns, _) = scenario(seed, faults);
        overlap(&reigns, |reign| if deadline_counts { reign.until } else { reign.noticed }).is_some()
    })
}

/// Controls: what the election relies on is needed, and the check would show it.
#[test]
fn without_deadline_or_comparison_or_with_clocks_too_different_there_are_two_leaders() {
    assert!(seed_with_two_leaders(USUAL, false).is_some(), "a leader that does not look at its deadline");
    assert!(seed_with_two_leaders(Faults { skew: 3.0, ..USUAL }, true).is_some(), "clocks of very different rates");
    assert!(seed_with_two_leaders(Faults { compares: false, ..USUAL }, true).is_some(), "writes without a version");
}

/// An elector that runs by itself, over a Lease without faults.
fn run_elector(
    name: &str,
    lease: &MemoryLease,
) -> (tokio::sync::watch::Receiver<Leadership>, CancellationToken, tokio::task::JoinHandle<()>) {
    let (mut elector, leadership) =
        Elector::new(lease.clone(), Identity::of_process(name), Timing::USUAL).expect("the usual durations are safe");
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let running = tokio::spawn(async move {
        elector.run(&asked).await;
        assert!(elector.release().await, "a Lease in memory can be released");
    });
    (leadership, stop, running)
}

async fn leads(leadership: &mut tokio::sync::watch::Receiver<Leadership>) -> u32 {
    let led = leadership.wait_for(|leadership| leadership.epoch_at(Instant::now()).is_ok()).await;
    led.expect("the elector runs").epoch_at(Instant::now()).expect("it leads")
}

#[tokio::test(start_paused = true)]
async fn a_successor_leads_after_lease_and_retry_when_the_leader_was_killed() {
    let lease = MemoryLease::default();
    let (mut first, _, running) = run_elector("first", &lease);
    let epoch = leads(&mut first).await;
    let (mut second, _, _running) = run_elector("second", &lease);
    sleep(60 * SECOND).await;
    assert!(second.borrow().epoch_at(Instant::now()).is_err());
    running.abort();
    let killed = Instant::now();
    assert_eq!(leads(&mut second).await, epoch + 1);
    assert!(killed.elapsed() <= Timing::USUAL.lease + Timing::USUAL.retry, "{:?}", killed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_successor_leads_at_its_next_look_when_the_lease_was_released() {
    let lease = MemoryLease::default();
    let (mut first, stop, running) = run_elector("first", &lease);
    let epoch = leads(&mut first).await;
    let (mut second, _, _running) = run_elector("second", &lease);
    sleep(60 * SECOND).await;
    stop.cancel();
    let stopped = Instant::now();
    running.await.expect("it ends in order");
    assert_eq!(leads(&mut second).await, epoch + 1);
    assert!(stopped.elapsed() <= Timing::USUAL.retry, "{:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_who_does_not_hold_the_lease_leaves_it_alone_at_its_end() {
    let lease = MemoryLease::default();
    let (mut first, _, _running) = run_elector("first", &lease);
    leads(&mut first).await;
    let (_, stop, running) = run_elector("second", &lease);
    sleep(5 * SECOND).await;
    stop.cancel();
    running.await.expect("it ends in order");
    let held = Record::of(&lease.lease().expect("there is a Lease"));
    assert!(held.holder.is_some_and(|holder| holder.starts_with("first")));
}

#[tokio::test(start_paused = true)]
async fn labels_and_owners_of_the_lease_stay_as_others_have_set_them() {
    let lease = MemoryLease::default();
    let mut made = k8s_openapi::api::coordination::v1::Lease::default();
    made.metadata.labels = Some([("team".to_owned(), "documents".to_owned())].into());
    lease.create(&made).await.expect("it is not there");
    let (mut leadership, _, _running) = run_elector("first", &lease);
    leads(&mut leadership).await;
    sleep(10 * SECOND).await;
    let kept = lease.lease().expect("there is a Lease").metadata.labels;
    assert_eq!(kept, made.metadata.labels);
}

#[tokio::test(start_paused = true)]
async fn work_runs_only_while_leading_and_is_asked_to_end_with_the_leadership() {
    let (sender, leadership) = tokio::sync::watch::channel(Leadership::Unknown);
    let (stop, epochs) = (CancellationToken::new(), std::sync::Mutex::new(Vec::new()));
    let working = while_leading(leadership, &stop, |epoch, over| {
        let epochs = &epochs;
        async move {
            epochs.lock().expect("one at a time").push((epoch, "began"));
            over.cancelled().await;
            epochs.lock().expect("one at a time").push((epoch, "ended"));
        }
    });
    let events = async {
        sleep(SECOND).await;
        assert!(epochs.lock().expect("one at a time").is_empty(), "it does not lead yet");
        let lead = |epoch| Leadership::Leading { epoch, until: Instant::now() + 10 * SECOND };
        sender.send_replace(lead(1));
        sleep(9 * SECOND).await;
        sender.send_replace(lead(1));
        sleep(9 * SECOND).await;
        assert_eq!(*epochs.lock().expect("one at a time"), [(1, "began")], "a renewal does not disturb");
        // Nothing comes from the elector any more: the deadline is enough.
        sleep(2 * SECOND).await;
        assert_eq!(*epochs.lock().expect("one at a time"), [(1, "began"), (1, "ended")]);
        sender.send_replace(lead(2));
        sleep(SECOND).await;
        // A leadership that was lost and won between two looks is another one.
        sender.send_replace(lead(3));
        sleep(SECOND).await;
        let expected = [(1, "began"), (1, "ended"), (2, "began"), (2, "ended"), (3, "began")];
        assert_eq!(*epochs.lock().expect("one at a time"), expected);
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(working, events);
    assert_eq!(ended, Ended::Work(()));
}

#[tokio::test(start_paused = true)]
async fn work_that_does_not_end_when_asked_is_dropped_and_that_is_told() {
    let until = Instant::now() + 100 * SECOND;
    let (_sender, leadership) = tokio::sync::watch::channel(Leadership::Leading { epoch: 1, until });
    let stop = CancellationToken::new();
    stop.cancel();
    assert_eq!(while_leading(leadership.clone(), &stop, |_, _| async {}).await, Ended::Idle);

    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        sleep(SECOND).await;
        asked.cancel();
    });
    let ended = timeout(30 * SECOND, while_leading(leadership, &stop, |_, _| std::future::pending::<()>())).await;
    assert_eq!(ended.expect("it ends"), Ended::Dropped);
}
