//! 8-bit weights laid out for the vector units: 64 outputs side by side for every input, one scale for each output and
//! block of 32 inputs.
//!
//! Inputs stay in 32-bit floating point, so nothing of them is rounded. Every number of a result is computed by the
//! same operations in the same order, however many inputs come at once: a row never feels its companions.

use super::half::from_half;
use super::parallel::for_each_part_of_cost;

/// Inputs that share a scale, as in the GGUF format Q8_0.
pub(super) const BLOCK: usize = 32;
/// Outputs side by side: enough sums in flight to hide the latency of the multiply-add units.
const LANES: usize = 64;
/// Bytes of a block in the GGUF format Q8_0: a half-precision scale and the weights.
const STORED_BLOCK: usize = 2 + BLOCK;

/// Outputs of one input multiplied at once where there are many inputs.
const STRIP: usize = 16;
/// Inputs multiplied at once: with a strip, their sums fill half of the vector registers.
const GANG: usize = 4;

type Weights = [[i8; LANES]; BLOCK];
/// A block's weights as floats, by strip of outputs, input, output.
type Floats = [[[f32; STRIP]; BLOCK]; LANES / STRIP];

/// A matrix of `rows` outputs over `columns` inputs.
pub(super) struct Packed {
    rows: usize,
    columns: usize,
    /// By panel of outputs, block of inputs, input, output.
    weights: Vec<Weights>,
    /// By panel of outputs, block of inputs, output.
    scales: Vec<[f32; LANES]>,
}

impl Packed {
    /// All zeros, to be filled.
    pub(super) fn new(rows: usize, columns: usize) -> Self {
        let blocks = rows.div_ceil(LANES) * (columns / BLOCK);
        Self { rows, columns, weights: vec![[[0; LANES]; BLOCK]; blocks], scales: vec![[0.0; LANES]; blocks] }
    }

    /// Fills the block with the given number, counted along the rows, rounding to 8 bits.
    pub(super) fn set_block(&mut self, number: usize, weights: &[f32]) {
        let highest = weights.iter().fold(0.0f32, |highest, weight| highest.max(weight.abs()));
        let scale = highest / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let rounded = weights.iter().map(|weight| (weight * inverse).round() as i8);
        self.set(number, scale, rounded);
    }

    /// Fills a block with its bytes in the GGUF format Q8_0, unchanged.
    pub(super) fn set_stored_block(&mut self, number: usize, bytes: &[u8]) {
        let mut scale = [0.0];
        from_half(&[u16::from_le_bytes([bytes[0], bytes[1]])], &mut scale);
        self.set(number, scale[0], bytes[2..STORED_BLOCK].iter().map(|&byte| byte as i8));
    }

    fn set(&mut self, number: usize, scale: f32, weights: impl Iterator<Item = i8>) {
        let blocks = self.columns / BLOCK;
        let (row, block) = (number / blocks, number % blocks);
        let (panel, lane) = (row / LANES, row % LANES);
        let index = panel * blocks + block;
        self.scales[index][lane] = scale;
        for (slots, weight) in self.weights[index].iter_mut().zip(weights) {
            slots[lane] = weight;
        }
    }

    /// `out[i][r] = inputs[i] . row r`
    pub(super) fn multiply(&self, inputs: &[f32], out: &mut [f32], spare: &mut Vec<f32>) {
        let count = inputs.len() / self.columns;
        let cost = inputs.len() * self.rows / 8;
        if count == 1 && self.rows.is_multiple_of(LANES) {
            let parts = out[..self.rows].chunks_exact_mut(LANES).collect();
            for_each_part_of_cost(parts, cost, |panel, sums| self.panel_of_one(panel, inputs, sums));
            return;
        }
        let part = count * LANES;
        spare.resize(self.rows.div_ceil(LANES) * part, 0.0);
        let parts = spare.chunks_exact_mut(part).collect();
        for_each_part_of_cost(parts, cost, |panel, sums| match count {
            1 => self.panel_of_one(panel, inputs, sums),
            _ => self.panel_of_many(panel, inputs, sums),
        });
        for (panel, sums) in spare.chunks_exact(part).enumerate() {
            let start = panel * LANES;
            let width = LANES.min(self.rows - start);
            for (out, sums) in out.chunks_exact_mut(self.rows).zip(sums.chunks_exact(LANES)) {
                out[start..start + width].copy_from_slice(&sums[..width]);
            }
        }
    }

