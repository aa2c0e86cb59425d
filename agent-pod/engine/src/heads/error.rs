//! Why a head could not be trained.

/// For whoever gives the examples.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    #[error("there are no examples to learn from")]
    FindExamples,
    #[error("example {index} has {found} dimensions, the first has {expected}")]
    MatchDimensions { index: usize, found: usize, expected: usize },
    #[error("example {index} holds a number that is not finite, or a score outside 0 to 1")]
    ReadNumbers { index: usize },
    #[error("example {index} has an empty label or one longer than {limit} bytes")]
    ReadLabel { index: usize, limit: usize },
    #[error("{found} different labels are more than the limit of {limit}")]
    CountLabels { found: usize, limit: usize },
}

/// Checks that vectors are finite and of one length, which it returns.
pub(super) fn dimensions_of<'a>(vectors: impl Iterator<Item = &'a [f32]>) -> Result<usize, TrainError> {
    let mut expected = None;
    for (index, vector) in vectors.enumerate() {
        let expected = *expected.get_or_insert(vector.len());
        if vector.len() != expected || expected == 0 {
            return Err(TrainError::MatchDimensions { index, found: vector.len(), expected });
        }
        if vector.iter().any(|value| !value.is_finite()) {
            return Err(TrainError::ReadNumbers { index });
        }
    }
    expected.ok_or(TrainError::FindExamples)
}
