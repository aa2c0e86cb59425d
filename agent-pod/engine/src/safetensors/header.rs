//! The header of a safetensors file and every rule that it must obey.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read};

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};

/// Headers of real models stay below 1 MiB; this bounds what a hostile file makes us hold.
pub const MAX_HEADER_BYTES: u64 = 16 * 1024 * 1024;
/// The largest published models have some ten thousand tensors.
const MAX_TENSORS: usize = 65_536;
const MAX_DIMENSIONS: usize = 8;
const LENGTH_BYTES: u64 = 8;
const METADATA_KEY: &str = "__metadata__";

/// A header that was checked against the size of its file: the tensors cover the data without gap or overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// In the order in which they lie in the file.
    pub tensors: Vec<TensorEntry>,
    /// Bytes of the file before the first tensor.
    pub data_start: u64,
}

/// Where one tensor lies, in bytes after `Header::data_start`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    pub name: String,
    pub element: ElementType,
    pub shape: Vec<usize>,
    pub start: u64,
    pub end: u64,
}

/// Why a header was refused. All are for whoever supplied the file to mend.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("the file has {file_bytes} bytes, too few for a safetensors header")]
    FindHeader { file_bytes: u64 },
    #[error("the header claims {header_bytes} bytes, more than the limit of {MAX_HEADER_BYTES}")]
    FitHeader { header_bytes: u64 },
    #[error("the header claims {header_bytes} bytes, more than the file has ({file_bytes})")]
    CompleteHeader { header_bytes: u64, file_bytes: u64 },
    #[error("failed to read the header")]
    ReadHeader(#[source] io::Error),
    #[error("the header is no valid JSON description of tensors")]
    ParseHeader(#[source] serde_json::Error),
    #[error("more than {MAX_TENSORS} tensors")]
    CountTensors,
    #[error("tensor {name:?} is described twice")]
    DistinguishTensors { name: String },
    #[error("tensor {name:?} has the unknown element type {element:?}")]
    KnowElementType { name: String, element: String },
    #[error("tensor {name:?} has more than {MAX_DIMENSIONS} dimensions or a size that overflows")]
    MeasureTensor { name: String },
    #[error("tensor {name:?} spans {span} bytes, its shape and type need {needed}")]
    MatchShape { name: String, span: u64, needed: u64 },
    #[error("tensor {name:?} ends before it starts")]
    OrderOffsets { name: String },
    #[error("tensor {name:?} overlaps the one before it")]
    SeparateTensors { name: String },
    #[error("bytes before tensor {name:?} belong to no tensor")]
    CoverData { name: String },
    #[error("the tensors end at byte {end} of the data, the file has {data_bytes}: it is truncated or has a tail")]
    MatchFile { end: u64, data_bytes: u64 },
}

impl Header {
    /// Reads and checks the header at the start of `source`, which is `file_bytes` long.
    pub fn read(source: &mut impl Read, file_bytes: u64) -> Result<(Self, Vec<u8>), HeaderError> {
        if file_bytes < LENGTH_BYTES {
            return Err(HeaderError::FindHeader { file_bytes });
        }
        let mut length = [0_u8; LENGTH_BYTES as usize];
        source.read_exact(&mut length).map_err(HeaderError::ReadHeader)?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > MAX_HEADER_BYTES {
            return Err(HeaderError::FitHeader { header_bytes });
        }
        if header_bytes > file_bytes - LENGTH_BYTES {
            return Err(HeaderError::CompleteHeader { header_bytes, file_bytes });
        }
        let data_start = LENGTH_BYTES + header_bytes;
        let mut raw = length.to_vec();
        raw.resize(data_start as usize, 0);
        source.read_exact(&mut raw[LENGTH_BYTES as usize..]).map_err(HeaderError::ReadHeader)?;
        let tensors = parse(&raw[LENGTH_BYTES as usize..], file_bytes - data_start)?;
        Ok((Self { tensors, data_start }, raw))
    }
}

impl TensorEntry {
    pub fn elements(&self) -> usize {
        ((self.end - self.start) / self.element.bytes()) as usize
    }

    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

fn parse(json: &[u8], data_bytes: u64) -> Result<Vec<TensorEntry>, HeaderError> {
    let described: DescribedTensors = serde_json::from_slice(json).map_err(HeaderError::ParseHeader)?;
    if described.overflowed {
        return Err(HeaderError::CountTensors);
    }
    let mut names = HashSet::with_capacity(described.tensors.len());
    for (name, _) in &described.tensors {
        if !names.insert(name.as_str()) {
            return Err(HeaderError::DistinguishTensors { name: name.clone() });
        }
    }
    drop(names);
    let mut tensors = described.tensors.into_iter().map(checked_entry).collect::<Result<Vec<_>, _>>()?;
    tensors.sort_by_key(|left| (left.start, left.end));
    check_cover(&tensors, data_bytes)?;
    Ok(tensors)
}

fn checked_entry((name, described): (String, Described)) -> Result<TensorEntry, HeaderError> {
    let Some(element) = ElementType::from_name(&described.dtype) else {
        let element = described.dtype.chars().take(40).collect();
        return Err(HeaderError::KnowElementType { name, element });
    };
    let [start, end] = described.data_offsets;
    if end < start {
        return Err(HeaderError::OrderOffsets { name });
    }
    let product = described.shape.iter().try_fold(element.bytes(), |bytes, &dimension| bytes.checked_mul(dimension));
    let Some(needed) = product.filter(|_| described.shape.len() <= MAX_DIMENSIONS) else {
        return Err(HeaderError::MeasureTensor { name });
    };
    if needed != end - start {
        return Err(HeaderError::MatchShape { name, span: end - start, needed });
    }
    let shape = described.shape.iter().map(|&dimension| usize::try_from(dimension)).collect::<Result<Vec<_>, _>>();
    let Ok(shape) = shape else {
        return Err(HeaderError::MeasureTensor { name });
    };
    Ok(TensorEntry { name, element, shape, start, end })
}

fn check_cover(tensors: &[TensorEntry], data_bytes: u64) -> Result<(), HeaderError> {
    let mut covered = 0;
    for tensor in tensors {
        if tensor.start < covered {
            return Err(HeaderError::SeparateTensors { name: tensor.name.clone() });
        }
        if tensor.start > covered {
            return Err(HeaderError::CoverData { name: tensor.name.clone() });
        }
        covered = tensor.end;
    }
    if covered == data_bytes { Ok(()) } else { Err(HeaderError::MatchFile { end: covered, data_bytes }) }
}

/// The number format of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementType {
    F64,
    F32,
    F16,
    Bf16,
    F8,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl ElementType {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "F64" => Self::F64,
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::Bf16,
            "F8_E4M3" | "F8_E5M2" => Self::F8,
            "I64" => Self::I64,
            "I32" => Self::I32,
            "I16" => Self::I16,
            "I8" => Self::I8,
            "U64" => Self::U64,
            "U32" => Self::U32,
            "U16" => Self::U16,
            "U8" => Self::U8,
            "BOOL" => Self::Bool,
            _ => return None,
        })
    }

    pub fn bytes(self) -> u64 {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F8 | Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// A map keeps the last of two equal keys; a list shows both.
#[derive(Default)]
struct DescribedTensors {
    tensors: Vec<(String, Described)>,
    overflowed: bool,
}

impl<'de> Deserialize<'de> for DescribedTensors {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DescribedTensorsVisitor)
    }
}

struct DescribedTensorsVisitor;

impl<'de> Visitor<'de> for DescribedTensorsVisitor {
    type Value = DescribedTensors;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut described = DescribedTensors::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA_KEY {
                map.next_value::<IgnoredAny>()?;
            } else if described.tensors.len() == MAX_TENSORS {
                described.overflowed = true;
                map.next_value::<IgnoredAny>()?;
            } else {
                described.tensors.push((name, map.next_value()?));
            }
        }
        Ok(described)
    }
}