    /// The given rows as floats.
    pub(super) fn rows_of(&self, numbers: &[u32]) -> Option<Vec<f32>> {
        let blocks = self.columns / BLOCK;
        let mut floats = Vec::with_capacity(numbers.len() * self.columns);
        for &number in numbers {
            let (panel, lane) = (number as usize / LANES, number as usize % LANES);
            if number as usize >= self.rows {
                return None;
            }
            for index in panel * blocks..(panel + 1) * blocks {
                let scale = self.scales[index][lane];
                floats.extend(self.weights[index].iter().map(|slots| f32::from(slots[lane]) * scale));
            }
        }
        Some(floats)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.weights.as_slice()) + size_of_val(self.scales.as_slice())
    }

    /// Bytes of a matrix of this size.
    pub(super) fn bytes_of(rows: usize, columns: usize) -> usize {
        rows.div_ceil(LANES) * (columns / BLOCK) * (size_of::<Weights>() + size_of::<[f32; LANES]>())
    }

    fn blocks_of(&self, panel: usize) -> impl Iterator<Item = (&Weights, &[f32; LANES])> {
        let blocks = self.columns / BLOCK;
        let range = panel * blocks..(panel + 1) * blocks;
        self.weights[range.clone()].iter().zip(&self.scales[range])
    }

    fn panel_of_one(&self, panel: usize, input: &[f32], out: &mut [f32]) {
        let mut totals = [0.0f32; LANES];
        for (input, (weights, scales)) in input.as_chunks::<BLOCK>().0.iter().zip(self.blocks_of(panel)) {
            let mut sums = [0.0f32; LANES];
            for (&input, weights) in input.iter().zip(weights) {
                for (sum, &weight) in sums.iter_mut().zip(weights) {
                    *sum = input.mul_add(f32::from(weight), *sum);
                }
            }
            for ((total, sum), scale) in totals.iter_mut().zip(&sums).zip(scales) {
                *total = sum.mul_add(*scale, *total);
            }
        }
        out.copy_from_slice(&totals);
    }

    fn panel_of_many(&self, panel: usize, inputs: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        let blocks = self.columns / BLOCK;
        let inputs = inputs.as_chunks::<BLOCK>().0;
        let mut floats: Floats = [[[0.0; STRIP]; BLOCK]; LANES / STRIP];
        for (block, (weights, scales)) in self.blocks_of(panel).enumerate() {
            to_floats(weights, &mut floats);
            let mut gangs = out.chunks_exact_mut(LANES * GANG);
            let mut row = 0;
            for totals in gangs.by_ref() {
                let gang: [_; GANG] = std::array::from_fn(|next| &inputs[(row + next) * blocks + block]);
                add_block(gang, &floats, scales, totals);
                row += GANG;
            }
            for totals in gangs.into_remainder().chunks_exact_mut(LANES) {
                add_block([&inputs[row * blocks + block]], &floats, scales, totals);
                row += 1;
            }
        }
    }
}

fn to_floats(weights: &Weights, floats: &mut Floats) {
    for (input, weights) in weights.iter().enumerate() {
        for (floats, weights) in floats.iter_mut().zip(weights.as_chunks::<STRIP>().0) {
            floats[input] = weights.map(f32::from);
        }
    }
}

/// Adds a block's share to the totals of `M` inputs.
#[inline]
fn add_block<const M: usize>(inputs: [&[f32; BLOCK]; M], floats: &Floats, scales: &[f32; LANES], totals: &mut [f32]) {
    for (strip, (floats, scales)) in floats.iter().zip(scales.as_chunks::<STRIP>().0).enumerate() {
        let sums = strip_sums(inputs, floats);
        for (sums, totals) in sums.iter().zip(totals.as_chunks_mut::<LANES>().0) {
            let totals = &mut totals.as_chunks_mut::<STRIP>().0[strip];
            for ((total, sum), scale) in totals.iter_mut().zip(sums).zip(scales) {
                *total = sum.mul_add(*scale, *total);
            }
        }
    }
}

/// Kept apart so that the sums live in registers alone.
#[inline(always)]
fn strip_sums<const M: usize>(inputs: [&[f32; BLOCK]; M], floats: &[[f32; STRIP]; BLOCK]) -> [[f32; STRIP]; M] {
    let mut sums = [[0.0f32; STRIP]; M];
    for index in 0..BLOCK {
        for (sums, input) in sums.iter_mut().zip(&inputs) {
            for (sum, float) in sums.iter_mut().zip(&floats[index]) {
                *sum = input[index].mul_add(*float, *sum);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn matrix(rows: usize, columns: usize) -> (Packed, Vec<f32>) {
        let weights = random(rows * columns, 7);
        let mut packed = Packed::new(rows, columns);
        weights.chunks_exact(BLOCK).enumerate().for_each(|(number, block)| packed.set_block(number, block));
        (packed, weights)
    }

    #[test]
    fn products_are_those_of_the_rounded_weights() {
        for (rows, columns) in [(64, 32), (192, 96), (70, 64), (3, 32)] {
            let (packed, weights) = matrix(rows, columns);
            let numbers: Vec<u32> = (0..rows as u32).collect();
            let rounded = packed.rows_of(&numbers).unwrap();
            for (rounded, weight) in rounded.iter().zip(&weights) {
                assert!((rounded - weight).abs() <= 1.0 / 254.0 + 1e-6);
            }
            let inputs = random(5 * columns, 3);
            let mut out = vec![0.0; 5 * rows];
            packed.multiply(&inputs, &mut out, &mut Vec::new());
            for (out, input) in out.chunks_exact(rows).zip(inputs.chunks_exact(columns)) {
                for (out, row) in out.iter().zip(rounded.chunks_exact(columns)) {
                    let expected: f64 = row.iter().zip(input).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    assert!((f64::from(*out) - expected).abs() < 1e-4, "{out} is not {expected}");
                }
            }
        }
    }

    #[test]
    fn a_row_is_the_same_to_the_bit_in_any_company() {
        let (packed, _) = matrix(130, 96);
        let inputs = random(11 * 96, 5);
        let mut together = vec![0.0; 11 * 130];
        packed.multiply(&inputs, &mut together, &mut Vec::new());
        for (input, expected) in inputs.chunks_exact(96).zip(together.chunks_exact(130)) {
            let mut alone = vec![0.0; 130];
            packed.multiply(input, &mut alone, &mut Vec::new());
            assert_eq!(alone, expected);
        }
    }
}
