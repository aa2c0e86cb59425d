//! Other autoscalers, each written from its description, with its published defaults and the settings a search may try.
//!
//! All are shown the same numbers without the delay of a metrics pipeline, and their pods stop pulling at once when they are
//! told to go: both are kinder to them than what they have in a cluster. Their pods go as a ReplicaSet chooses them.

mod aibrix;
mod average;
mod dynamo;
mod fixed;
mod hpa;
mod keda;
mod knative;
mod kubeai;
mod numaflow;
mod ray;
mod seldon;
mod wva;

pub use fixed::peak;

use super::{chain::Chain, engine::World, policy::Policy};

/// An autoscaler that others use, or a bound to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rival {
    /// Kubernetes' HorizontalPodAutoscaler on utilisation.
    Hpa,
    /// KEDA on the length of the queue.
    Keda,
    /// Knative's KPA on concurrency.
    Knative,
    /// Ray Serve.
    Ray,
    /// llm-d's workload variant autoscaler.
    Wva,
    /// `KubeAI`.
    Kubeai,
    /// `AIBrix`' APA.
    Aibrix,
    /// Numaflow.
    Numaflow,
    /// Seldon Core 2.
    Seldon,
    /// NVIDIA Dynamo's load planner.
    DynamoLoad,
    /// As many pods as the busiest moment needs, always.
    StaticPeak,
}

/// A setting, its published default, and what a search may try. Numbers below zero are so many times the slots of a pod.
#[derive(Clone, Copy, Debug)]
pub struct Knob {
    /// What it is called there.
    pub name: &'static str,
    /// As published.
    pub default: f64,
    /// What a search may try.
    pub candidates: &'static [f64],
}

const fn knob(name: &'static str, default: f64, candidates: &'static [f64]) -> Knob {
    Knob { name, default, candidates }
}

const PER_SLOT: &[f64] = &[-0.5, -0.7, -0.85, -1.0, -1.5, -2.0];

