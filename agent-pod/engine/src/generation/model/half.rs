//! 16-bit floating point for the key and value cache: half the memory and traffic of f32.
//! Plain integer arithmetic, so that loops over it become vector instructions.

/// 2^112: moves a half's exponent, read at a float's place, to where a float expects it.
const EXPONENT_SHIFT: f32 = f32::from_bits((127 + 112) << 23);
/// Half of the smallest normal half's spacing trick: adding 0.5 leaves a denormal's bits in the lowest places.
const DENORMAL_SHIFT: f32 = 0.5;
const SMALLEST_NORMAL: u32 = 0x3880_0000;
const LARGEST_FINITE: u32 = 0x477f_e000;
const LARGEST_FINITE_HALF: u16 = 0x7bff;

/// The nearest half, ties to even. Too large numbers become the largest finite half, so that no cache entry is ever
/// infinite.
pub(in crate::generation) fn to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude >= LARGEST_FINITE {
        return sign | LARGEST_FINITE_HALF;
    }
    if magnitude < SMALLEST_NORMAL {
        let shifted = f32::from_bits(magnitude) + DENORMAL_SHIFT;
        return sign | (shifted.to_bits().wrapping_sub(DENORMAL_SHIFT.to_bits())) as u16;
    }
    let odd = (magnitude >> 13) & 1;
    let rounded = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff).wrapping_add(odd);
    sign | (rounded >> 13) as u16
}

/// Halves back to floats; the inputs are finite, as [`to_half`] makes them.
#[inline]
pub(in crate::generation) fn from_half(halves: &[u16], floats: &mut [f32]) {
    for (float, &half) in floats.iter_mut().zip(halves) {
        let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * EXPONENT_SHIFT;
        *float = f32::from_bits(magnitude.to_bits() | (u32::from(half & 0x8000) << 16));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_half_survives_the_way_there_and_back() {
        for half in (0..=u16::MAX).filter(|half| half & 0x7c00 != 0x7c00) {
            let mut float = [0.0];
            from_half(&[half], &mut float);
            assert_eq!(to_half(float[0]), half, "{half:#x} became {}", float[0]);
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_overflow_stays_finite() {
        for value in [1.0f32, -1.000_4, 0.333_333, 65_503.0, 1e-7, -6.1e-5, 123.456] {
            let mut back = [0.0];
            from_half(&[to_half(value)], &mut back);
            assert!((back[0] - value).abs() <= value.abs() / 2048.0 + 3e-8, "{value} became {}", back[0]);
        }
        for value in [1e6, f32::INFINITY, f32::NAN] {
            assert_eq!(to_half(value), LARGEST_FINITE_HALF);
        }
    }
}
