//! The engine: models behind one thread. Callers prepare their requests on their own threads, leave them in the inbox
//! and await the result; dropping the future drops the request.
//!
//! ```text
//! caller: tokenise / apply template ──► inbox (bounded) ──► engine thread: pass | step | pass … ──► oneshot ──► caller
//! ```

mod error;
mod inbox;
mod load;
mod memory;
mod reply;
mod settings;
mod shares;
mod statistics;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, mpsc as blocking};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::batcher::{EmbedRequest, Lane};
use crate::generation::{ChatMessage, GenerateRequest, Generated};
use crate::tokens::{TextTokenizer, TokenIds};

use inbox::{Generation, Inbox};
use load::{Front, FrontKind};
use reply::GenerationReply;
use statistics::Counters;

pub use error::Error;
pub use settings::{Class, DeviceKind, Dtype, ModelSpec, ModelTask, Settings};
pub use statistics::Statistics;

/// Texts that wait at once for one call of `embed`, so that a call of any length holds a bounded share of the queue.
const SLICE_TEXTS: usize = 256;
/// Texts of fewer bytes are tokenised where the caller stands: moving them to another thread costs more.
const INLINE_BYTES: usize = 2048;

/// Models that are loaded and ready. Clones share them; the thread ends with the last clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    fronts: HashMap<String, Front>,
    /// Names in the order of loading.
    names: Vec<String>,
    device: DeviceKind,
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
}

/// Vectors of length 1, in the order of the texts; all zeros for a text in which the model finds no token.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts, after truncation, special tokens included.
    pub tokens: usize,
    /// Texts that were longer than the model reads.
    pub truncated: usize,
}

/// A loaded model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    pub name: String,
    pub task: ModelTask,
    pub load_seconds: f64,
    /// Size of the weights file.
    pub bytes: u64,
    /// BLAKE3 of the weights file, in hexadecimal.
    pub digest: String,
}

impl Engine {
    /// Opens the device and loads all models on the engine's thread; returns when they are ready or one has failed.
    pub fn start(settings: Settings, models: Vec<ModelSpec>) -> Result<Self, Error> {
        let inbox = Arc::new(Inbox::default());
        let counters = Arc::new(Counters::default());
        let device = settings.device;
        let (loaded, fronts) = blocking::channel();
        let (thread_inbox, thread_counters) = (Arc::clone(&inbox), Arc::clone(&counters));
        let run = move || match load::load_all(settings, models, thread_inbox, thread_counters) {
            Ok((worker, fronts)) => {
                if loaded.send(Ok(fronts)).is_ok() {
                    worker.run();
                }
            }
            // The caller waits for this message, so it is received.
            Err(error) => drop(loaded.send(Err(error))),
        };
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(run)
            .map_err(|source| Error::StartThreads(Box::new(source)))?;
        let fronts: Vec<Front> =
            fronts.recv().map_err(|_| Error::EngineStopped { reason: "loading a model panicked".to_owned() })??;
        let names = fronts.iter().map(|front| front.info.name.clone()).collect();
        let fronts = fronts.into_iter().map(|front| (front.info.name.clone(), front)).collect();
        Ok(Self { shared: Arc::new(Shared { fronts, names, device, inbox, counters }) })
    }

    /// One vector for each text. Texts longer than the model reads are cut, and counted. Needs a tokio runtime.
    pub async fn embed(
        &self,
        model: &str,
        texts: Vec<String>,
        class: Class,
        deadline: Option<Instant>,
    ) -> Result<Embedded, Error> {
        let front = self.front(model)?;
        let FrontKind::Embedder { max_tokens, .. } = front.kind else { return Err(front.mismatch()) };
        let lane = Lane { model: front.index, class };
        let mut embedded = Embedded { vectors: Vec::with_capacity(texts.len()), tokens: 0, truncated: 0 };
        let mut texts = texts.into_iter();
        let mut next_slice = || texts.by_ref().take(SLICE_TEXTS).collect::<Vec<_>>();
        let mut tokenised = tokenise(&front.tokenizer, next_slice(), max_tokens).await?;
        while !tokenised.is_empty() {
            embedded.tokens += tokenised.iter().map(|tokens| tokens.ids.len()).sum::<usize>();
            embedded.truncated += tokenised.iter().filter(|tokens| tokens.truncated).count();
            let ids = tokenised.into_iter().map(|tokens| tokens.ids).collect();
            let (sequences, reply) = EmbedRequest::sequences(ids, deadline);
            self.shared.inbox.push_embed(lane, sequences)?;
            // The next slice is tokenised while this one is embedded.
            let (vectors, next) =
                tokio::join!(self.answer(reply, deadline), tokenise(&front.tokenizer, next_slice(), max_tokens));
            embedded.vectors.extend(vectors??);
            tokenised = next?;
        }
        Ok(embedded)
    }

