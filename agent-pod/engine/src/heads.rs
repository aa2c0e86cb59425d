//! Small models over embeddings that are trained in the process: a classifier, an anomaly score, a quality score.
//! Training is deterministic: the same examples in the same order give the same head, bit for bit.
//! Knows nothing of the models that made the embeddings, nor of where heads are kept.

mod anomaly;
mod classifier;
mod codec;
mod error;
mod experience;
mod linear;
mod quality;
mod random;
mod slot;
mod vector;

pub use anomaly::Anomaly;
pub use classifier::{Classifier, ClassifierSettings, Prediction};
pub use codec::DecodeError;
pub use error::TrainError;
pub use experience::{Experience, Learner};
pub use quality::Quality;
pub use slot::HeadSlot;
