//! Chooses the next token from a row of scores.

use std::cmp::Ordering;

use toktrie::SimpleVob;

use crate::generation::{Error, Sampling};

/// Tokens this many temperatures below the best have no measurable share, not even all together.
const NEGLIGIBLE: f32 = 30.0;

/// One request's choices; owns its random numbers, so companions cannot change them.
pub(super) struct Sampler {
    sampling: Sampling,
    random: SplitMix,
    penalised: Vec<f32>,
    candidates: Vec<(u32, f32)>,
}

impl Sampler {
    pub(super) fn new(sampling: Sampling) -> Self {
        let random = SplitMix { state: sampling.seed };
        Self { sampling, random, penalised: Vec::new(), candidates: Vec::new() }
    }

    /// The next token after `seen`, among the allowed ones.
    pub(super) fn choose(&mut self, scores: &[f32], seen: &[u32], allowed: Option<&SimpleVob>) -> Result<u32, Error> {
        let penalised = std::mem::take(&mut self.penalised);
        let (scores, penalised) = match self.sampling.repetition_penalty {
            Some(penalty) if penalty != 1.0 => (None, penalise(penalised, scores, seen, penalty)),
            _ => (Some(scores), penalised),
        };
        let scores = scores.unwrap_or(&penalised);
        let best = likeliest(scores, allowed).ok_or(Error::NoFiniteScore);
        let chosen = match best {
            Ok((_, highest)) if self.sampling.temperature > 0.0 => Ok(self.draw(scores, highest, allowed)),
            Ok((token, _)) => Ok(token),
            Err(error) => Err(error),
        };
        self.penalised = penalised;
        chosen
    }

    fn draw(&mut self, scores: &[f32], highest: f32, allowed: Option<&SimpleVob>) -> u32 {
        let temperature = self.sampling.temperature;
        let lowest = highest - NEGLIGIBLE * temperature;
        self.candidates.clear();
        for_each_allowed(scores, allowed, |token, score| {
            if score >= lowest {
                self.candidates.push((token, score));
            }
        });
        // The order decides which token a random number falls on: likeliest first, the lower number among equals.
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if let Some(most) = self.sampling.top_k.filter(|&most| most < self.candidates.len()) {
            self.candidates.select_nth_unstable_by(most, order);
            self.candidates.truncate(most);
        }
        self.candidates.sort_unstable_by(order);
        let weight = |score: f32| f64::from((score - highest) / temperature).exp();
        let mut total: f64 = self.candidates.iter().map(|&(_, score)| weight(score)).sum();
        if let Some(share) = self.sampling.top_p {
            let wanted = total * f64::from(share);
            let mut sum = 0.0;
            let kept = self.candidates.iter().take_while(|&&(_, score)| {
                let wants_more = sum < wanted;
                sum += if wants_more { weight(score) } else { 0.0 };
                wants_more
            });
            let kept = kept.count().max(1);
            self.candidates.truncate(kept);
            total = sum;
        }
        let mut left = self.random.unit() * total;
        for &(token, score) in &self.candidates {
            left -= weight(score);
            if left < 0.0 {
                return token;
            }
        }
        // Rounding alone leads here.
        self.candidates.last().map_or(0, |&(token, _)| token)
    }
}

fn likeliest(scores: &[f32], allowed: Option<&SimpleVob>) -> Option<(u32, f32)> {
    let mut best: Option<(u32, f32)> = None;
    for_each_allowed(scores, allowed, |token, score| {
        let better = match best {
            None => score.is_finite(),
            Some((_, highest)) => score.partial_cmp(&highest) == Some(Ordering::Greater) && score.is_finite(),
        };
        if better {
            best = Some((token, score));
        }
    });
    best
}

fn for_each_allowed(scores: &[f32], allowed: Option<&SimpleVob>, mut take: impl FnMut(u32, f32)) {
    match allowed {
        None => scores.iter().enumerate().for_each(|(token, &score)| take(token as u32, score)),
        Some(allowed) => allowed.iter_set_entries(|token| {
            if let Some(&score) = scores.get(token) {
                take(token as u32, score);
            }
        }),
    }
}

/// As llama.cpp and others do: what was seen loses score, whatever its sign.
fn penalise(mut penalised: Vec<f32>, scores: &[f32], seen: &[u32], penalty: f32) -> Vec<f32> {
    penalised.clear();
    penalised.extend_from_slice(scores);
    for &token in seen {
        if let (Some(slot), Some(&score)) = (penalised.get_mut(token as usize), scores.get(token as usize)) {
            *slot = if score > 0.0 { score / penalty } else { score * penalty };
        }
    }
    penalised
}

/// SplitMix64: small, and good enough to draw tokens.
struct SplitMix {
    state: u64,
}

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly from 0 up to but without 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f32, top_k: Option<usize>, top_p: Option<f32>, seed: u64) -> Sampler {
        Sampler::new(Sampling { temperature, top_p, top_k, repetition_penalty: None, seed })
    }

    #[test]
    fn draws_follow_the_softmax() {
        let scores = [1.0f32, 2.0, 0.0, f32::NAN];
        let mut sampler = sampler(1.0, None, None, 7);
        let mut counts = [0u32; 4];
        for _ in 0..20_000 {
            counts[sampler.choose(&scores, &[], None).unwrap() as usize] += 1;
        }
        let total: f64 = [1.0f64, 2.0, 0.0].iter().map(|score| score.exp()).sum();
        for (token, score) in [1.0f64, 2.0, 0.0].iter().enumerate() {
            let share = f64::from(counts[token]) / 20_000.0;
            assert!((share - score.exp() / total).abs() < 0.015, "token {token} was drawn {share}");
        }
        assert_eq!(counts[3], 0);
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let scores = [0.0f32, 5.0, 4.0, 3.0];
        let mut two = sampler(1.0, Some(2), None, 1);
        let mut nucleus = sampler(1.0, None, Some(0.6), 1);
        for _ in 0..500 {
            assert!([1, 2].contains(&two.choose(&scores, &[], None).unwrap()));
            assert_eq!(nucleus.choose(&scores, &[], None).unwrap(), 1);
        }
    }

    #[test]
    fn a_penalty_makes_the_seen_less_likely() {
        let sampling = Sampling { repetition_penalty: Some(2.0), ..Sampling::greedy() };
        let mut sampler = Sampler::new(sampling);
        assert_eq!(sampler.choose(&[3.0, 2.0], &[], None).unwrap(), 0);
        assert_eq!(sampler.choose(&[3.0, 2.0], &[0, 0], None).unwrap(), 1);
    }

    #[test]
    fn scores_without_a_finite_one_are_an_error() {
        assert!(sampler(0.0, None, None, 0).choose(&[f32::NAN, f32::NEG_INFINITY], &[], None).is_err());
    }
}
