//! Reads a GGUF file's header with every count, length, type and place checked, before a byte of it is used.
//! Knows the format and its limits, nothing of models.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::quantized::GgmlDType;

/// Longest text in a header; chat templates and vocabulary entries are far below.
const LONGEST_STRING: u64 = 16 << 20;
/// The largest vocabularies hold about 300,000 tokens, with as many scores, types and merges beside.
const MOST_ARRAY_ELEMENTS: u64 = 4 << 20;
const MOST_METADATA_ENTRIES: u64 = 1 << 16;
const MOST_TENSORS: u64 = 1 << 16;
/// The format's own limit.
const MOST_DIMENSIONS: u32 = 4;
/// A header larger than this is no vocabulary but an attack on memory.
const LARGEST_HEADER: u64 = 256 << 20;
const DEFAULT_ALIGNMENT: u64 = 32;
const LARGEST_ALIGNMENT: u64 = 1 << 20;

/// Why a GGUF file was refused. All but `Open` and `Read` mean that the file is damaged, hostile or not GGUF:
/// whoever chose the model must supply another file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to open model file \"{path}\"")]
    Open { path: String, source: std::io::Error },
    #[error("failed to read the model file at byte {position}")]
    Read { position: u64, source: std::io::Error },
    #[error("the file is not GGUF: it begins with {found:02x?}")]
    Magic { found: [u8; 4] },
    #[error("GGUF version {0} is not supported, only 2 and 3")]
    Version(u32),
    #[error("the file ends inside its header, at byte {position}")]
    Truncated { position: u64 },
    #[error("{what} is {value}, more than {limit}")]
    TooLarge { what: &'static str, value: u64, limit: u64 },
    #[error("unknown value type {kind} of \"{key}\"")]
    ValueType { key: String, kind: u32 },
    #[error("\"{key}\" is an array of arrays")]
    NestedArray { key: String },
    #[error("\"{key}\" is neither true nor false but {found}")]
    Bool { key: String, found: u8 },
    #[error("a name in the header is not UTF-8, at byte {position}")]
    Name { position: u64 },
    #[error("\"{0}\" appears twice in the header")]
    Duplicate(String),
    #[error("general.alignment is {0}, not a power of two from 8")]
    Alignment(u64),
    #[error("tensor \"{name}\" has dimensions {dimensions:?}, which no tensor can have")]
    Dimensions { name: String, dimensions: Vec<u64> },
    #[error("tensor \"{name}\" has the unknown number format {kind}")]
    Format { name: String, kind: u32 },
    #[error("tensor \"{name}\" lies at bytes {start}..{end} of a file of {length} bytes")]
    OutsideFile { name: String, start: u64, end: u64, length: u64 },
    #[error("tensor \"{name}\" starts at {offset}, which is no multiple of the alignment {alignment}")]
    Unaligned { name: String, offset: u64, alignment: u64 },
    #[error("tensors \"{first}\" and \"{second}\" overlap")]
    Overlap { first: String, second: String },
    #[error("the model file has no \"{0}\"")]
    Missing(String),
    #[error("\"{key}\" of the model file is not {expected}")]
    WrongType { key: String, expected: &'static str },
}

/// A metadata value. Arrays are kept by kind, so that a vocabulary costs no more than its text.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
}

/// Where a tensor lies in the file, proven to lie inside it and to overlap no other.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorPlace {
    pub format: GgmlDType,
    /// Outermost first: rows before columns.
    pub shape: Vec<usize>,
    /// From the start of the file.
    pub start: u64,
    pub bytes: usize,
}

/// A checked header.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    pub metadata: BTreeMap<String, Value>,
    pub tensors: BTreeMap<String, TensorPlace>,
}

/// Reads and checks the header of the file at `path`.
pub fn read_file(path: &Path) -> Result<(Header, File), Error> {
    let open = || File::open(path);
    let file = open().map_err(|source| Error::Open { path: path.display().to_string(), source })?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let header = read_header(&mut reader)?;
    Ok((header, reader.into_inner()))
}

