//! A linear model with a probability at its end, and the one trainer that all linear heads share: Adam over
//! mini-batches, until an epoch no longer helps.

use super::random::Random;
use super::vector::dot;

/// The size of a mini-batch.
const BATCH: usize = 32;
const MOST_EPOCHS: usize = 300;
/// Training ends when this many epochs in a row lowered the loss by less than `LEAST_GAIN` of it.
const PATIENCE: usize = 5;
const LEAST_GAIN: f32 = 1e-3;
const FIRST_RATE: f32 = 0.05;
/// The rate falls by half in as many epochs.
const HALVING_EPOCHS: f32 = 60.0;
const MOMENTUM: f32 = 0.9;
const SPREAD_MEMORY: f32 = 0.999;

/// How outputs become probabilities. For both, the gradient of the log loss is probability minus target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Outputs exclude each other.
    Softmax,
    /// Every output stands alone.
    Logistic,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Linear {
    pub(super) inputs: usize,
    /// `[outputs, inputs + 1]`: the last column is the bias.
    pub(super) weights: Vec<f32>,
}

/// An input and the probability that each output should have.
pub(super) struct Example<'a> {
    pub(super) input: &'a [f32],
    pub(super) targets: Vec<f32>,
}

impl Linear {
    /// `examples` are not empty and of equal sizes. `penalty` is the weight of the squared weights in the loss.
    pub(super) fn train(examples: &[Example<'_>], link: Link, penalty: f32, seed: u64) -> Self {
        let (inputs, outputs) = (examples[0].input.len(), examples[0].targets.len());
        let mut model = Self { inputs, weights: vec![0.0; outputs * (inputs + 1)] };
        let mut adam = Adam::new(model.weights.len());
        let mut order: Vec<usize> = (0..examples.len()).collect();
        let mut random = Random::new(seed);
        let (mut best, mut idle) = (f32::INFINITY, 0);
        for epoch in 0..MOST_EPOCHS {
            random.shuffle(&mut order);
            let rate = FIRST_RATE * 0.5_f32.powf(epoch as f32 / HALVING_EPOCHS);
            let mut loss = 0.0;
            for batch in order.chunks(BATCH) {
                let (gradient, batch_loss) = model.gradient(batch.iter().map(|&index| &examples[index]), link, penalty);
                loss += batch_loss;
                adam.step(&mut model.weights, &gradient, rate);
            }
            idle = if loss < best * (1.0 - LEAST_GAIN) { 0 } else { idle + 1 };
            best = best.min(loss);
            if idle == PATIENCE {
                break;
            }
        }
        model
    }

    pub(super) fn logits(&self, input: &[f32]) -> Vec<f32> {
        let row = |weights: &[f32]| {
            let (bias, weights) = weights.split_last().expect("a row has at least its bias");
            let shared = weights.len().min(input.len());
            bias + dot(&weights[..shared], &input[..shared])
        };
        self.weights.chunks_exact(self.inputs + 1).map(row).collect()
    }

    /// The mean gradient of some examples, and the sum of their losses.
    fn gradient<'a>(
        &self,
        examples: impl ExactSizeIterator<Item = &'a Example<'a>>,
        link: Link,
        penalty: f32,
    ) -> (Vec<f32>, f32) {
        let share = 1.0 / examples.len() as f32;
        let mut gradient = vec![0.0; self.weights.len()];
        let mut loss = 0.0;
        for example in examples {
            let probabilities = link.probabilities(self.logits(example.input));
            let rows = gradient.chunks_exact_mut(self.inputs + 1);
            for ((row, probability), target) in rows.zip(probabilities).zip(&example.targets) {
                loss += link.loss(probability, *target);
                let error = (probability - target) * share;
                let (bias, weights) = row.split_last_mut().expect("a row has at least its bias");
                *bias += error;
                weights.iter_mut().zip(example.input).for_each(|(weight, value)| *weight += error * value);
            }
        }
        // The bias shifts all answers alike and is not held back.
        let rows = gradient.chunks_exact_mut(self.inputs + 1).zip(self.weights.chunks_exact(self.inputs + 1));
        for (gradient, weights) in rows {
            let pairs = gradient.iter_mut().zip(weights).take(self.inputs);
            pairs.for_each(|(gradient, weight)| *gradient += penalty * weight);
        }
        (gradient, loss)
    }
}

impl Link {
    pub(super) fn probabilities(self, mut logits: Vec<f32>) -> Vec<f32> {
        match self {
            Self::Softmax => {
                let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                logits.iter_mut().for_each(|logit| *logit = (*logit - most).exp());
                let sum: f32 = logits.iter().sum();
                logits.iter_mut().for_each(|value| *value /= sum);
            }
            Self::Logistic => logits.iter_mut().for_each(|logit| *logit = 1.0 / (1.0 + (-*logit).exp())),
        }
        logits
    }

    fn loss(self, probability: f32, target: f32) -> f32 {
        let log = |value: f32| value.max(1e-9).ln();
        match self {
            Self::Softmax => -target * log(probability),
            Self::Logistic => -target * log(probability) - (1.0 - target) * log(1.0 - probability),
        }
    }
}

struct Adam {
    mean: Vec<f32>,
    spread: Vec<f32>,
    steps: i32,
}

impl Adam {
    fn new(weights: usize) -> Self {
        Self { mean: vec![0.0; weights], spread: vec![0.0; weights], steps: 0 }
    }

    fn step(&mut self, weights: &mut [f32], gradient: &[f32], rate: f32) {
        self.steps += 1;
        let mean_scale = 1.0 / (1.0 - MOMENTUM.powi(self.steps));
        let spread_scale = 1.0 / (1.0 - SPREAD_MEMORY.powi(self.steps));
        let moments = self.mean.iter_mut().zip(&mut self.spread);
        for ((weight, gradient), (mean, spread)) in weights.iter_mut().zip(gradient).zip(moments) {
            *mean = MOMENTUM * *mean + (1.0 - MOMENTUM) * gradient;
            *spread = SPREAD_MEMORY * *spread + (1.0 - SPREAD_MEMORY) * gradient * gradient;
            *weight -= rate * *mean * mean_scale / ((*spread * spread_scale).sqrt() + 1e-8);
        }
    }
}
