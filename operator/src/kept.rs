//! What outlives a leader: records at the broker, changed by compare-and-set under the epoch of the Lease. Knows not what they
//! mean.

use std::sync::Arc;

use queue::{Error, Records};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Why something was not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A later leader has written: this one must not act on what it remembers. Nobody has to do anything.
    #[error("a later leader (epoch {theirs}) has taken over")]
    Overtaken {
        /// Its epoch.
        theirs: u32,
    },
    /// Somebody has removed the record since this one wrote it, with all that it was about. What begins anew goes on.
    #[error("\"{key}\" was removed meanwhile")]
    Gone {
        /// The record.
        key: String,
    },
    /// The broker did not take it. Tried again.
    #[error("failed to keep \"{key}\" at the broker")]
    Write {
        /// The record.
        key: String,
        /// Why not.
        #[source]
        source: Error,
    },
}

/// A record with one writer, the leader.
pub struct Kept {
    key: String,
    revision: Option<u64>,
    written: Vec<u8>,
    /// Whether it is written again when somebody has removed it.
    lasts: bool,
}

#[derive(Serialize, Deserialize)]
struct Written<T> {
    #[serde(default)]
    epoch: u32,
    #[serde(flatten)]
    value: T,
}

#[derive(Deserialize)]
struct Epoch {
    #[serde(default)]
    epoch: u32,
}

impl Kept {
    /// Reads a record. One that is not there, or that cannot be understood any more, is `None`.
    pub async fn read<T: DeserializeOwned>(
        records: &Arc<dyn Records>,
        key: String,
    ) -> Result<(Self, Option<T>), Error> {
        let found = records.get(&key).await?;
        let value = found.as_ref().and_then(|found| serde_json::from_slice::<Written<T>>(&found.bytes).ok());
        let kept = Self { key, revision: found.map(|found| found.revision), written: Vec::new(), lasts: true };
        Ok((kept, value.map(|written| written.value)))
    }

    /// The same, but one that was written here and that somebody has removed stays so.
    pub fn until_removed(self) -> Self {
        Self { lasts: false, ..self }
    }

    /// Writes the record, unless it says this already. A write that met another one's is repeated once, if that one was no later
    /// leader's.
    pub async fn write<T: Serialize>(
        &mut self,
        records: &Arc<dyn Records>,
        value: &T,
        epoch: u32,
    ) -> Result<(), KeepError> {
        let bytes = serde_json::to_vec(&Written { epoch, value }).expect("what is kept is plain data");
        if bytes == self.written {
            return Ok(());
        }
        let failed = |source| KeepError::Write { key: self.key.clone(), source };
        let mut put = self.put(records, &bytes).await;
        if let Err(Error::Conflict { .. }) = &put {
            let there = records.get(&self.key).await.map_err(failed)?;
            let theirs = there.as_ref().and_then(|there| serde_json::from_slice::<Epoch>(&there.bytes).ok());
            if let Some(Epoch { epoch: theirs }) = theirs.filter(|there| there.epoch > epoch) {
                return Err(KeepError::Overtaken { theirs });
            }
            if there.is_none() && !self.lasts {
                return Err(KeepError::Gone { key: self.key.clone() });
            }
            self.revision = there.map(|there| there.revision);
            put = self.put(records, &bytes).await;
        }
        self.revision = Some(put.map_err(|source| KeepError::Write { key: self.key.clone(), source })?);
        self.written = bytes;
        Ok(())
    }

    async fn put(&self, records: &Arc<dyn Records>, bytes: &[u8]) -> Result<u64, Error> {
        let bytes = bytes.to_vec().into();
        match self.revision {
            Some(revision) => records.update(&self.key, revision, bytes).await,
            None => records.create(&self.key, bytes).await,
        }
    }
}
