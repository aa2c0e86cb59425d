//! Random pipelines in a world where everything goes wrong: every document ends exactly once.

use crate::flow_support::submission;
use crate::flow_world::{World, events, graphs::plans, steps};
use flow::{DocumentRecord, Plan, Task, Timer, submit, transition};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    /// The laws (see `flow_world/laws.rs`) are checked at each step: a join fires at most once a round, no stage is done
    /// twice, rounds and attempts stay within their bounds, `parallel: false` holds, what is new is published and what
    /// is outstanding can be found, what is written can be read.
    #[test]
    fn every_document_ends_exactly_once_whatever_is_lost_doubled_or_interrupted(
        plan in plans(),
        dies in prop::bool::weighted(0.2),
        steps in steps(),
    ) {
        let mut world = World::begin(plan, dies);
        for step in steps {
            world.step(step);
        }
        world.end_in_peace();
    }

    #[test]
    fn no_sequence_of_events_panics_even_under_another_plan(
        plan in plans(),
        other in plans(),
        events in prop::collection::vec((events(), prop::bool::weighted(0.1)), 0..60),
    ) {
        let mut record = submit(&plan, submission(), u64::MAX - 5).record;
        for (now, (event, confused)) in (0..).zip(events) {
            let plan: &Plan = if confused { &other } else { &plan };
            let next = transition(plan, &record, event, u64::MAX - now);
            prop_assert_eq!(next.changed, next.record != record);
            record = next.record;
            prop_assert_eq!(DocumentRecord::decode(&record.encode()).expect("it was just written"), record.clone());
        }
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let versioned = [&[8, 1][..], &bytes].concat();
        for bytes in [&bytes, &versioned] {
            let _ = (DocumentRecord::decode(bytes).is_err(), Task::decode(bytes).is_err());
            let _ = (Timer::decode(bytes).is_err(), Plan::decode(bytes).is_err());
        }
    }

    #[test]
    fn a_damaged_record_is_an_error_or_another_record(
        plan in plans(),
        place in any::<prop::sample::Index>(),
        damage in 1..=255_u8,
    ) {
        let record = submit(&plan, submission(), 1).record;
        let mut bytes = record.encode();
        let place = place.index(bytes.len());
        bytes[place] ^= damage;
        if let Ok(read) = DocumentRecord::decode(&bytes) {
            let _ = transition(&plan, &read, flow::Event::Resume, 2);
        }
    }
}
