//! How many agents a pool needs: one pure decision function, and a simulator that proves it on traces.
//!
//! Knows no cluster, no broker and no clock: what was seen and what time it is are arguments. Times are in seconds.

mod ahead;
mod budget;
mod calm;
mod cold_start;
mod decide;
mod decision;
mod demand;
mod digits;
mod headroom;
mod history;
mod idle;
mod observation;
mod promise;
mod recommend;
mod season;
mod settings;
pub mod simulate;
mod slack;
mod thresholds;
mod trust;
mod tuning;

pub use budget::{Claim, Grant, share};
pub use cold_start::{ColdStart, ColdStarts};
pub use decide::decide;
pub use decision::{Clamp, Decision, Hold, Reason, Term, TermValue};
pub use digits::few_digits;
pub use history::History;
pub use observation::{Deadline, DeadlineAhead, Foreseen, Observation, Pods, ServiceTime, Waits, Work};
pub use recommend::{Recommendation, recommend};
pub use settings::{
    Invalid, LONGEST_WAIT, MOST_REPLICAS, Mode, Settings, Stabilization, Target, Terms, Thresholds, Window,
};
pub use slack::{Place, start_by};
pub use tuning::Tuning;
