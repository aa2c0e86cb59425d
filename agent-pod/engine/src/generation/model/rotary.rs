//! Rotary positions, from tables as long as the context and no longer.

use super::config::{Config, Family};

/// Cosines and sines for every position.
pub(super) struct Rotary {
    half: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
    family: Family,
}

impl Rotary {
    /// `factors` divide the frequencies, as Llama 3.1 files ask for.
    pub(super) fn new(config: &Config, base: f64, position_scale: f64, factors: Option<&[f32]>) -> Self {
        let half = config.rope_width / 2;
        let frequency = |index: usize| {
            let factor = factors.map_or(1.0, |factors| f64::from(factors[index]));
            base.powf(-((2 * index) as f64) / config.rope_width as f64) / factor
        };
        let frequencies: Vec<f64> = (0..half).map(frequency).collect();
        let angles = (0..config.context)
            .flat_map(|position| frequencies.iter().map(move |frequency| position as f64 * position_scale * frequency));
        let (cosines, sines) = angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        Self { half, cosines, sines, family: config.family }
    }

    /// Rotates one head at a position. Llama files store q and k so that neighbours are pairs; in Gemma's, the two
    /// halves of a head are.
    pub(super) fn rotate(&self, head: &mut [f32], position: usize) {
        let table = position * self.half..(position + 1) * self.half;
        let angles = self.cosines[table.clone()].iter().zip(&self.sines[table]);
        let rotated = &mut head[..2 * self.half];
        match self.family {
            Family::Llama => {
                for (pair, (&cosine, &sine)) in rotated.chunks_exact_mut(2).zip(angles) {
                    let (a, b) = (pair[0], pair[1]);
                    pair[0] = a * cosine - b * sine;
                    pair[1] = a * sine + b * cosine;
                }
            }
            Family::Gemma3 => {
                let (first, second) = rotated.split_at_mut(self.half);
                for ((a, b), (&cosine, &sine)) in first.iter_mut().zip(second).zip(angles) {
                    (*a, *b) = (*a * cosine - *b * sine, *a * sine + *b * cosine);
                }
            }
        }
    }
}
