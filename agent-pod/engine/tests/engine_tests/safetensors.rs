//! Files that are no safetensors are refused for the right reason, quickly, and whatever their bytes.

use crate::engine_support::{safetensors, tiny_tensors, with_header};
use engine::safetensors::{Header, HeaderError, LoadError, MAX_HEADER_BYTES, load};
use proptest::prelude::*;

fn check(bytes: &[u8]) -> Result<Header, HeaderError> {
    Header::read(&mut &bytes[..], bytes.len() as u64).map(|(header, _)| header)
}

fn refused(header: &str, data_bytes: usize) -> HeaderError {
    check(&with_header(header.as_bytes(), &vec![0; data_bytes])).expect_err("the file is not valid")
}

fn one(entry: &str, data_bytes: usize) -> HeaderError {
    refused(&format!("{{\"a\":{entry}}}"), data_bytes)
}

#[test]
fn a_valid_file_keeps_its_tensors_and_its_digest() {
    let tensors = tiny_tensors(3);
    let bytes = safetensors(&tensors);
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), &bytes).expect("it is writable");
    let weights = load(file.path(), |name| name.starts_with("embeddings.")).expect("the file is valid");
    assert_eq!(weights.digest, blake3::hash(&bytes).to_hex().to_string());
    assert_eq!(weights.bytes, bytes.len() as u64);
    for (name, (shape, values)) in &tensors {
        match weights.arrays.get(name) {
            Some(array) => assert_eq!((&array.shape, &array.values), (shape, values), "{name}"),
            None => assert!(!name.starts_with("embeddings."), "{name}"),
        }
    }
}

#[test]
fn half_precision_is_widened() {
    let header = r#"{"half":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},
        "brain":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]}}"#;
    // 1.0 and -2.5 in both formats.
    let bytes = with_header(header.as_bytes(), &[0x00, 0x3c, 0x00, 0xc1, 0x80, 0x3f, 0x20, 0xc0]);
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("it is writable");
    let weights = load(file.path(), |_| true).expect("the file is valid");
    assert_eq!(weights.arrays["half"].values, [1.0, -2.5]);
    assert_eq!(weights.arrays["brain"].values, [1.0, -2.5]);
}

