//! What an autoscaler sees and says in the simulation. Knows not who asks.

use crate::ColdStart;

/// An autoscaler.
pub trait Policy {
    /// Looks and says how many pods there should be.
    fn tick(&mut self, view: &View) -> Command;

    /// Goes on as another process that takes over: with what was kept outside of the one that was killed.
    fn restart(&mut self);

    /// Whether only idle pods are taken away; otherwise the youngest go, whatever they do.
    fn removes_idle_only(&self) -> bool {
        false
    }

    /// Seconds that a pod that is taken away may go on with what it has begun.
    fn grace(&self) -> f64 {
        30.0
    }
}

/// What can be seen at one moment.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// Seconds since the trace began.
    pub now: f64,
    /// What the broker tells; `None` while it cannot be read.
    pub broker: Option<Broker<'a>>,
    /// (first arrival, over, tasks, probability) of what earlier stages will hand on.
    pub foreseen: &'a [(f64, f64, f64, f64)],
    /// Pods that are asked for.
    pub desired: u32,
    /// Ready pods that hold tasks.
    pub busy: u32,
    /// Ready pods that hold none.
    pub idle: u32,
    /// Ages of pods that are starting.
    pub starting: &'a [f64],
    /// Pods that are on their way out.
    pub draining: u32,
    /// Times that pods took to start, so far.
    pub started_in: Option<&'a ColdStart>,
    /// Tasks that one pod works on at once.
    pub slots: u32,
    /// Never more pods.
    pub max_replicas: u32,
}

/// What the broker and the pods count.
#[derive(Clone, Copy, Debug)]
pub struct Broker<'a> {
    /// Tasks that wait.
    pub pending: u64,
    /// Tasks in work.
    pub in_work: u64,
    /// The integral of waiting tasks and tasks in work over time, in task-seconds.
    pub load: f64,
    /// The integral of tasks in work alone.
    pub working: f64,
    /// Tasks that ever arrived.
    pub arrivals: u64,
    /// Tasks that were ever done.
    pub finished: u64,
    /// Tasks that ever started.
    pub started: u64,
    /// Of these, tasks that had waited longer than the SLO.
    pub late: u64,
    /// Seconds that the oldest waiting task has waited.
    pub oldest_wait: Option<f64>,
    /// By class of size.
    pub classes: &'a [Class],
}

/// Tasks of one class of size.
#[derive(Clone, Copy, Debug, Default)]
pub struct Class {
    /// Tasks that wait.
    pub pending: u64,
    /// Tasks in work.
    pub in_work: u64,
    /// Tasks measured, up to a few hundred.
    pub count: f64,
    /// Of the tasks that were done of late, the part that was of this class.
    pub share: f64,
    /// Mean seconds in work.
    pub mean: f64,
    /// Variance, in seconds squared.
    pub variance: f64,
}

/// What an autoscaler says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Command {
    /// Pods that there should be.
    pub replicas: u32,
    /// Ready pods that may pull tasks; `None`: all.
    pub pulling: Option<u32>,
    /// When to ask again, in seconds since the trace began.
    pub again_at: f64,
    /// Whether an arrival before then is a reason to ask.
    pub wakes: bool,
}

impl View<'_> {
    /// Pods that are ready.
    pub fn ready(&self) -> u32 {
        self.busy + self.idle
    }

    /// Leaves the number of pods as it is and asks again after so many seconds.
    pub fn keep(&self, seconds: f64) -> Command {
        self.to(self.desired, seconds)
    }

    /// Asks for so many pods, and looks again after so many seconds.
    pub fn to(&self, replicas: u32, seconds: f64) -> Command {
        Command { replicas, pulling: None, again_at: self.now + seconds, wakes: false }
    }
}