    /// One answer. Its text also arrives piece by piece on `tokens`, if given. Needs a tokio runtime.
    pub async fn generate(
        &self,
        model: &str,
        request: GenerateRequest,
        class: Class,
        deadline: Option<Instant>,
        tokens: Option<mpsc::UnboundedSender<String>>,
    ) -> Result<Generated, Error> {
        let front = self.front(model)?;
        let FrontKind::Generator { preparer } = &front.kind else { return Err(front.mismatch()) };
        let preparer = Arc::clone(preparer);
        let prepared = off_thread(move || preparer.prepare(request)).await?.map_err(Error::Generate)?;
        let (answer, receiver) = oneshot::channel();
        let reply = Box::new(GenerationReply { answer, tokens });
        let lane = Lane { model: front.index, class };
        self.shared.inbox.push_generation(lane, Generation { prepared, reply, deadline })?;
        self.answer(receiver, deadline).await?.map_err(Error::Generate)
    }

    /// Most tokens that an answer to this conversation can have in the model's context, and that context. Needs a tokio
    /// runtime.
    pub async fn answer_room(&self, model: &str, messages: Vec<ChatMessage>) -> Result<(usize, usize), Error> {
        let front = self.front(model)?;
        let FrontKind::Generator { preparer } = &front.kind else { return Err(front.mismatch()) };
        let preparer = Arc::clone(preparer);
        off_thread(move || preparer.room(&messages)).await?.map_err(Error::Generate)
    }

    /// The byte ranges of the model's tokens in `text`, without special tokens: for cutting it into chunks.
    pub fn token_offsets(&self, model: &str, text: &str) -> Result<Vec<(usize, usize)>, Error> {
        self.front(model)?.tokenizer.offsets(text).map_err(Error::Tokenise)
    }

    /// BLAKE3 of the model's weights file, in hexadecimal: part of the key of everything made with the model.
    pub fn digest(&self, model: &str) -> Option<&str> {
        self.shared.fronts.get(model).map(|front| front.info.digest.as_str())
    }

    /// A digest of all that the vectors of an embedding model depend on, in hexadecimal: its weights, its tokenizer, and how it is
    /// used. For what must not be mixed up with vectors of the same weights used otherwise.
    pub fn vectors_digest(&self, model: &str) -> Option<&str> {
        match &self.shared.fronts.get(model)?.kind {
            FrontKind::Embedder { vectors_digest, .. } => Some(vectors_digest),
            FrontKind::Generator { .. } => None,
        }
    }

    /// The length of an embedding model's vectors.
    pub fn dimensions(&self, model: &str) -> Option<usize> {
        match self.shared.fronts.get(model)?.kind {
            FrontKind::Embedder { dimensions, .. } => Some(dimensions),
            FrontKind::Generator { .. } => None,
        }
    }

    /// Most tokens of a text that an embedding model reads, special tokens included.
    pub fn max_tokens(&self, model: &str) -> Option<usize> {
        match self.shared.fronts.get(model)?.kind {
            FrontKind::Embedder { max_tokens, .. } => Some(max_tokens),
            FrontKind::Generator { .. } => None,
        }
    }

    /// Most tokens of a text that an embedding model reads, without the special ones: the longest chunk that is read whole.
    pub fn max_text_tokens(&self, model: &str) -> Option<usize> {
        let special = self.shared.fronts.get(model)?.tokenizer.special_tokens();
        self.max_tokens(model).map(|most| most.saturating_sub(special))
    }

    /// What the models run on.
    pub fn device(&self) -> DeviceKind {
        self.shared.device
    }

    pub fn models(&self) -> Vec<ModelInfo> {
        self.shared.names.iter().filter_map(|name| Some(self.shared.fronts.get(name)?.info.clone())).collect()
    }

