//! The elementwise functions of the encoder in a form that a compiler turns into vector instructions.

use std::f32::consts::{FRAC_1_SQRT_2, LN_2, LOG2_E};

/// Lanes that sums and maxima are kept in, so that they vectorise and have one order whatever the batch.
pub(crate) const LANES: usize = 16;

/// `a * b + c`, fused where the target has an instruction for it; elsewhere `mul_add` would be a slow library call.
#[inline(always)]
pub(crate) fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { a.mul_add(b, c) } else { a * b + c }
}

/// The Gaussian error linear unit in its exact form, `x · Φ(x)`.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2))
}

/// The error function to a few units in the last place: the rational approximation that Eigen uses for f32.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const NUMERATOR: [f32; 7] =
        [-2.726_142e-10, 2.770_681_4e-8, -2.101_024_1e-6, -5.692_506_6e-5, -7.349_906e-4, -2.954_6e-3, -1.609_603_3e-2];
    const DENOMINATOR: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_2e-3, -1.426_473_9e-2];
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    x * polynomial(square, &NUMERATOR) / polynomial(square, &DENOMINATOR)
}

/// `e^x` to about one unit in the last place; smaller than the least normal number it gives nearly zero.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding it leaves a number's integer part in the lowest bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const COEFFICIENTS: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1];
    let x = x.clamp(-126.0 * LN_2, 127.0 * LN_2);
    let shifted = multiply_add(x, LOG2_E, ROUND);
    let power = shifted - ROUND;
    let rest = multiply_add(power, -LN_2_LOW, multiply_add(power, -LN_2_HIGH, x));
    let fraction = multiply_add(polynomial(rest, &COEFFICIENTS) * rest, rest, rest + 1.0);
    f32::from_bits(fraction.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// Horner's rule, highest coefficient first.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: &[f32; N]) -> f32 {
    let mut sum = coefficients[0];
    let mut index = 1;
    while index < N {
        sum = multiply_add(sum, x, coefficients[index]);
        index += 1;
    }
    sum
}

/// The sum of `of` over all values, in an order that depends on their number alone.
#[inline(always)]
pub(crate) fn sum_of(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += of(chunk[lane]);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|&value| of(value)).sum::<f32>()
}

#[inline(always)]
pub(crate) fn maximum(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |most, &value| most.max(value))
}

/// Normalises a row to mean 0 and variance 1, then scales and shifts it.
#[inline(always)]
pub(crate) fn layer_norm(row: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    let count = row.len() as f32;
    let mean = sum_of(row, |value| value) / count;
    let variance = sum_of(row, |value| (value - mean) * (value - mean)) / count;
    let scale = (variance + epsilon).sqrt().recip();
    for ((value, &weight), &bias) in row.iter_mut().zip(weight).zip(bias) {
        *value = multiply_add((*value - mean) * scale, weight, bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The series of the error function, summed in f64 until it no longer changes.
    fn erf_by_series(x: f64) -> f64 {
        let mut term = x;
        let mut sum = x;
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn erf_agrees_with_its_series() {
        for step in -390..=390 {
            let x = step as f32 / 100.0;
            assert!((f64::from(erf(x)) - erf_by_series(f64::from(x))).abs() < 5e-7, "erf({x}) = {}", erf(x));
        }
    }

    #[test]
    fn gelu_keeps_large_values_and_drops_small_ones() {
        assert!((gelu(20.0) - 20.0).abs() < 1e-4);
        assert!(gelu(-20.0).abs() < 1e-4);
        assert_eq!(gelu(0.0), 0.0);
    }

    #[test]
    fn exp_agrees_with_the_library() {
        for step in -8000..=8000 {
            let x = step as f32 / 100.0;
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) - expected).abs() <= 3e-7 * expected, "exp({x}) = {}", exp(x));
        }
        assert!(exp(-1000.0) < 2e-38 && exp(-1000.0) >= 0.0);
    }
}