/// Reads and checks a header. Bounded in time and memory by the constants above, whatever the bytes are.
pub fn read_header(source: &mut (impl Read + Seek)) -> Result<Header, Error> {
    let mut reader = Reader::new(source)?;
    let magic: [u8; 4] = reader.bytes()?;
    if &magic != b"GGUF" {
        return Err(Error::Magic { found: magic });
    }
    let version = reader.u32()?;
    if !(2..=3).contains(&version) {
        return Err(Error::Version(version));
    }
    let tensor_count = at_most("the number of tensors", reader.u64()?, MOST_TENSORS)?;
    let entry_count = at_most("the number of metadata entries", reader.u64()?, MOST_METADATA_ENTRIES)?;
    let mut metadata = BTreeMap::new();
    for _ in 0..entry_count {
        let key = reader.name()?;
        let kind = reader.u32()?;
        let value = reader.value(&key, kind)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(Error::Duplicate(key));
        }
    }
    let mut described = Vec::new();
    for _ in 0..tensor_count {
        described.push(reader.tensor()?);
    }
    let alignment = alignment(&metadata)?;
    let data_start = reader.position.next_multiple_of(alignment);
    let tensors = places(described, data_start, alignment, reader.length)?;
    Ok(Header { metadata, tensors })
}

impl Header {
    pub fn text(&self, key: &str) -> Result<&str, Error> {
        match self.value(key)? {
            Value::Text(text) => Ok(text),
            _ => Err(Error::WrongType { key: key.to_owned(), expected: "a text" }),
        }
    }

    pub fn integer(&self, key: &str) -> Result<u64, Error> {
        match self.value(key)? {
            Value::Unsigned(value) => Ok(*value),
            Value::Signed(value) if *value >= 0 => Ok(value.unsigned_abs()),
            _ => Err(Error::WrongType { key: key.to_owned(), expected: "a whole number" }),
        }
    }

    pub fn float(&self, key: &str) -> Result<f64, Error> {
        match self.value(key)? {
            Value::Float(value) => Ok(*value),
            _ => Err(Error::WrongType { key: key.to_owned(), expected: "a floating point number" }),
        }
    }

    pub fn bool(&self, key: &str) -> Result<bool, Error> {
        match self.value(key)? {
            Value::Bool(value) => Ok(*value),
            _ => Err(Error::WrongType { key: key.to_owned(), expected: "true or false" }),
        }
    }

    pub fn texts(&self, key: &str) -> Result<&[String], Error> {
        match self.value(key)? {
            Value::Texts(texts) => Ok(texts),
            _ => Err(Error::WrongType { key: key.to_owned(), expected: "a list of texts" }),
        }
    }

    pub fn integers(&self, key: &str) -> Result<&[i64], Error> {
        match self.value(key)? {
            Value::Integers(integers) => Ok(integers),
            _ => Err(Error::WrongType { key: key.to_owned(), expected: "a list of whole numbers" }),
        }
    }

    pub fn floats(&self, key: &str) -> Result<&[f32], Error> {
        match self.value(key)? {
            Value::Floats(floats) => Ok(floats),
            _ => Err(Error::WrongType { key: key.to_owned(), expected: "a list of floating point numbers" }),
        }
    }

    pub fn tensor(&self, name: &str) -> Result<&TensorPlace, Error> {
        self.tensors.get(name).ok_or_else(|| Error::Missing(name.to_owned()))
    }

    fn value(&self, key: &str) -> Result<&Value, Error> {
        self.metadata.get(key).ok_or_else(|| Error::Missing(key.to_owned()))
    }
}

/// `None` where the key is absent, an error where it is present but wrong.
pub fn optional<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(Error::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

struct Reader<'a, R> {
    source: &'a mut R,
    position: u64,
    length: u64,
    array_elements: u64,
}

struct DescribedTensor {
    name: String,
    format: GgmlDType,
    shape: Vec<usize>,
    offset: u64,
    bytes: u64,
}

