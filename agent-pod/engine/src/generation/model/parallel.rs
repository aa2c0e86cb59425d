//! Work over disjoint slices on candle's own threads, so that no second pool competes for the cores.

use std::sync::{Mutex, PoisonError};

use candle_core::utils::barrier_pool;

/// Below this many numbers, waking the other threads costs more than they bring.
const WORTH_SHARING: usize = 32 * 1024;

/// Calls `work` with the number and the slice of every part, in any order, on all threads.
pub(super) fn for_each_part(parts: Vec<&mut [f32]>, work: impl Fn(usize, &mut [f32]) + Sync) {
    let numbers: usize = parts.iter().map(|part| part.len()).sum();
    for_each_part_of_cost(parts, numbers, work);
}

/// The same, where the work is not told by the parts' lengths.
pub(super) fn for_each_part_of_cost(parts: Vec<&mut [f32]>, cost: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if cost < WORTH_SHARING || parts.len() < 2 {
        parts.into_iter().enumerate().for_each(|(index, part)| work(index, part));
        return;
    }
    // Each lock is taken once, by the one thread that the index falls to; it is never waited for.
    let parts: Vec<_> = parts.into_iter().map(Mutex::new).collect();
    barrier_pool().execute_chunked(parts.len(), |range| {
        for index in range {
            let mut part = parts[index].lock().unwrap_or_else(PoisonError::into_inner);
            work(index, &mut part);
        }
    });
}
