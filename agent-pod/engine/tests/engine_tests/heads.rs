//! Heads learn what can be learned, the same way each time, and survive as bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine::heads::{
    Anomaly, Classifier, ClassifierSettings, DecodeError, Experience, HeadSlot, Learner, Quality, TrainError,
};
use proptest::prelude::*;

const DIMENSIONS: usize = 64;

/// Numbers between -1 and 1 that a seed decides.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// A vector of length 1 near the axis of its class.
    fn near(&mut self, axis: usize, spread: f32) -> Vec<f32> {
        let mut vector: Vec<f32> = (0..DIMENSIONS).map(|_| spread * self.next()).collect();
        vector[axis] += 1.0;
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        vector.iter().map(|value| value / length).collect()
    }

    /// Examples of four classes that overlap a little, in turn.
    fn examples(&mut self, count: usize, spread: f32) -> Vec<(Vec<f32>, String)> {
        (0..count).map(|index| (self.near(index % 4, spread), format!("class {}", index % 4))).collect()
    }
}

fn train(examples: &[(Vec<f32>, String)]) -> Classifier {
    Classifier::train(examples, &ClassifierSettings::default()).expect("the examples are valid")
}

#[test]
fn accuracy_rises_after_20_50_and_100_labels() {
    let mut noise = Noise(1);
    let (examples, held_out) = (noise.examples(100, 0.45), noise.examples(400, 0.45));
    let after = [20, 50, 100].map(|count| train(&examples[..count]).accuracy(&held_out));
    assert!(after[0] > 0.6, "{after:?}");
    assert!(after[1] > after[0] - 0.02 && after[2] > after[1] - 0.02 && after[2] > after[0], "{after:?}");
    assert!(after[2] > 0.85, "{after:?}");
}

#[test]
fn separable_classes_are_told_apart_from_three_examples_each() {
    let mut noise = Noise(2);
    let classifier = train(&noise.examples(12, 0.05));
    assert_eq!(classifier.accuracy(&noise.examples(200, 0.05)), 1.0);
}

#[test]
fn probabilities_sum_to_one_and_mean_what_they_say() {
    let mut noise = Noise(3);
    let classifier = train(&noise.examples(400, 0.6));
    let held_out = noise.examples(2000, 0.6);
    let mut expected = 0.0;
    for (vector, _) in &held_out {
        let prediction = classifier.predict(vector);
        assert!((prediction.probabilities.iter().map(|(_, p)| p).sum::<f32>() - 1.0).abs() < 1e-4);
        assert!(prediction.probabilities.is_sorted_by(|left, right| left.1 >= right.1));
        assert_eq!(
            (&prediction.label, prediction.probability),
            (&prediction.probabilities[0].0, prediction.probabilities[0].1)
        );
        expected += prediction.probability;
    }
    let (expected, accuracy) = (expected / held_out.len() as f32, classifier.accuracy(&held_out));
    assert!((expected - accuracy).abs() < 0.05, "says {expected}, is right {accuracy}");
}

#[test]
fn training_is_deterministic_and_the_version_tells_heads_apart() {
    let mut noise = Noise(4);
    let examples = noise.examples(60, 0.4);
    let (first, again) = (train(&examples), train(&examples));
    assert_eq!(first.to_bytes(), again.to_bytes());
    assert_eq!(first.version(), again.version());
    assert_ne!(first.version(), train(&examples[..59]).version());
    let seeded = Classifier::train(&examples, &ClassifierSettings { seed: 7, ..ClassifierSettings::default() });
    assert_ne!(first.version(), seeded.expect("the examples are valid").version());
}

