//! What goes wrong, and when: the plan of a trial.

use std::time::Duration;

use super::Call;

type When = Box<dyn Fn(&Call) -> bool + Send + Sync>;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is done, and from then on nothing of this client passes: the process is dead. With its answer or without.
    Crash {
        /// Whether the answer still arrives.
        answered: bool,
    },
    /// It is done, and the connection breaks before the answer.
    Reset,
    /// It is done, and a gateway on the way answers this instead.
    Mistaken(u16),
    /// It is not done, and this is answered.
    Refused(u16),
    /// It takes so much longer.
    Late(Duration),
    /// Nothing comes back, and the connection stays open: half-open, or a firewall that forgot it.
    Silence,
}

impl Fault {
    /// Whether the API server does what is asked all the same; such a fault meets only what succeeded.
    pub fn is_after(self) -> bool {
        matches!(self, Self::Crash { .. } | Self::Reset | Self::Mistaken(_))
    }
}

/// A fault for some of the requests.
pub struct Rule {
    when: When,
    fault: Fault,
    skip: usize,
    times: usize,
    met: bool,
}

impl Rule {
    /// For all requests that `when` says.
    pub fn new(fault: Fault, when: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        Self { when: Box::new(when), fault, skip: 0, times: usize::MAX, met: false }
    }

    /// For one of them only, the first being 1.
    pub fn at(self, number: usize) -> Self {
        Self { skip: number.saturating_sub(1), times: 1, ..self }
    }

    /// For so many of them, from the first.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Whether it has met a request.
    pub fn has_met(&self) -> bool {
        self.met
    }

    /// The fault of this request, which counts.
    pub fn meets(&mut self, call: &Call, after: bool) -> Option<Fault> {
        if self.fault.is_after() != after || self.times == 0 || !(self.when)(call) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times = self.times.saturating_sub(1);
        self.met = true;
        Some(self.fault)
    }
}
