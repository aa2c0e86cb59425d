//! A generating model used from one thread, without an engine: for tests and for measuring.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Device;

use crate::ModelFiles;
use crate::generation::generator::{Generator, Reply};
use crate::generation::prepare::Preparer;
use crate::generation::{Error, GenerateRequest, Generated, GeneratorSettings};

/// A model whose requests are answered before the call returns.
pub struct LocalGenerator {
    generator: Generator,
    preparer: Arc<Preparer>,
    most_in_work: usize,
}

#[derive(Default)]
struct Collected {
    pieces: Vec<String>,
    answer: Option<Result<Generated, Error>>,
}

struct Collector(Arc<Mutex<Collected>>);

impl LocalGenerator {
    pub fn load(files: &ModelFiles, settings: &GeneratorSettings) -> Result<Self, Error> {
        let generator = Generator::load(files, settings, &Device::Cpu)?;
        let preparer = generator.preparer();
        Ok(Self { generator, preparer, most_in_work: 0 })
    }

    /// Answers one request.
    pub fn generate(&mut self, request: GenerateRequest) -> Result<Generated, Error> {
        self.generate_in_pieces(request).map(|(answer, _)| answer)
    }

    /// Answers one request; also gives the pieces that would have been streamed.
    pub fn generate_in_pieces(&mut self, request: GenerateRequest) -> Result<(Generated, Vec<String>), Error> {
        let collected = self.admit(request)?;
        while self.step() {}
        let Collected { pieces, answer } = std::mem::take(&mut *lock(&collected));
        answer.unwrap_or_else(|| Err(Error::Step("the request was lost".to_owned()))).map(|answer| (answer, pieces))
    }

    /// Answers requests in one batch; each is admitted once the one before it has had `steps_between` steps.
    pub fn generate_together(
        &mut self,
        requests: Vec<GenerateRequest>,
        steps_between: usize,
    ) -> Vec<Result<Generated, Error>> {
        let mut admitted = Vec::new();
        for request in requests {
            admitted.push(self.admit(request));
            for _ in 0..steps_between {
                self.step();
            }
        }
        while self.step() {}
        let answer = |collected: Arc<Mutex<Collected>>| {
            let answer = lock(&collected).answer.take();
            answer.unwrap_or_else(|| Err(Error::Step("the request was lost".to_owned())))
        };
        admitted.into_iter().map(|collected| collected.and_then(answer)).collect()
    }

    /// The tokens of a text; control tokens count and the beginning token is added where the model wants one.
    pub fn tokens_of(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.generator.vocabulary().encode_prompt(text, None)
    }

    /// The tokens of the conversation as the model sees it.
    pub fn prompt_of(&self, request: GenerateRequest) -> Result<Vec<u32>, Error> {
        self.preparer.prepare(request).map(|prepared| prepared.prompt)
    }

    /// The scores over the vocabulary after `prompt`, and after each token of `continuation`.
    pub fn scores_along(&mut self, prompt: &[u32], continuation: &[u32]) -> Result<Vec<Vec<f32>>, Error> {
        self.generator.scores_along(prompt, continuation)
    }

    /// Bytes of weights held in memory.
    pub fn weight_bytes(&self) -> usize {
        self.generator.weight_bytes()
    }

    /// Most requests that were in work at once so far.
    pub fn most_in_work(&self) -> usize {
        self.most_in_work
    }

    fn step(&mut self) -> bool {
        let goes_on = self.generator.step();
        self.most_in_work = self.most_in_work.max(self.generator.in_work());
        goes_on
    }

    fn admit(&mut self, request: GenerateRequest) -> Result<Arc<Mutex<Collected>>, Error> {
        let prepared = self.preparer.prepare(request)?;
        let collected = Arc::new(Mutex::new(Collected::default()));
        self.generator.admit(prepared, Box::new(Collector(Arc::clone(&collected))));
        Ok(collected)
    }
}

impl Reply for Collector {
    fn on_token(&mut self, piece: &str) {
        lock(&self.0).pieces.push(piece.to_owned());
    }

    fn finished(self: Box<Self>, answer: Result<Generated, Error>) {
        lock(&self.0).answer = Some(answer);
    }

    fn is_closed(&self) -> bool {
        false
    }
}

fn lock(collected: &Mutex<Collected>) -> std::sync::MutexGuard<'_, Collected> {
    collected.lock().unwrap_or_else(PoisonError::into_inner)
}