#[test]
fn one_label_is_always_the_answer_and_rare_labels_do_not_rule() {
    let mut noise = Noise(5);
    let mut examples: Vec<_> = (0..10).map(|_| (noise.near(0, 0.2), "only".to_owned())).collect();
    let prediction = train(&examples).predict(&noise.near(1, 0.2));
    assert_eq!((prediction.label.as_str(), prediction.probability), ("only", 1.0));
    examples.push((noise.near(1, 0.2), "rare".to_owned()));
    let classifier = train(&examples);
    assert_eq!(classifier.predict(&noise.near(0, 0.2)).label, "only");
    assert_eq!(train(&examples[..1]).predict(&noise.near(3, 0.1)).label, "only");
}

#[test]
fn examples_that_teach_nothing_are_refused() {
    let train = |examples: &[(Vec<f32>, String)]| Classifier::train(examples, &ClassifierSettings::default());
    assert_eq!(train(&[]), Err(TrainError::FindExamples));
    let uneven = [(vec![1.0, 0.0], "a".to_owned()), (vec![1.0], "b".to_owned())];
    assert_eq!(train(&uneven), Err(TrainError::MatchDimensions { index: 1, found: 1, expected: 2 }));
    assert_eq!(train(&[(vec![f32::NAN], "a".to_owned())]), Err(TrainError::ReadNumbers { index: 0 }));
    assert!(matches!(train(&[(vec![1.0], String::new())]), Err(TrainError::ReadLabel { .. })));
    assert_eq!(Anomaly::train(&[]), Err(TrainError::FindExamples));
    assert_eq!(Quality::train(&[]), Err(TrainError::FindExamples));
    assert_eq!(Quality::train(&[(vec![1.0], 1.5)]), Err(TrainError::ReadNumbers { index: 0 }));
}

#[test]
fn the_unusual_scores_high_and_the_usual_is_spread_evenly() {
    let mut noise = Noise(6);
    let usual = |noise: &mut Noise, count| (0..count).map(|index| noise.near(index % 3, 0.2)).collect::<Vec<_>>();
    let anomaly = Anomaly::train(&usual(&mut noise, 1500)).expect("the vectors are valid");
    let scores: Vec<f32> = usual(&mut noise, 300).iter().map(|vector| anomaly.score(vector)).collect();
    assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)));
    let mean = scores.iter().sum::<f32>() / scores.len() as f32;
    assert!((0.4..0.6).contains(&mean), "mean {mean}");
    for _ in 0..20 {
        let score = anomaly.score(&noise.near(40, 0.2));
        assert!(score > 0.99, "{score}");
    }
}

#[test]
fn one_known_vector_says_nothing_of_distances() {
    let anomaly = Anomaly::train(&[vec![1.0, 0.0]]).expect("one vector is enough");
    assert_eq!(anomaly.score(&[0.0, 1.0]), 0.5);
}

#[test]
fn quality_follows_the_scores_it_learned() {
    let mut noise = Noise(7);
    let examples: Vec<_> = (0..120)
        .map(|index| {
            let good = index % 2 == 0;
            (noise.near(usize::from(good), 0.2), if good { 0.9 } else { 0.2 })
        })
        .collect();
    let quality = Quality::train(&examples).expect("the examples are valid");
    let (good, bad) = (quality.score(&noise.near(1, 0.2)), quality.score(&noise.near(0, 0.2)));
    assert!((0.8..=1.0).contains(&good) && (0.0..0.35).contains(&bad), "good {good}, bad {bad}");
}

#[test]
fn heads_survive_as_bytes() {
    let mut noise = Noise(8);
    let examples = noise.examples(40, 0.3);
    let classifier = train(&examples);
    assert_eq!(Classifier::from_bytes(&classifier.to_bytes()), Ok(classifier.clone()));
    let vectors: Vec<_> = examples.iter().map(|(vector, _)| vector.clone()).collect();
    let anomaly = Anomaly::train(&vectors).expect("the vectors are valid");
    assert_eq!(Anomaly::from_bytes(&anomaly.to_bytes()), Ok(anomaly.clone()));
    let scored: Vec<_> = vectors.iter().map(|vector| (vector.clone(), 0.5)).collect();
    let quality = Quality::train(&scored).expect("the examples are valid");
    assert_eq!(Quality::from_bytes(&quality.to_bytes()), Ok(quality.clone()));
    assert_eq!(Classifier::from_bytes(&anomaly.to_bytes()), Err(DecodeError::MatchKind));
    assert_eq!(Anomaly::from_bytes(&quality.to_bytes()), Err(DecodeError::MatchKind));
}

