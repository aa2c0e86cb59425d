//! The course of a run: tasks and pods over time, in bounded memory. Knows not what is drawn of it.

/// A page shows about a thousand columns; so many steps are fine enough for parts of it too.
const STEPS: f64 = 32_768.0;

/// (seconds, waiting tasks and tasks in work, pods) at changes.
pub(super) struct Course {
    step: f64,
    points: Vec<(f64, u64, u32)>,
}

impl Course {
    /// Of a run that lasts at most so many seconds.
    pub(super) fn new(seconds: f64) -> Self {
        Self { step: seconds / STEPS, points: Vec::new() }
    }

    /// Takes note of the tasks and pods from this time on. Of changes within a step, the most and the last are kept.
    pub(super) fn add(&mut self, at: f64, tasks: u64, pods: u32) {
        if self.points.last().is_some_and(|last| (last.1, last.2) == (tasks, pods)) {
            return;
        }
        match self.points.as_mut_slice() {
            [.., most, last] if at - most.0 < self.step => {
                *most = (most.0, most.1.max(last.1), most.2.max(last.2));
                *last = (at, tasks, pods);
            }
            _ => self.points.push((at, tasks, pods)),
        }
    }

    /// The points, the last at the end of the run.
    pub(super) fn until(mut self, end: f64) -> Vec<(f64, u64, u32)> {
        self.points.extend(self.points.last().map(|&(_, tasks, pods)| (end, tasks, pods)));
        self.points
    }
}
