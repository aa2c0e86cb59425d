//! What is measured of models of others, for `/metrics`.

use prometheus::{HistogramOpts, HistogramVec, IntGauge, IntGaugeVec, Opts, core::Collector};

/// Answers take from tens of milliseconds (an embedding) to minutes.
const SECONDS: [f64; 12] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// The measurements. Clones share them.
#[derive(Clone)]
pub struct Meters {
    seconds: HistogramVec,
    circuits: IntGaugeVec,
}

impl Default for Meters {
    fn default() -> Self {
        let seconds =
            HistogramOpts::new("docket_provider_seconds", "Requests to models of others, from sending to the end");
        let circuits =
            Opts::new("docket_circuit_state", "Circuit of a provider or model: 0 closed, 1 half-open, 2 open");
        Self {
            seconds: HistogramVec::new(seconds.buckets(SECONDS.to_vec()), &["provider"]).expect(CONSTANTS),
            circuits: IntGaugeVec::new(circuits, &["provider"]).expect(CONSTANTS),
        }
    }
}

const CONSTANTS: &str = "names and labels are constants of the right form";

impl Meters {
    /// What a registry takes.
    pub fn collectors(&self) -> [Box<dyn Collector>; 2] {
        [Box::new(self.seconds.clone()), Box::new(self.circuits.clone())]
    }

    /// A request has ended, well or not.
    pub(super) fn request(&self, provider: &str, took: std::time::Duration) {
        self.seconds.with_label_values(&[provider]).observe(took.as_secs_f64());
    }

    /// The gauge of a target's circuit.
    pub fn circuit(&self, target: &str) -> IntGauge {
        self.circuits.with_label_values(&[target])
    }
}
