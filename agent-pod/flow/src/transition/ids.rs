//! Ids of tasks and timers: the same obligation always has the same id, two obligations never do.

use std::fmt::Write;

use crate::{Alarm, Task, Timer};

impl Task {
    /// Made of document, plan, stage, round, epoch and attempt; a second publish of it is recognised by its id.
    pub fn id(&self) -> String {
        let (document, stage) = (escaped(&self.document), escaped(&self.stage));
        format!("{document}/{}/{stage}/{}/{}/{}", escaped(&self.plan), self.round, self.epoch, self.attempt)
    }
}

impl Timer {
    /// Made of document, pipeline and alarm; setting it again replaces it.
    pub fn id(&self) -> String {
        let of = format!("{}/{}", escaped(&self.document), escaped(&self.pipeline));
        match &self.alarm {
            Alarm::Retry { stage, round, epoch, attempt } => {
                format!("{of}/retry/{}/{round}/{epoch}/{attempt}", escaped(stage))
            }
            Alarm::JoinTimeout { stage, round, epoch } => format!("{of}/join/{}/{round}/{epoch}", escaped(stage)),
            Alarm::ApprovalTimeout { stage, round, epoch } => {
                format!("{of}/approval/{}/{round}/{epoch}", escaped(stage))
            }
            Alarm::Deadline { epoch } => format!("{of}/deadline/{epoch}"),
        }
    }
}

/// Keeps letters, digits and `-_.`, writes every other byte as `%` and two digits: what is joined by `/` stays apart, and
/// the id is plain ASCII in any store.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut id, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            id.push(char::from(byte));
        } else {
            write!(id, "%{byte:02X}").expect("a String takes any text");
        }
        id
    })
}
