//! A batch without padding: the tokens of all sequences in one row after the other.

/// Token ids of several sequences, and where each begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed {
    ids: Vec<u32>,
    /// The position of every token in its own sequence.
    positions: Vec<u32>,
    /// First row of each sequence, and one past the last.
    bounds: Vec<usize>,
}

impl Packed {
    pub(crate) fn new<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut packed = Self { ids: Vec::new(), positions: Vec::new(), bounds: vec![0] };
        for sequence in sequences {
            packed.ids.extend_from_slice(sequence);
            packed.positions.extend(0..sequence.len() as u32);
            packed.bounds.push(packed.ids.len());
        }
        packed
    }

    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    pub(crate) fn positions(&self) -> &[u32] {
        &self.positions
    }

    pub(crate) fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The rows of each sequence in turn.
    pub(crate) fn rows(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.bounds.windows(2).map(|bounds| bounds[0]..bounds[1])
    }
}
