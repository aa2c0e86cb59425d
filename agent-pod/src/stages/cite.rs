//! The places in the sources that support a text, sentence by sentence.
//!
//! Method: each sentence of the text is compared with the sentences of the document and of the chunks that were retrieved.
//! Candidates are the sentences with the most words in common; the nearest of them by cosine similarity of their vectors
//! is cited, if it is near enough. A place is a byte range in its source's text, so anybody can check it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use async_trait::async_trait;
use crds::{Cite, ModelTask};
use engine::Class;
use flow::Plan;
use serde_json::{Value, json};

use super::{Failure, Job, context::Context, heads::engine_failure};
use crate::runtime::{
    cache::Output,
    computing::compute,
    providers::Guard,
    services::{Embedded, Services},
};

/// Sentences that are compared by vector, for each sentence of the text.
const CANDIDATES: usize = 12;
/// Sentences of the text that are looked at.
const MAX_CLAIMS: usize = 64;
/// Shorter sentences say nothing that could be supported.
const MIN_WORDS: usize = 3;

pub(super) struct CiteJob {
    model: String,
    compared: Arc<Compared>,
    min_similarity: f64,
    guard: Guard,
}

struct Compared {
    /// Sentences of the text.
    claims: Vec<String>,
    /// How many more the text has than are looked at.
    unchecked: usize,
    places: Vec<Place>,
}

/// A sentence of a source.
struct Place {
    source: String,
    start: usize,
    end: usize,
    text: String,
}

pub(super) async fn prepare(
    services: &Services,
    plan: &Plan,
    cite: &Cite,
    context: &Context,
) -> Result<CiteJob, Failure> {
    let text = context.render(services, "cite.text", &cite.text).await?;
    let mut sources = vec![(context.source.clone(), Arc::clone(&context.text.text), 0)];
    for name in &cite.sources {
        for hit in context.output(name).and_then(|output| output["hits"].as_array()).into_iter().flatten() {
            let (Some(source), Some(text), Some(start)) =
                (hit["source"].as_str(), hit["text"].as_str(), hit["start"].as_u64())
            else {
                continue;
            };
            // The document itself is a source already.
            if source != context.source {
                sources.push((source.to_owned(), Arc::from(text), usize::try_from(start).unwrap_or(0)));
            }
        }
    }
    Ok(CiteJob {
        model: services.models.stage_model(plan, &context.pool, cite.model.as_deref(), ModelTask::Embed)?,
        compared: Arc::new(compute(move || Compared::of(&text, &sources)).await),
        min_similarity: cite.min_similarity,
        guard: context.guard.clone(),
    })
}

fn sentences_of(source: &str, text: &str, offset: usize, places: &mut Vec<Place>) {
    places.extend(knowledge::sentences(text).into_iter().filter_map(|(start, end)| {
        let sentence = &text[start..end];
        (words(sentence).len() >= MIN_WORDS).then(|| Place {
            source: source.to_owned(),
            start: offset + start,
            end: offset + end,
            text: sentence.to_owned(),
        })
    }));
}

/// The words of a text by which sentences are compared. Where a script puts no spaces between words, each two characters
/// that stand together count as one.
#[must_use]
pub fn words(text: &str) -> BTreeSet<String> {
    let parts = text.split(|c: char| !c.is_alphanumeric() || is_unspaced(c));
    let spaced = parts.filter(|word| word.len() > 2).map(str::to_lowercase);
    let characters: Vec<char> = text.chars().collect();
    let pairs = characters.windows(2).filter(|pair| pair.iter().all(|c| is_unspaced(*c)));
    spaced.chain(pairs.map(|pair| pair.iter().collect::<String>())).collect()
}

/// Letters, their marks and digits of scripts without spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese.
fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{0e01}'..='\u{0e4e}' | '\u{0e81}'..='\u{0edf}' | '\u{1000}'..='\u{1049}' | '\u{1050}'..='\u{109f}'
        | '\u{1780}'..='\u{17d3}' | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{309f}' | '\u{30a1}'..='\u{30fa}'
        | '\u{30fc}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9f}' | '\u{20000}'..='\u{3ffff}')
}

