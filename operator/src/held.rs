//! Why an object that is to be deleted stays for now.

/// What keeps a finalizer.
#[derive(Debug, thiserror::Error)]
pub enum Held<E: std::error::Error + 'static> {
    /// Something failed; it is tried again.
    #[error(transparent)]
    Failed(E),
    /// Documents are worked to their end first; looked at again soon.
    #[error("documents are in flight")]
    Draining,
}
