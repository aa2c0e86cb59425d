//! Results as bytes: they come back whole, and damage never makes another one.

use agent_pod::runtime::cache::kept::{DIGEST, HEAD, Kept, Output, Owner, Question, head, tag};
use serde_json::{Value, json};

fn kept(value: Value) -> Kept {
    let output = Output {
        value,
        references: vec!["00ff".to_owned()],
        prompt_tokens: 3,
        completion_tokens: 5,
        model: Some("small".to_owned()),
    };
    Kept { made_at: 1_234_567_890_123, owner: Owner::new("tenant", "payload"), output, question: None }
}

#[test]
fn a_result_comes_back_whole_small_or_large() {
    for value in [json!({"text": "ä"}), json!(null), json!({"text": "many words ".repeat(10_000)})] {
        let kept = kept(value);
        let bytes = kept.encode("key").expect("bytes");
        assert_eq!(Kept::decode("key", &bytes), Some(kept.clone()));
        assert_eq!(head(&bytes), Some(kept.head()));
    }
}

#[test]
fn a_question_comes_back_to_the_bit() {
    let vector = vec![0.25, -1.5e-30, f32::MIN_POSITIVE, 0.0];
    let kept = Kept { question: Some(Question { guard: tag("guard"), vector }), ..kept(json!({"text": "answer"})) };
    assert_eq!(Kept::decode("key", &kept.encode("key").expect("bytes")), Some(kept));
    let zeros = "0".repeat(32);
    let read =
        |guard: &str, vector: &str| serde_json::from_value::<Question>(json!({"guard": guard, "vector": vector}));
    assert!(read(&zeros, "00000000").is_ok());
    for (guard, vector) in [("00", "00000000"), (&*zeros, "000"), (&*zeros, "00000g00")] {
        assert!(read(guard, vector).is_err(), "{guard} {vector}");
    }
}

#[test]
fn a_large_result_is_compressed() {
    let kept = kept(json!("many words ".repeat(10_000)));
    assert!(kept.encode("key").expect("bytes").len() < 5_000);
}

#[test]
fn a_result_of_another_key_is_none() {
    let bytes = kept(json!(1)).encode("one").expect("bytes");
    assert_eq!(Kept::decode("two", &bytes), None);
}

#[test]
fn damage_never_makes_another_result() {
    for kept in [kept(json!({"text": "short"})), kept(json!("many words ".repeat(1_000)))] {
        let bytes = kept.encode("key").expect("bytes");
        let mut refused = 0;
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x10;
            for read in [Kept::decode("key", &damaged), Kept::decode("key", &bytes[..place])] {
                // A few bits of a compressed frame (its window, its end) do not touch what it unfolds to.
                assert!(read.is_none() || read.as_ref() == Some(&kept), "byte {place} makes {read:?}");
                refused += usize::from(read.is_none());
            }
        }
        assert!(refused > bytes.len() * 9 / 5, "{refused} of {} are refused", bytes.len() * 2);
    }
}

#[test]
fn foreign_bytes_are_none() {
    for bytes in [&b""[..], b"DKC", b"DKC2", b"hello", b"{\"output\": 1}", &[0; 100], &[0xff; 100]] {
        assert_eq!(Kept::decode("key", bytes), None);
    }
    let mut other_version = kept(json!(1)).encode("key").expect("bytes");
    other_version[3] = b'1';
    assert_eq!(Kept::decode("key", &other_version), None);
}

#[test]
fn a_few_bytes_that_claim_to_be_very_much_are_none() {
    let mut bytes = kept(json!("many words ".repeat(10_000))).encode("key").expect("bytes");
    let length = HEAD + DIGEST + 1;
    bytes[length..length + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(Kept::decode("key", &bytes), None);
}