#[test]
fn integers_are_no_weights() {
    let bytes = with_header(br#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#, &[0; 8]);
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("it is writable");
    assert!(matches!(load(file.path(), |_| true), Err(LoadError::ConvertTensor { .. })));
    assert!(load(file.path(), |_| false).is_ok());
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_allocated() {
    let claim = |length: u64| check(&[&length.to_le_bytes()[..], b"{}"].concat()).expect_err("the length lies");
    assert!(matches!(claim(1 << 63), HeaderError::FitHeader { .. }));
    assert!(matches!(claim(u64::MAX), HeaderError::FitHeader { .. }));
    assert!(matches!(claim(MAX_HEADER_BYTES + 1), HeaderError::FitHeader { .. }));
    assert!(matches!(claim(MAX_HEADER_BYTES), HeaderError::CompleteHeader { .. }));
    assert!(matches!(claim(3), HeaderError::CompleteHeader { .. }));
    assert!(matches!(check(b"1234567"), Err(HeaderError::FindHeader { file_bytes: 7 })));
    assert!(matches!(check(b""), Err(HeaderError::FindHeader { file_bytes: 0 })));
}

#[test]
fn shapes_that_do_not_match_their_bytes_are_refused() {
    assert!(matches!(
        one(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#, 8),
        HeaderError::MatchShape { needed: 12, span: 8, .. }
    ));
    assert!(matches!(
        one(r#"{"dtype":"F16","shape":[2],"data_offsets":[0,8]}"#, 8),
        HeaderError::MatchShape { needed: 4, span: 8, .. }
    ));
    let huge = r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}"#;
    assert!(matches!(one(huge, 8), HeaderError::MeasureTensor { .. }));
    let deep = r#"{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}"#;
    assert!(matches!(one(deep, 1), HeaderError::MeasureTensor { .. }));
    assert!(matches!(one(r#"{"dtype":"F32","shape":[1],"data_offsets":[8,4]}"#, 8), HeaderError::OrderOffsets { .. }));
    assert!(matches!(
        one(r#"{"dtype":"PICKLE","shape":[1],"data_offsets":[0,4]}"#, 4),
        HeaderError::KnowElementType { .. }
    ));
}

#[test]
fn overlaps_gaps_and_tails_are_refused() {
    let two = |first: [u32; 2], second: [u32; 2], data_bytes| {
        let entry = |[start, end]: [u32; 2]| {
            format!("{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{start},{end}]}}", end - start)
        };
        refused(&format!("{{\"a\":{},\"b\":{}}}", entry(first), entry(second)), data_bytes)
    };
    assert!(matches!(two([0, 4], [2, 6], 6), HeaderError::SeparateTensors { name } if name == "b"));
    assert!(matches!(two([0, 4], [0, 4], 4), HeaderError::SeparateTensors { .. }));
    assert!(matches!(two([0, 4], [6, 8], 8), HeaderError::CoverData { name } if name == "b"));
    assert!(matches!(two([1, 4], [4, 8], 8), HeaderError::CoverData { name } if name == "a"));
    assert!(matches!(two([0, 4], [4, 8], 9), HeaderError::MatchFile { end: 8, data_bytes: 9 }));
    assert!(matches!(two([0, 4], [4, 8], 7), HeaderError::MatchFile { end: 8, data_bytes: 7 }));
}

#[test]
fn a_tensor_that_is_described_twice_is_refused() {
    let entry = r#"{"dtype":"U8","shape":[4],"data_offsets":[0,4]}"#;
    let header = format!("{{\"a\":{entry},\"a\":{entry}}}");
    assert!(matches!(refused(&header, 4), HeaderError::DistinguishTensors { name } if name == "a"));
    let twice = r#"{"a":{"dtype":"U8","dtype":"F32","shape":[4],"data_offsets":[0,4]}}"#;
    assert!(matches!(refused(twice, 4), HeaderError::ParseHeader(_)));
}

#[test]
fn headers_that_are_not_json_or_bottomless_are_refused() {
    assert!(matches!(refused("not json", 0), HeaderError::ParseHeader(_)));
    assert!(matches!(refused("[1, 2]", 0), HeaderError::ParseHeader(_)));
    assert!(matches!(refused("{\"a\": 1}", 0), HeaderError::ParseHeader(_)));
    assert!(matches!(refused(&"[".repeat(1 << 20), 0), HeaderError::ParseHeader(_)));
    let nested = format!("{{\"__metadata__\":{}", "{\"a\":".repeat(1 << 18));
    assert!(matches!(refused(&nested, 0), HeaderError::ParseHeader(_)));
    let negative = r#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#;
    assert!(matches!(refused(negative, 1), HeaderError::ParseHeader(_)));
}

#[test]
fn a_header_of_very_many_tensors_is_refused() {
    let entry = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let entries: Vec<String> = (0..70_000).map(|index| format!("\"{index}\":{entry}")).collect();
    assert!(matches!(refused(&format!("{{{}}}", entries.join(",")), 0), HeaderError::CountTensors));
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let bytes = safetensors(&tiny_tensors(1));
    for length in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        assert!(check(&bytes[..length]).is_err(), "cut at {length}");
    }
    assert!(check(&bytes).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_are_accepted_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = check(&bytes);
        let _ = check(&with_header(&bytes, &[]));
    }

    #[test]
    fn a_damaged_header_never_describes_bytes_beyond_the_file(position in 8_usize..2000, value in any::<u8>()) {
        let mut bytes = safetensors(&tiny_tensors(1));
        bytes[position] = value;
        if let Ok(header) = check(&bytes) {
            let end = header.tensors.last().map_or(0, |tensor| tensor.end);
            prop_assert_eq!(header.data_start + end, bytes.len() as u64);
        }
    }
}
