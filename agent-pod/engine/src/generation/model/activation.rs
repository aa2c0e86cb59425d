//! Norms and activations over rows, written so that the compiler makes vector instructions of them.

use super::config::Family;
use super::parallel::for_each_part;

const LOG2_E: f32 = std::f32::consts::LOG2_E;
// ln 2 in two parts: the first has few bits, so that its multiples are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Adding 1.5 * 2^23 rounds to a whole number and leaves it in the lowest bits.
const ROUNDER: f32 = 12_582_912.0;

/// e to the power `x`, to about one unit in the last place; far inputs are cut to the range of finite results.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(LOG2_E, ROUNDER);
    let whole = shifted - ROUNDER;
    let rest = whole.mul_add(-LN_2_LOW, whole.mul_add(-LN_2_HIGH, x));
    let mut series = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        series = rest.mul_add(series, coefficient);
    }
    let fraction = (rest * rest).mul_add(series, rest) + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    fraction * power
}

/// Root-mean-square norm of every row, times `weight`.
pub(super) fn rms_norm(rows: &[f32], weight: &[f32], epsilon: f32, normed: &mut [f32]) {
    for (row, normed) in rows.chunks_exact(weight.len()).zip(normed.chunks_exact_mut(weight.len())) {
        let scale = scale_of(row, epsilon);
        for ((normed, &value), &weight) in normed.iter_mut().zip(row).zip(weight) {
            *normed = value * scale * weight;
        }
    }
}

/// The same in place: Gemma's norms of heads and of what a layer adds.
pub(super) fn rms_norm_in_place(row: &mut [f32], weight: &[f32], epsilon: f32) {
    let scale = scale_of(row, epsilon);
    for (value, &weight) in row.iter_mut().zip(weight) {
        *value *= scale * weight;
    }
}

fn scale_of(row: &[f32], epsilon: f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let chunks = row.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().map(|value| value * value).sum();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = value.mul_add(value, *lane);
        }
    }
    let mean = (lanes.iter().sum::<f32>() + rest) / row.len() as f32;
    1.0 / (mean + epsilon).sqrt()
}

/// From rows of gate and up side by side to rows of activated gate times up.
pub(super) fn gated(family: Family, both: &[f32], hidden: usize, out: &mut [f32]) {
    let parts: Vec<_> = out.chunks_exact_mut(hidden).collect();
    for_each_part(parts, |row, out| {
        let both = &both[row * 2 * hidden..(row + 1) * 2 * hidden];
        let (gate, up) = both.split_at(hidden);
        let rows = out.iter_mut().zip(gate).zip(up);
        match family {
            Family::Llama => rows.for_each(|((out, &gate), &up)| *out = gate / (1.0 + exp(-gate)) * up),
            Family::Gemma3 => rows.for_each(|((out, &gate), &up)| *out = gelu(gate) * up),
        }
    });
}

/// GELU in its tanh form, which Gemma was trained with: x * sigmoid(2 u).
#[inline(always)]
fn gelu(x: f32) -> f32 {
    const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769_2;
    let u = TWICE_SQRT_2_OVER_PI * x * (0.044_715 * x).mul_add(x, 1.0);
    x / (1.0 + exp(-u))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_agrees_with_the_library() {
        for step in -8700..8800 {
            let x = step as f32 / 100.0;
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) - expected).abs() <= expected * 3e-7, "exp({x}) = {}", exp(x));
        }
    }

    #[test]
    fn gelu_is_the_tanh_form() {
        for step in -80..80 {
            let x = f64::from(step) / 10.0;
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            let expected = 0.5 * x * (1.0 + inner.tanh());
            assert!((f64::from(gelu(x as f32)) - expected).abs() < 1e-5, "gelu({x})");
        }
    }
}
