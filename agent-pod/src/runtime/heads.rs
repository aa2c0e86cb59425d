//! Trained heads in the state folder: one file a head, replaced atomically, swapped without a lock.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use engine::heads::{Anomaly, Classifier, Quality};
use flow::LearnedHead;

use crate::{Error, Result};

/// A head with the digest of what it learned.
pub struct Trained {
    /// Changes with the weights: part of cache keys.
    pub version: String,
    /// The head.
    pub head: TrainedHead,
}

/// A trained head of any kind.
pub enum TrainedHead {
    /// Labels.
    Classifier(Classifier),
    /// Unlikeness.
    Anomaly(Anomaly),
    /// Quality.
    Quality(Quality),
}

/// First byte of a head's file: which kind follows.
const CLASSIFIER: u8 = 1;
const ANOMALY: u8 = 2;
const QUALITY: u8 = 3;

impl TrainedHead {
    fn to_bytes(&self) -> Vec<u8> {
        let (kind, bytes) = match self {
            Self::Classifier(head) => (CLASSIFIER, head.to_bytes()),
            Self::Anomaly(head) => (ANOMALY, head.to_bytes()),
            Self::Quality(head) => (QUALITY, head.to_bytes()),
        };
        [vec![kind], bytes].concat()
    }

    fn from_bytes(bytes: &[u8]) -> std::result::Result<Self, String> {
        let (kind, bytes) = bytes.split_first().ok_or("the file is empty")?;
        match *kind {
            CLASSIFIER => Classifier::from_bytes(bytes).map(Self::Classifier).map_err(|error| error.to_string()),
            ANOMALY => Anomaly::from_bytes(bytes).map(Self::Anomaly).map_err(|error| error.to_string()),
            QUALITY => Quality::from_bytes(bytes).map(Self::Quality).map_err(|error| error.to_string()),
            other => Err(format!("kind {other} is not known to this version")),
        }
    }
}

/// What a head has learned from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lesson {
    /// Names the examples.
    pub digest: String,
    /// How many they are.
    pub examples: u64,
}

/// All heads of a state folder.
pub struct Heads {
    folder: PathBuf,
    loaded: RwLock<HashMap<String, Arc<Trained>>>,
    /// By pipeline and head, for those who ask how this process stands.
    lessons: RwLock<BTreeMap<(String, String), u64>>,
}

impl Heads {
    /// The heads in a folder, read when first asked for.
    pub fn open(folder: PathBuf) -> Self {
        Self { folder, loaded: RwLock::default(), lessons: RwLock::default() }
    }

    /// A head of a pipeline; `None` where it was never trained or its file is of no use (which is logged).
    pub fn get(&self, pipeline: &str, head: &str) -> Option<Arc<Trained>> {
        let path = self.path(pipeline, head);
        let key = path.display().to_string();
        if let Some(trained) = self.loaded.read().ok()?.get(&key) {
            return Some(Arc::clone(trained));
        }
        let bytes = std::fs::read(&path).ok()?;
        match TrainedHead::from_bytes(&bytes) {
            Ok(head) => {
                let trained = Arc::new(Trained { version: blake3::hash(&bytes).to_hex().to_string(), head });
                self.loaded.write().ok()?.insert(key, Arc::clone(&trained));
                Some(trained)
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a head cannot be read; train it again");
                None
            }
        }
    }

    /// Replaces a head; readers see the old one or the new one.
    pub fn put(&self, pipeline: &str, head: &str, trained: TrainedHead) -> Result<()> {
        let path = self.path(pipeline, head);
        let action = || format!("write the head {}", path.display());
        let folder = path.parent().unwrap_or(&self.folder);
        std::fs::create_dir_all(folder).map_err(Error::system(action()))?;
        let bytes = trained.to_bytes();
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(Error::system(action()))?;
        file.write_all(&bytes).map_err(Error::system(action()))?;
        file.persist(&path).map_err(Error::system(action()))?;
        let trained = Trained { version: blake3::hash(&bytes).to_hex().to_string(), head: trained };
        if let Ok(mut loaded) = self.loaded.write() {
            loaded.insert(path.display().to_string(), Arc::new(trained));
        }
        Ok(())
    }

    /// What a head has learned from, as [`Heads::has_learned`] was told.
    pub fn learned(&self, pipeline: &str, head: &str) -> Option<Lesson> {
        let kept = std::fs::read_to_string(self.path(pipeline, head).with_extension("learned")).ok()?;
        let (digest, examples) = kept.split_once(' ')?;
        let lesson = Lesson { digest: digest.to_owned(), examples: examples.parse().ok()? };
        self.note(pipeline, head, &lesson);
        Some(lesson)
    }

    /// Keeps what a head has learned from, so that a process that starts again does not learn it again. Best effort: without
    /// it, the head is trained once more.
    pub fn has_learned(&self, pipeline: &str, head: &str, lesson: &Lesson) {
        self.note(pipeline, head, lesson);
        let path = self.path(pipeline, head).with_extension("learned");
        if let Err(error) = std::fs::write(&path, format!("{} {}", lesson.digest, lesson.examples)) {
            tracing::debug!(path = %path.display(), %error, "what a head has learned from is not kept");
        }
    }

    /// The heads that have learned from feedback.
    pub fn lessons(&self) -> Vec<LearnedHead> {
        let lessons = self.lessons.read().unwrap_or_else(PoisonError::into_inner);
        let learned = lessons.iter().map(|((pipeline, head), examples)| LearnedHead {
            pipeline: pipeline.clone(),
            head: head.clone(),
            examples: *examples,
        });
        learned.collect()
    }

    fn note(&self, pipeline: &str, head: &str, lesson: &Lesson) {
        let mut lessons = self.lessons.write().unwrap_or_else(PoisonError::into_inner);
        lessons.insert((pipeline.to_owned(), head.to_owned()), lesson.examples);
    }

    fn path(&self, pipeline: &str, head: &str) -> PathBuf {
        self.folder.join(pipeline).join(format!("{head}.head"))
    }
}