impl<'a, R: Read + Seek> Reader<'a, R> {
    fn new(source: &'a mut R) -> Result<Self, Error> {
        let failed = |source| Error::Read { position: 0, source };
        let length = source.seek(SeekFrom::End(0)).map_err(failed)?;
        source.seek(SeekFrom::Start(0)).map_err(failed)?;
        Ok(Self { source, position: 0, length, array_elements: 0 })
    }

    /// Claims `count` bytes of the header before anything of that size is allocated.
    fn claim(&mut self, count: u64) -> Result<(), Error> {
        let end = self.position.saturating_add(count);
        if end > self.length {
            return Err(Error::Truncated { position: self.position });
        }
        at_most("the header's size", end, LARGEST_HEADER)?;
        self.position = end;
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        let position = self.position;
        self.claim(buffer.len() as u64)?;
        self.source.read_exact(buffer).map_err(|source| Error::Read { position, source })
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn string(&mut self) -> Result<Vec<u8>, Error> {
        let length = at_most("a text's length", self.u64()?, LONGEST_STRING)?;
        if length > self.length - self.position {
            return Err(Error::Truncated { position: self.position });
        }
        let mut buffer = vec![0; length as usize];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    fn name(&mut self) -> Result<String, Error> {
        let position = self.position;
        String::from_utf8(self.string()?).map_err(|_| Error::Name { position })
    }

    fn text(&mut self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.string()?).into_owned())
    }

    fn truth(&mut self, key: &str) -> Result<bool, Error> {
        match self.bytes::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [found] => Err(Error::Bool { key: key.to_owned(), found }),
        }
    }

    fn value(&mut self, key: &str, kind: u32) -> Result<Value, Error> {
        Ok(match kind {
            0 | 2 | 4 | 10 => Value::Unsigned(self.unsigned(kind)?),
            1 | 3 | 5 | 11 => Value::Signed(self.signed(kind)?),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.bytes()?))),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            7 => Value::Bool(self.truth(key)?),
            8 => Value::Text(self.text()?),
            9 => self.array(key)?,
            kind => return Err(Error::ValueType { key: key.to_owned(), kind }),
        })
    }

    fn unsigned(&mut self, kind: u32) -> Result<u64, Error> {
        Ok(match kind {
            0 => u64::from(self.bytes::<1>()?[0]),
            2 => u64::from(u16::from_le_bytes(self.bytes()?)),
            4 => u64::from(self.u32()?),
            _ => self.u64()?,
        })
    }

    fn signed(&mut self, kind: u32) -> Result<i64, Error> {
        Ok(match kind {
            1 => i64::from(i8::from_le_bytes(self.bytes()?)),
            3 => i64::from(i16::from_le_bytes(self.bytes()?)),
            5 => i64::from(i32::from_le_bytes(self.bytes()?)),
            _ => i64::from_le_bytes(self.bytes()?),
        })
    }

    fn array(&mut self, key: &str) -> Result<Value, Error> {
        let kind = self.u32()?;
        let count = at_most("an array's length", self.u64()?, MOST_ARRAY_ELEMENTS)?;
        self.array_elements += count;
        at_most("the number of array elements", self.array_elements, MOST_ARRAY_ELEMENTS)?;
        // The elements are pushed as they are read: the length alone must never decide an allocation.
        let count = 0..count;
        Ok(match kind {
            0 | 2 | 4 | 10 => {
                let wide = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
                Value::Integers(count.map(|_| self.unsigned(kind).map(wide)).collect::<Result<_, _>>()?)
            }
            1 | 3 | 5 | 11 => Value::Integers(count.map(|_| self.signed(kind)).collect::<Result<_, _>>()?),
            6 => {
                let mut floats = Vec::new();
                for _ in count {
                    floats.push(f32::from_le_bytes(self.bytes()?));
                }
                Value::Floats(floats)
            }
            12 => {
                let mut floats = Vec::new();
                for _ in count {
                    floats.push(f64::from_le_bytes(self.bytes()?) as f32);
                }
                Value::Floats(floats)
            }
            7 => Value::Bools(count.map(|_| self.truth(key)).collect::<Result<_, _>>()?),
            8 => {
                let mut texts = Vec::new();
                for _ in count {
                    texts.push(self.text()?);
                }
                Value::Texts(texts)
            }
            9 => return Err(Error::NestedArray { key: key.to_owned() }),
            kind => return Err(Error::ValueType { key: key.to_owned(), kind }),
        })
    }

    fn tensor(&mut self) -> Result<DescribedTensor, Error> {
        let name = self.name()?;
        let rank = self.u32()?;
        at_most("a tensor's number of dimensions", u64::from(rank), u64::from(MOST_DIMENSIONS))?;
        let mut dimensions = Vec::new();
        for _ in 0..rank {
            dimensions.push(self.u64()?);
        }
        let kind = self.u32()?;
        let offset = self.u64()?;
        let format = format(kind).ok_or_else(|| Error::Format { name: name.clone(), kind })?;
        // The file stores the innermost dimension first.
        dimensions.reverse();
        let Some((shape, bytes)) = size(&dimensions, format) else {
            return Err(Error::Dimensions { name, dimensions });
        };
        Ok(DescribedTensor { name, format, shape, offset, bytes })
    }
}