#[test]
fn damaged_bytes_are_refused() {
    let classifier = train(&Noise(9).examples(12, 0.1));
    let bytes = classifier.to_bytes();
    for length in 0..bytes.len() {
        assert!(Classifier::from_bytes(&bytes[..length]).is_err(), "cut at {length}");
    }
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x10;
        assert!(Classifier::from_bytes(&damaged).is_err(), "flipped at {position}");
    }
    let newer = [&bytes[..4], &[99], &bytes[5..]].concat();
    assert_eq!(Classifier::from_bytes(&newer), Err(DecodeError::MatchVersion { found: 99 }));
}

proptest! {
    #[test]
    fn any_bytes_are_no_head(bytes in prop::collection::vec(any::<u8>(), 0..200), version in 0_u8..3, kind in 0_u8..5) {
        prop_assert!(Classifier::from_bytes(&bytes).is_err());
        // With a right start and a right checksum the content alone must be refused.
        let mut dressed = [b"DKHD".as_slice(), &[version, kind], &bytes].concat();
        let checksum = blake3::hash(&dressed);
        dressed.extend(checksum.as_bytes());
        let _ = (Classifier::from_bytes(&dressed), Anomaly::from_bytes(&dressed), Quality::from_bytes(&dressed));
    }
}

#[test]
fn readers_see_a_whole_head_while_heads_are_swapped() {
    let mut noise = Noise(10);
    let heads: Vec<_> = (0..4).map(|_| Arc::new(train(&noise.examples(16, 0.2)))).collect();
    let versions: Vec<_> = heads.iter().map(|head| head.version()).collect();
    let slot = Arc::new(HeadSlot::empty());
    assert!(slot.current().is_none());
    slot.swap(Arc::clone(&heads[0]));
    let is_over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (slot, is_over, versions) = (Arc::clone(&slot), Arc::clone(&is_over), versions.clone());
            std::thread::spawn(move || {
                let mut reads = 0;
                while reads == 0 || !is_over.load(Ordering::Relaxed) {
                    let head: Arc<Classifier> = slot.current().expect("a head is in use");
                    assert!(versions.contains(&head.version()));
                    reads += 1;
                }
            })
        })
        .collect();
    for round in 0..2000 {
        slot.swap(Arc::clone(&heads[round % heads.len()]));
    }
    is_over.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().expect("no reader saw a broken head"));
}

#[test]
fn experience_forgets_the_oldest_and_asks_for_an_update_every_hundred() {
    let mut experience = Experience::default();
    let mut updates = Vec::new();
    for number in 1..=10_150 {
        if experience.add(vec![number as f32], "label".to_owned()) {
            updates.push(number);
            experience.take_all();
        }
    }
    assert_eq!(updates.len(), 101);
    assert_eq!(updates[..3], [100, 200, 300]);
    assert_eq!(experience.len(), 10_000);
    assert_eq!(experience.take_all()[0].0, [151.0]);
}

#[test]
fn feedback_ends_in_a_new_head_without_a_pause() {
    let mut noise = Noise(11);
    let learner = Learner::new(ClassifierSettings::default(), None);
    assert!(learner.current().is_none());
    for (vector, label) in noise.examples(100, 0.2) {
        learner.observe(vector, label);
    }
    let until = Instant::now() + Duration::from_secs(60);
    while learner.current().is_none() {
        assert!(Instant::now() < until, "no head was trained");
        std::thread::sleep(Duration::from_millis(5));
    }
    let head = learner.current().expect("it was just there");
    assert!(head.accuracy(&noise.examples(100, 0.2)) > 0.95);
}
