//! GGUF headers are read with every number distrusted: hostile files are refused with a reason, fast and without
//! taking memory by their word.

use std::io::Cursor;

use engine::generation::gguf::{Error, Header, Value, read_header};
use proptest::prelude::*;

/// Writes a file piece by piece.
#[derive(Clone)]
struct Writer(Vec<u8>);

impl Writer {
    fn start(tensors: u64, entries: u64) -> Self {
        let mut writer = Self(b"GGUF".to_vec());
        writer.0.extend(3u32.to_le_bytes());
        writer.u64(tensors).u64(entries);
        writer
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.u64(text.len() as u64);
        self.0.extend(text.as_bytes());
        self
    }

    fn entry(&mut self, key: &str, kind: u32) -> &mut Self {
        self.text(key).u32(kind)
    }

    fn tensor(&mut self, name: &str, dimensions: &[u64], format: u32, offset: u64) -> &mut Self {
        self.text(name).u32(dimensions.len() as u32);
        for dimension in dimensions {
            self.u64(*dimension);
        }
        self.u32(format).u64(offset)
    }

    fn data(&mut self, bytes: usize) -> &mut Self {
        self.0.resize(self.0.len().next_multiple_of(32) + bytes, 0);
        self
    }

    fn read(&self) -> Result<Header, Error> {
        read_header(&mut Cursor::new(&self.0))
    }
}

const U32: u32 = 4;
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;
const F32: u32 = 0;
const Q8_0: u32 = 8;

/// A header with one of everything, two tensors and their data.
fn valid() -> Writer {
    let mut writer = Writer::start(2, 5);
    writer.entry("general.architecture", TEXT).text("llama");
    writer.entry("general.alignment", U32).u32(32);
    writer.entry("tokens", ARRAY).u32(TEXT).u64(2).text("a").text("b");
    writer.entry("scores", ARRAY).u32(6).u64(2).u32(1.5f32.to_bits()).u32(0);
    writer.entry("flag", BOOL).0.push(1);
    writer.tensor("norm", &[8], F32, 0).tensor("matrix", &[32, 2], Q8_0, 32).data(32 + 2 * 34);
    writer
}

fn with_entry(write: impl FnOnce(&mut Writer)) -> Result<Header, Error> {
    let mut writer = Writer::start(0, 1);
    write(&mut writer);
    writer.read()
}

fn with_tensor(dimensions: &[u64], format: u32, offset: u64) -> Result<Header, Error> {
    let mut writer = Writer::start(1, 0);
    writer.tensor("t", dimensions, format, offset).data(1024).read()
}

#[test]
fn a_valid_header_gives_its_values_and_places() {
    let header = valid().read().unwrap();
    assert_eq!(header.text("general.architecture").unwrap(), "llama");
    assert_eq!(header.texts("tokens").unwrap(), ["a", "b"]);
    assert_eq!(header.floats("scores").unwrap(), [1.5, 0.0]);
    assert_eq!(header.metadata["flag"], Value::Bool(true));
    let matrix = header.tensor("matrix").unwrap();
    assert_eq!((matrix.shape.as_slice(), matrix.bytes), ([2, 32].as_slice(), 68));
    assert_eq!(matrix.start % 32, 0);
    assert!(matches!(header.tensor("absent"), Err(Error::Missing(_))));
    assert!(matches!(header.integer("flag"), Err(Error::WrongType { .. })));
}

#[test]
fn counts_of_2_to_the_60_are_refused() {
    assert!(matches!(Writer::start(1 << 60, 0).read(), Err(Error::TooLarge { .. })));
    assert!(matches!(Writer::start(0, 1 << 60).read(), Err(Error::TooLarge { .. })));
    let array = with_entry(|writer| {
        writer.entry("a", ARRAY).u32(U32).u64(1 << 60);
    });
    assert!(matches!(array, Err(Error::TooLarge { .. })));
}

#[test]
fn counts_within_the_limits_but_beyond_the_file_are_refused() {
    assert!(matches!(Writer::start(60_000, 0).read(), Err(Error::Truncated { .. })));
    let array = with_entry(|writer| {
        writer.entry("a", ARRAY).u32(U32).u64(4_000_000);
    });
    assert!(matches!(array, Err(Error::Truncated { .. })));
}

#[test]
fn nested_arrays_are_refused_however_deep() {
    let nested = with_entry(|writer| {
        writer.entry("a", ARRAY);
        for _ in 0..100_000 {
            writer.u32(ARRAY).u64(1);
        }
    });
    assert!(matches!(nested, Err(Error::NestedArray { .. })));
}

