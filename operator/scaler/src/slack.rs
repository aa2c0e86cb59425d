//! When a task must start for its document to meet its deadline. Knows not what stages do.

/// A stage's place on the longest path that a document goes through it, in expected seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// Of the stages before this one, from where the document is.
    pub before: f64,
    /// Of this one: its service and, while its pool has no agent, a start.
    pub own: f64,
    /// Of this one without the start.
    pub service: f64,
    /// Of the stages after it.
    pub after: f64,
}

/// The latest start of a stage, in the unit of `deadline`, for a document that must be done by `deadline` and that came to where
/// it is at `since`.
///
/// What the document may wait altogether is split over the stages of the path in proportion to what they take: a stage that
/// takes longer has more that can go wrong, and no stage uses up what later ones need. Where there is less time than they take,
/// all are shortened alike.
pub fn start_by(deadline: f64, since: f64, place: &Place) -> f64 {
    let until_done = place.before + place.own;
    let all = until_done + place.after;
    if all <= 0.0 {
        return since.min(deadline);
    }
    let done_within = (deadline - since) * until_done / all;
    (since + (done_within - place.service).max(0.0)).min(deadline)
}