impl Rival {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Hpa,
        Self::Keda,
        Self::Knative,
        Self::Ray,
        Self::Wva,
        Self::Kubeai,
        Self::Aibrix,
        Self::Numaflow,
        Self::Seldon,
        Self::DynamoLoad,
        Self::StaticPeak,
    ];

    /// The word for it on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hpa => "hpa",
            Self::Keda => "keda",
            Self::Knative => "knative",
            Self::Ray => "ray",
            Self::Wva => "wva",
            Self::Kubeai => "kubeai",
            Self::Aibrix => "aibrix",
            Self::Numaflow => "numaflow",
            Self::Seldon => "seldon",
            Self::DynamoLoad => "dynamo-load",
            Self::StaticPeak => "static-peak",
        }
    }

    /// Its settings.
    pub fn knobs(self) -> &'static [Knob] {
        const HPA: &[Knob] = &[
            knob("target", 0.8, &[0.5, 0.65, 0.8, 0.9]),
            knob("stabilizationWindowSeconds", 300.0, &[0.0, 30.0, 60.0, 120.0, 300.0]),
        ];
        const KEDA: &[Knob] = &[
            knob("lagThreshold", 10.0, PER_SLOT),
            knob("cooldownPeriod", 300.0, &[15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0]),
            knob("pollingInterval", 30.0, &[2.0, 5.0, 10.0, 30.0]),
            knob("stabilizationWindowSeconds", 300.0, &[0.0, 30.0, 60.0, 120.0, 300.0]),
        ];
        const KNATIVE: &[Knob] = &[
            knob("target-utilization-percentage", 0.7, &[0.5, 0.7, 0.85, 1.0]),
            knob("stable-window", 60.0, &[15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0]),
            knob("scale-down-delay", 0.0, &[0.0, 30.0, 60.0, 120.0, 300.0, 900.0]),
        ];
        const RAY: &[Knob] = &[
            knob("target_ongoing_requests", 2.0, PER_SLOT),
            knob("upscale_delay_s", 30.0, &[0.0, 5.0, 10.0, 30.0]),
            knob("downscale_delay_s", 600.0, &[15.0, 30.0, 60.0, 120.0, 300.0, 600.0]),
            knob("downscale_to_zero_delay_s", 0.0, &[0.0, 30.0, 60.0, 300.0, 900.0]),
        ];
        const WVA: &[Knob] = &[
            knob("kvSpareTrigger", 0.1, &[0.05, 0.1, 0.2]),
            knob("queueSpareTrigger", 3.0, &[1.0, 3.0, 4.0]),
            knob("scaleToZeroSeconds", 600.0, &[60.0, 120.0, 300.0, 600.0, 3_600.0]),
        ];
        const KUBEAI: &[Knob] = &[
            knob("targetRequests", 100.0, PER_SLOT),
            knob("timeWindow", 600.0, &[20.0, 60.0, 120.0, 300.0, 600.0]),
            knob("scaleDownDelaySeconds", 30.0, &[10.0, 30.0, 60.0, 300.0, 900.0]),
        ];
        const AIBRIX: &[Knob] = &[
            knob("targetValue", -1.0, PER_SLOT),
            knob("window", 180.0, &[10.0, 30.0, 60.0, 180.0]),
            knob("scaleDownCooldown", 300.0, &[0.0, 30.0, 60.0, 120.0, 300.0]),
        ];
        const NUMAFLOW: &[Knob] = &[
            knob("targetProcessingSeconds", 20.0, &[2.0, 5.0, 10.0, 20.0]),
            knob("cooldownSeconds", 90.0, &[10.0, 30.0, 90.0]),
            knob("lookbackSeconds", 120.0, &[120.0, 300.0, 600.0]),
        ];
        const SELDON: &[Knob] = &[
            knob("lagThreshold", 30.0, &[1.0, 5.0, 10.0, 30.0]),
            knob("inactiveSeconds", 600.0, &[60.0, 120.0, 600.0]),
        ];
        const DYNAMO: &[Knob] =
            &[knob("upUtilization", 1.0, &[0.7, 0.85, 1.0]), knob("downUtilization", 0.6, &[0.3, 0.4, 0.5, 0.6])];
        match self {
            Self::Hpa => HPA,
            Self::Keda => KEDA,
            Self::Knative => KNATIVE,
            Self::Ray => RAY,
            Self::Wva => WVA,
            Self::Kubeai => KUBEAI,
            Self::Aibrix => AIBRIX,
            Self::Numaflow => NUMAFLOW,
            Self::Seldon => SELDON,
            Self::DynamoLoad => DYNAMO,
            Self::StaticPeak => &[],
        }
    }

    /// Its published defaults.
    pub fn defaults(self) -> Vec<f64> {
        self.knobs().iter().map(|knob| knob.default).collect()
    }

    /// The autoscaler with those settings, one for each stage of the chain.
    pub fn policies(self, settings: &[f64], chain: &Chain, world: &World) -> Vec<Box<dyn Policy>> {
        let of = |stage: usize| self.policy(settings, world, || peak(chain, stage, world));
        (0..chain.stages.len()).map(of).collect()
    }

    fn policy(self, settings: &[f64], world: &World, peak: impl Fn() -> u32) -> Box<dyn Policy> {
        let of = |index: usize| {
            let value = settings[index];
            if value < 0.0 { -value * f64::from(world.slots) } else { value }
        };
        match self {
            Self::Hpa => Box::new(hpa::Hpa::new(of(0), of(1))),
            Self::Keda => Box::new(keda::Keda::new(of(0), of(1), of(2), of(3))),
            Self::Knative => Box::new(knative::Knative::new(of(0), of(1), of(2))),
            Self::Ray => Box::new(ray::Ray::new(of(0), of(1), of(2), of(3))),
            Self::Wva => Box::new(wva::Wva::new(of(0), of(1), of(2))),
            Self::Kubeai => Box::new(kubeai::Kubeai::new(of(0), of(1), of(2))),
            Self::Aibrix => Box::new(aibrix::Aibrix::new(of(0), of(1), of(2))),
            Self::Numaflow => Box::new(numaflow::Numaflow::new(of(0), of(1), of(2))),
            Self::Seldon => Box::new(seldon::Seldon::new(of(0), of(1))),
            Self::DynamoLoad => Box::new(dynamo::DynamoLoad::new(of(0), of(1))),
            Self::StaticPeak => Box::new(fixed::Fixed(peak())),
        }
    }
}