    pub fn statistics(&self) -> Statistics {
        let waiting = self.shared.inbox.lock().embeds.sequences();
        self.shared.counters.read(waiting)
    }

    /// Why the engine takes no more work, if it does not. A process whose engine has stopped should end.
    pub fn stopped(&self) -> Option<String> {
        self.shared.inbox.stopped()
    }

    fn front(&self, model: &str) -> Result<&Front, Error> {
        self.shared.fronts.get(model).ok_or_else(|| Error::FindModel { model: model.to_owned() })
    }

    /// Awaits a reply no longer than the deadline. The engine sees that nobody waits and drops the request.
    async fn answer<T, E>(
        &self,
        reply: oneshot::Receiver<Result<T, E>>,
        deadline: Option<Instant>,
    ) -> Result<Result<T, E>, Error> {
        let received = match deadline {
            None => reply.await,
            Some(deadline) => {
                let in_time = tokio::time::timeout_at(deadline.into(), reply).await;
                in_time.map_err(|_| Error::MeetDeadline)?
            }
        };
        received.map_err(|_| match self.shared.inbox.stopped() {
            Some(reason) => Error::EngineStopped { reason },
            // The engine drops what is late, and can see it before the timer here does.
            None if deadline.is_some_and(|deadline| deadline <= Instant::now()) => Error::MeetDeadline,
            None => Error::EngineStopped { reason: "a model panicked".to_owned() },
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.inbox.stop("the engine was closed");
    }
}

async fn tokenise(tokenizer: &TextTokenizer, texts: Vec<String>, limit: usize) -> Result<Vec<TokenIds>, Error> {
    let bytes: usize = texts.iter().map(String::len).sum();
    let encode = move |tokenizer: &TextTokenizer, texts: &[String]| {
        texts.iter().map(|text| tokenizer.encode(text, limit)).collect::<Result<Vec<_>, _>>().map_err(Error::Tokenise)
    };
    if bytes <= INLINE_BYTES {
        return encode(tokenizer, &texts);
    }
    let tokenizer = tokenizer.clone();
    off_thread(move || encode(&tokenizer, &texts)).await?
}

/// Runs what would keep a runtime's thread busy on one that may be.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(Error::PrepareRequest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tiny() -> (Engine, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        crate::tiny::write_tiny_model(folder.path(), 1);
        let files = crate::catalogue::files_at(folder.path()).expect("the folder holds a model");
        let spec =
            ModelSpec { name: "tiny".to_owned(), task: ModelTask::Embed, files, dtype: None, context_tokens: None };
        let settings = Settings {
            device: DeviceKind::Cpu,
            threads: 1,
            max_batch: 8,
            max_wait: Duration::ZERO,
            token_budget: None,
            memory_fraction: None,
        };
        (Engine::start(settings, vec![spec]).expect("the tiny model loads"), folder)
    }

    #[tokio::test]
    async fn a_panic_in_a_model_fails_its_requests_and_stops_the_engine() {
        let (engine, _folder) = tiny();
        let lane = Lane { model: 0, class: Class::Normal };
        // An id beyond the vocabulary cannot come from the tokenizer; here it stands for any mistake in a model.
        let (sequences, reply) = EmbedRequest::sequences(vec![vec![u32::MAX]], None);
        engine.shared.inbox.push_embed(lane, sequences).expect("the engine works");
        assert!(matches!(engine.answer(reply, None).await, Err(Error::EngineStopped { .. })));
        while engine.stopped().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let after = engine.embed("tiny", vec!["a".to_owned()], Class::Normal, None).await;
        let error = after.expect_err("the engine has stopped");
        assert!(error.is_fatal() && !error.is_transient(), "{error}");
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_at_its_deadline_is_told_so() {
        let (engine, _folder) = tiny();
        let dropped = || oneshot::channel::<Result<(), Error>>().1;
        let now = Instant::now();
        let late = engine.answer(dropped(), Some(now)).await;
        assert!(matches!(late, Err(Error::MeetDeadline)), "{late:?}");
        for deadline in [None, Some(now + Duration::from_secs(3600))] {
            let lost = engine.answer(dropped(), deadline).await;
            assert!(matches!(lost, Err(Error::EngineStopped { .. })), "{lost:?}");
        }
    }
}
