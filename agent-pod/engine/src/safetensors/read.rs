//! Loads tensors as f32 in one pass over the file: no second copy of the weights, no mapping that could change
//! underneath, and a digest of exactly the bytes that were used.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::header::{ElementType, Header, HeaderError, TensorEntry};

/// Large enough to hide the cost of a read, small enough to stay in the L2 cache while it is hashed and converted.
const CHUNK_BYTES: usize = 256 * 1024;

/// A tensor's values in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// What a file held.
#[derive(Debug)]
pub struct Weights {
    pub arrays: BTreeMap<String, Array>,
    /// BLAKE3 of the file, in hexadecimal.
    pub digest: String,
    /// Size of the file.
    pub bytes: u64,
}

/// Why weights could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The path is wrong or not readable: for the user.
    #[error("failed to open {path:?}")]
    Open { path: PathBuf, source: io::Error },
    /// The file is corrupt or hostile: pull it again.
    #[error("the weights {path:?} are not a valid safetensors file")]
    CheckHeader { path: PathBuf, source: HeaderError },
    #[error("failed to read tensor {name:?}")]
    ReadTensor { name: String, source: io::Error },
    /// The model stores weights that the encoder cannot use, such as integers.
    #[error("tensor {name:?} is of type {element:?}; f32, f16 and bf16 can be loaded")]
    ConvertTensor { name: String, element: ElementType },
    #[error("failed to widen tensor {name:?} to f32")]
    WidenTensor { name: String, source: candle_core::Error },
}

/// The checked header of a file.
pub fn header(path: &Path) -> Result<Header, LoadError> {
    let open = |source| LoadError::Open { path: path.to_owned(), source };
    let file = File::open(path).map_err(open)?;
    let bytes = file.metadata().map_err(open)?.len();
    let read = Header::read(&mut BufReader::new(file), bytes);
    let (header, _) = read.map_err(|source| LoadError::CheckHeader { path: path.to_owned(), source })?;
    Ok(header)
}

/// Loads the tensors whose name is `wanted`; the others are read for the digest alone.
pub fn load(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Weights, LoadError> {
    let open = |source| LoadError::Open { path: path.to_owned(), source };
    let file = File::open(path).map_err(open)?;
    let bytes = file.metadata().map_err(open)?.len();
    let mut source = BufReader::with_capacity(CHUNK_BYTES, file);
    let (header, raw) =
        Header::read(&mut source, bytes).map_err(|source| LoadError::CheckHeader { path: path.to_owned(), source })?;
    let mut reader = HashingReader { source, hasher: blake3::Hasher::new() };
    reader.hasher.update(&raw);
    drop(raw);
    let mut arrays = BTreeMap::new();
    for tensor in header.tensors {
        if wanted(&tensor.name) {
            let values = values_of(&tensor, &mut reader)?;
            arrays.insert(tensor.name, Array { shape: tensor.shape, values });
        } else {
            reader.skip(&tensor)?;
        }
    }
    Ok(Weights { arrays, digest: reader.hasher.finalize().to_hex().to_string(), bytes })
}

fn values_of(tensor: &TensorEntry, reader: &mut HashingReader) -> Result<Vec<f32>, LoadError> {
    match tensor.element {
        ElementType::F32 => {
            let mut values = Vec::with_capacity(tensor.elements());
            reader.each_chunk(tensor, |chunk| {
                let (words, _) = chunk.as_chunks::<4>();
                values.extend(words.iter().map(|&word| f32::from_le_bytes(word)));
            })?;
            Ok(values)
        }
        ElementType::F16 => widened(tensor, DType::F16, reader),
        ElementType::Bf16 => widened(tensor, DType::BF16, reader),
        element => Err(LoadError::ConvertTensor { name: tensor.name.clone(), element }),
    }
}

fn widened(tensor: &TensorEntry, from: DType, reader: &mut HashingReader) -> Result<Vec<f32>, LoadError> {
    let mut bytes = Vec::with_capacity(tensor.bytes() as usize);
    reader.each_chunk(tensor, |chunk| bytes.extend_from_slice(chunk))?;
    Tensor::from_raw_buffer(&bytes, from, &[tensor.elements()], &Device::Cpu)
        .and_then(|narrow| narrow.to_dtype(DType::F32)?.to_vec1())
        .map_err(|source| LoadError::WidenTensor { name: tensor.name.clone(), source })
}

struct HashingReader {
    source: BufReader<File>,
    hasher: blake3::Hasher,
}

impl HashingReader {
    /// Hands over a tensor's bytes in chunks that are a multiple of every element size.
    fn each_chunk(&mut self, tensor: &TensorEntry, mut take: impl FnMut(&[u8])) -> Result<(), LoadError> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut left = tensor.bytes() as usize;
        while left > 0 {
            let chunk = &mut buffer[..left.min(CHUNK_BYTES)];
            self.source
                .read_exact(chunk)
                .map_err(|source| LoadError::ReadTensor { name: tensor.name.clone(), source })?;
            self.hasher.update(chunk);
            take(chunk);
            left -= chunk.len();
        }
        Ok(())
    }

    fn skip(&mut self, tensor: &TensorEntry) -> Result<(), LoadError> {
        self.each_chunk(tensor, |_| {})
    }
}
