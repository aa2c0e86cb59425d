//! When a task must start for its document to meet its deadline. Knows not what stages do.

/// The latest start of a stage, in the unit of `deadline`, for a document that must be done by `deadline`.
///
/// `path` holds the expected seconds of service of this stage and of those after it on the critical path, this one first.
/// What the document may wait altogether is split over these stages in proportion to their service: a stage that takes
/// longer has more that can go wrong, and no stage uses up what later ones need.
pub fn start_by(deadline: f64, now: f64, path: &[f64]) -> f64 {
    let service: f64 = path.iter().sum();
    let slack = deadline - now - service;
    let Some(own) = path.first() else {
        return deadline;
    };
    if slack <= 0.0 || service <= 0.0 {
        return now.min(deadline);
    }
    now + slack * own / service
}
