//! Why an object that is to be deleted stays for now, and when its finalizer is not ours to change any more.

use kube::runtime::finalizer;

/// What keeps a finalizer.
#[derive(Debug, thiserror::Error)]
pub enum Held<E: std::error::Error + 'static> {
    /// Something failed; it is tried again.
    #[error(transparent)]
    Failed(E),
    /// Documents are worked to their end first, or agents end; looked at again soon.
    #[error("something else ends first")]
    Waiting,
}

/// Whether a finalizer could not be changed because the object is not any more what it was when it was read: it is gone, or
/// somebody else has changed it. A JSON patch whose test fails is answered by 422 without causes; a 422 that names causes
/// is about the object itself, and lasts.
pub fn is_of_another_state<E: std::error::Error + 'static>(error: &finalizer::Error<E>) -> bool {
    let (finalizer::Error::AddFinalizer(error) | finalizer::Error::RemoveFinalizer(error)) = error else {
        return false;
    };
    let kube::Error::Api(status) = error else { return false };
    let names_causes = || status.details.as_ref().is_some_and(|details| !details.causes.is_empty());
    matches!(status.code, 404 | 409) || (status.code == 422 && !names_causes())
}
