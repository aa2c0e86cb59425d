//! Rounds, medians, processor time.

use std::time::Instant;

use serde_json::{Value, json};

use crate::Result;

/// What was measured, one value a round.
pub(super) struct Measured {
    suite: &'static str,
    name: String,
    unit: &'static str,
    values: Vec<f64>,
    cpu_seconds: f64,
}

/// One round's work.
pub(super) struct Round {
    /// How much was done, in the measurement's unit without "per second".
    pub(super) amount: f64,
}

impl Measured {
    /// Amounts a second: one warm-up round, then `rounds`.
    pub(super) async fn rate<F>(
        suite: &'static str,
        name: &str,
        unit: &'static str,
        rounds: usize,
        mut round: F,
    ) -> Result<Self>
    where
        F: AsyncFnMut(usize) -> Result<Round>,
    {
        round(0).await?;
        let cpu = cpu_seconds();
        let mut values = Vec::new();
        for number in 1..=rounds {
            let begun = Instant::now();
            let done = round(number).await?;
            values.push(done.amount / begun.elapsed().as_secs_f64());
        }
        Ok(Self { suite, name: name.to_owned(), unit, values, cpu_seconds: cpu_seconds() - cpu })
    }

    /// Values that were measured elsewhere.
    pub(super) fn of(suite: &'static str, name: &str, unit: &'static str, values: Vec<f64>, cpu_seconds: f64) -> Self {
        Self { suite, name: name.to_owned(), unit, values, cpu_seconds }
    }

    pub(super) fn json(&self) -> Value {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "q is in 0..1")]
        let quantile = |q: f64| sorted.get((q * sorted.len().saturating_sub(1) as f64).round() as usize).copied();
        let shown = |value: Option<f64>| value.map(|value| (value * 1_000.0).round() / 1_000.0);
        json!({
            "suite": self.suite, "name": self.name, "unit": self.unit, "median": shown(quantile(0.5)),
            "min": shown(sorted.first().copied()), "max": shown(sorted.last().copied()), "p95": shown(quantile(0.95)), "p99": shown(quantile(0.99)),
            "values": self.values, "cpuSeconds": shown(Some(self.cpu_seconds)),
        })
    }
}

/// Processor seconds of this process so far.
pub(super) fn cpu_seconds() -> f64 {
    /// Ticks a second of /proc on Linux, whatever the kernel's own rate.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    // utime and stime are fields 14 and 15; the name is field 2.
    after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// The processor's name.
pub(super) fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1).map(str::to_owned));
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