#[async_trait]
impl Job for CiteJob {
    fn key(&self, services: &Services) -> Option<Vec<String>> {
        let mut key = vec![services.digest(&self.model)];
        key.extend(self.compared.claims.iter().cloned());
        let mut sources = blake3::Hasher::new();
        for place in &self.compared.places {
            sources.update(place.source.as_bytes()).update(&[0]).update(place.text.as_bytes());
            sources.update(&(place.start as u64).to_le_bytes());
        }
        key.push(sources.finalize().to_hex().to_string());
        key.push(self.compared.unchecked.to_string());
        Some(key)
    }

    async fn run(&self, services: &Arc<Services>) -> Result<Output, Failure> {
        let compared = Arc::clone(&self.compared);
        let candidates = compute(move || compared.candidates()).await;
        let Compared { claims, unchecked, places } = &*self.compared;
        let mut texts: Vec<String> = claims.clone();
        let chosen: BTreeSet<usize> = candidates.iter().flatten().copied().collect();
        let place_of: BTreeMap<usize, usize> =
            chosen.iter().enumerate().map(|(n, &place)| (place, texts.len() + n)).collect();
        texts.extend(chosen.iter().map(|&place| places[place].text.clone()));
        let embedded = services.embed_guarded(&self.model, &texts, (Class::Normal, None), &self.guard).await;
        let Embedded { vectors, tokens } = embedded.map_err(|error| engine_failure(&error, &self.model))?;
        let mut citations = Vec::new();
        for (claim, candidates) in candidates.iter().enumerate() {
            let nearest = candidates
                .iter()
                .map(|&place| (place, dot(&vectors[claim], &vectors[place_of[&place]])))
                .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
            if let Some((place, similarity)) = nearest
                && similarity >= self.min_similarity
            {
                citations.push(citation(&claims[claim], &places[place], similarity));
            }
        }
        let unsupported = claims.len() - citations.len();
        Ok(Output {
            value: json!({"citations": citations, "unsupported": unsupported, "unchecked": unchecked}),
            references: Vec::new(),
            prompt_tokens: tokens,
            completion_tokens: 0,
            model: Some(self.model.clone()),
        })
    }
}

impl Compared {
    /// The sentences of a text and of sources, each with its name and the place where it begins.
    fn of(text: &str, sources: &[(String, Arc<str>, usize)]) -> Self {
        let claims = knowledge::sentences(text).into_iter().map(|(start, end)| text[start..end].to_owned());
        let mut claims: Vec<String> = claims.filter(|claim| words(claim).len() >= MIN_WORDS).collect();
        let unchecked = claims.len().saturating_sub(MAX_CLAIMS);
        claims.truncate(MAX_CLAIMS);
        let mut places = Vec::new();
        for (source, text, offset) in sources {
            sentences_of(source, text, *offset, &mut places);
        }
        Self { claims, unchecked, places }
    }

    /// For each claim the places that share the most words with it, rare words counting more.
    fn candidates(&self) -> Vec<Vec<usize>> {
        let places: Vec<BTreeSet<String>> = self.places.iter().map(|place| words(&place.text)).collect();
        let mut frequency: HashMap<&str, f64> = HashMap::new();
        places.iter().flatten().for_each(|word| *frequency.entry(word).or_default() += 1.0);
        let weight =
            |word: &str| (1.0 + places.len() as f64 / (1.0 + frequency.get(word).copied().unwrap_or(0.0))).ln();
        let ranked = |claim: &String| {
            let claim = words(claim);
            let mut scored: Vec<(usize, f64)> = places
                .iter()
                .enumerate()
                .map(|(place, words)| (place, words.intersection(&claim).map(|word| weight(word)).sum::<f64>()))
                .map(|(place, shared)| (place, shared / (places[place].len() as f64).sqrt()))
                .collect();
            scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            scored.into_iter().take(CANDIDATES).map(|(place, _)| place).collect()
        };
        self.claims.iter().map(ranked).collect()
    }
}

fn citation(claim: &str, place: &Place, similarity: f64) -> Value {
    json!({
        "source": place.source, "start": place.start, "end": place.end, "text": place.text,
        "claim": claim, "similarity": (similarity * 10_000.0).round() / 10_000.0,
    })
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}