#[test]
fn texts_of_2_to_the_30_are_refused() {
    let text = with_entry(|writer| {
        writer.entry("a", TEXT).u64(1 << 30);
    });
    assert!(matches!(text, Err(Error::TooLarge { .. })));
    let beyond_the_file = with_entry(|writer| {
        writer.entry("a", TEXT).u64(1 << 20);
    });
    assert!(matches!(beyond_the_file, Err(Error::Truncated { .. })));
}

#[test]
fn dimensions_that_overflow_or_vanish_are_refused() {
    for dimensions in [&[1 << 40, 1 << 40][..], &[u64::MAX], &[0], &[], &[1 << 62, 1]] {
        assert!(matches!(with_tensor(dimensions, F32, 0), Err(Error::Dimensions { .. })), "{dimensions:?}");
    }
    assert!(matches!(with_tensor(&[2; 5], F32, 0), Err(Error::TooLarge { .. })));
    assert!(matches!(with_tensor(&[33], Q8_0, 0), Err(Error::Dimensions { .. })), "no whole blocks");
}

#[test]
fn tensors_outside_the_file_are_refused() {
    assert!(matches!(with_tensor(&[1 << 20], F32, 0), Err(Error::OutsideFile { .. })));
    assert!(matches!(with_tensor(&[1], F32, 1 << 40), Err(Error::OutsideFile { .. })));
    assert!(matches!(with_tensor(&[1], F32, u64::MAX - 31), Err(Error::OutsideFile { .. })));
}

#[test]
fn tensors_that_overlap_or_lie_askew_are_refused() {
    let mut writer = Writer::start(2, 0);
    writer.tensor("a", &[16], F32, 0).tensor("b", &[16], F32, 32).data(1024);
    assert!(matches!(writer.read(), Err(Error::Overlap { .. })));
    assert!(matches!(with_tensor(&[1], F32, 4), Err(Error::Unaligned { .. })));
}

#[test]
fn names_that_appear_twice_are_refused() {
    let mut writer = Writer::start(2, 0);
    writer.tensor("a", &[8], F32, 0).tensor("a", &[8], F32, 32).data(64);
    assert!(matches!(writer.read(), Err(Error::Duplicate(_))));
    let mut writer = Writer::start(0, 2);
    writer.entry("k", U32).u32(1).entry("k", U32).u32(2);
    assert!(matches!(writer.read(), Err(Error::Duplicate(_))));
}

#[test]
fn alignments_that_are_no_power_of_two_are_refused() {
    for alignment in [0, 1, 33, u32::MAX] {
        let header = with_entry(|writer| {
            writer.entry("general.alignment", U32).u32(alignment);
        });
        assert!(matches!(header, Err(Error::Alignment(_))), "alignment {alignment}");
    }
}

#[test]
fn what_is_no_gguf_file_is_refused() {
    let pickle = b"\x80\x02}q\x00(X\x05\x00\x00\x00modelq\x01ctorch._utils\n_rebuild_tensor_v2\n".to_vec();
    assert!(matches!(Writer(pickle).read(), Err(Error::Magic { .. })));
    assert!(matches!(Writer(b"PK\x03\x04 a zip, as PyTorch writes".to_vec()).read(), Err(Error::Magic { .. })));
    assert!(matches!(Writer(Vec::new()).read(), Err(Error::Truncated { .. })));
    let mut old = Writer(b"GGUF".to_vec());
    assert!(matches!(old.u32(1).read(), Err(Error::Version(1))));
}

#[test]
fn unknown_kinds_are_refused() {
    let value = with_entry(|writer| {
        writer.entry("a", 99);
    });
    assert!(matches!(value, Err(Error::ValueType { .. })));
    assert!(matches!(with_tensor(&[32], 4, 0), Err(Error::Format { .. })));
    let truth = with_entry(|writer| writer.entry("a", BOOL).0.push(2));
    assert!(matches!(truth, Err(Error::Bool { .. })));
}

#[test]
fn every_truncation_is_refused() {
    let whole = valid().0;
    for length in 0..whole.len() {
        assert!(Writer(whole[..length].to_vec()).read().is_err(), "accepted when cut to {length} bytes");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = Writer(bytes.clone()).read();
        let mut with_magic = b"GGUF\x03\0\0\0".to_vec();
        with_magic.extend(bytes);
        let _ = Writer(with_magic).read();
    }

    #[test]
    fn a_changed_header_is_read_or_refused_and_its_tensors_stay_inside(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = valid();
        for (place, byte) in changes {
            let place = place.index(file.0.len());
            file.0[place] = byte;
        }
        if let Ok(header) = file.read() {
            for place in header.tensors.values() {
                prop_assert!(place.start + place.bytes as u64 <= file.0.len() as u64);
            }
        }
    }
}
