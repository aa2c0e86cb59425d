//! What the models of a process run on, by what its pools say of their devices.

use crds::{AgentPoolSpec, DeviceFallback, DeviceKind};
use engine::{Engine, ModelSpec, Settings};

use crate::error::chain;

/// The one device of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// The GPU where one of the pools asks for it.
    pub kind: engine::DeviceKind,
    /// Whether all that ask for it go on without.
    pub falls_back: bool,
    /// The widest share of its memory that a pool with models writes, where all of them write one.
    pub memory_fraction: Option<f64>,
}

impl Chosen {
    /// What these pools say together.
    pub fn of<'a>(pools: impl Iterator<Item = &'a AgentPoolSpec>) -> Self {
        let (mut gpus, mut fractions) = (Vec::new(), Vec::new());
        for pool in pools {
            if pool.device.kind == DeviceKind::Gpu {
                gpus.push(pool.device.fallback);
            }
            if !pool.models.is_empty() {
                fractions.push(pool.device.memory_fraction);
            }
        }
        let all: Option<Vec<f64>> = fractions.into_iter().collect();
        Self {
            kind: if gpus.is_empty() { engine::DeviceKind::Cpu } else { engine::DeviceKind::Gpu },
            falls_back: !gpus.is_empty() && gpus.iter().all(|fallback| *fallback == Some(DeviceFallback::Cpu)),
            memory_fraction: all.and_then(|all| all.into_iter().reduce(f64::max)),
        }
    }

    /// Loads models onto the device; onto the CPU where it is missing and the pools say so, never in silence.
    pub fn start(self, settings: Settings, specs: Vec<ModelSpec>) -> Result<Engine, engine::Error> {
        if !self.falls_back {
            return Engine::start(settings, specs);
        }
        match Engine::start(settings.clone(), specs.clone()) {
            Err(error) if error.is_of_device() => {
                tracing::warn!(
                    error = %chain(&error),
                    "there is no GPU; the models run on the CPU, as device.fallback says"
                );
                Engine::start(Settings { device: engine::DeviceKind::Cpu, ..settings }, specs)
            }
            started => started,
        }
    }
}