fn at_most(what: &'static str, value: u64, limit: u64) -> Result<u64, Error> {
    if value > limit { Err(Error::TooLarge { what, value, limit }) } else { Ok(value) }
}

/// The shape and the bytes of a tensor, `None` where they overflow or the rows are no whole blocks.
fn size(dimensions: &[u64], format: GgmlDType) -> Option<(Vec<usize>, u64)> {
    let innermost = *dimensions.last()?;
    let block = format.block_size() as u64;
    if dimensions.contains(&0) || innermost % block != 0 {
        return None;
    }
    let elements = dimensions.iter().try_fold(1u64, |product, &next| product.checked_mul(next))?;
    let bytes = (elements / block).checked_mul(format.type_size() as u64)?;
    let shape = dimensions.iter().map(|&next| usize::try_from(next).ok()).collect::<Option<_>>()?;
    usize::try_from(bytes).ok()?;
    Some((shape, bytes))
}

fn format(kind: u32) -> Option<GgmlDType> {
    Some(match kind {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        9 => GgmlDType::Q8_1,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        15 => GgmlDType::Q8K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, Error> {
    let alignment = match metadata.get("general.alignment") {
        None => return Ok(DEFAULT_ALIGNMENT),
        Some(Value::Unsigned(alignment)) => *alignment,
        Some(Value::Signed(alignment)) => u64::try_from(*alignment).unwrap_or(0),
        Some(_) => 0,
    };
    if alignment.is_power_of_two() && (8..=LARGEST_ALIGNMENT).contains(&alignment) {
        Ok(alignment)
    } else {
        Err(Error::Alignment(alignment))
    }
}

fn places(
    mut described: Vec<DescribedTensor>,
    data_start: u64,
    alignment: u64,
    length: u64,
) -> Result<BTreeMap<String, TensorPlace>, Error> {
    described.sort_by_key(|tensor| tensor.offset);
    let mut tensors = BTreeMap::new();
    let mut previous: Option<(String, u64)> = None;
    for DescribedTensor { name, format, shape, offset, bytes } in described {
        if offset % alignment != 0 {
            return Err(Error::Unaligned { name, offset, alignment });
        }
        let start = data_start.saturating_add(offset);
        let end = start.saturating_add(bytes);
        if end > length {
            return Err(Error::OutsideFile { name, start, end, length });
        }
        if let Some((first, _)) = previous.take_if(|(_, previous_end)| *previous_end > start) {
            return Err(Error::Overlap { first, second: name });
        }
        previous = Some((name.clone(), end));
        let place = TensorPlace { format, shape, start, bytes: bytes as usize };
        if tensors.insert(name.clone(), place).is_some() {
            return Err(Error::Duplicate(name));
        }
    }
    Ok(tensors)
}
