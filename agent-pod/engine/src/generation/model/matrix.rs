//! Weight matrices, read from the file one piece at a time: packed to 8 bits, or in candle's formats as stored.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use candle_core::CpuStorage;
use candle_core::quantized::{GgmlDType, QuantizedType};

use crate::generation::{Error, WeightFormat};
use crate::gguf::{Header, TensorPlace};

use super::packed::{BLOCK, Packed};

/// Bytes converted at a time: large enough to be fast, small beside the weights.
const PIECE: usize = 4 << 20;

/// Rows of weights; multiplying gives one number a row.
pub(super) enum Matrix {
    Packed(Packed),
    Stored(Stored),
}

/// A matrix in one of candle's formats.
pub(super) struct Stored {
    name: String,
    storage: Box<dyn QuantizedType>,
    rows: usize,
    columns: usize,
}

impl Matrix {
    /// `out[i][r] = inputs[i] . row r`. Each input's result is the same whatever stands beside it.
    pub(super) fn multiply(&self, inputs: &[f32], out: &mut [f32], spare: &mut Vec<f32>) -> Result<(), Error> {
        match self {
            Self::Packed(packed) => {
                packed.multiply(inputs, out, spare);
                Ok(())
            }
            Self::Stored(stored) => stored.multiply(inputs, out),
        }
    }

    /// The rows of the given numbers as floats.
    pub(super) fn rows_of(&self, numbers: &[u32]) -> Result<Vec<f32>, Error> {
        match self {
            Self::Packed(packed) => {
                packed.rows_of(numbers).ok_or_else(|| Error::Step("a token is not in the vocabulary".to_owned()))
            }
            Self::Stored(stored) => stored.rows_of(numbers),
        }
    }

    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Packed(packed) => packed.rows(),
            Self::Stored(stored) => stored.rows,
        }
    }

    pub(super) fn columns(&self) -> usize {
        match self {
            Self::Packed(packed) => packed.columns(),
            Self::Stored(stored) => stored.columns,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Packed(packed) => packed.bytes(),
            Self::Stored(stored) => stored.storage.storage_size_in_bytes(),
        }
    }
}

impl Stored {
    fn multiply(&self, inputs: &[f32], out: &mut [f32]) -> Result<(), Error> {
        let count = inputs.len() / self.columns;
        self.storage
            .matmul_t((count, self.columns, self.rows), inputs, &mut out[..count * self.rows])
            .map_err(|source| self.failed(source))
    }

    fn rows_of(&self, numbers: &[u32]) -> Result<Vec<f32>, Error> {
        let storage = self.storage.embedding(numbers, self.rows, self.columns).map_err(|source| self.failed(source))?;
        match storage {
            CpuStorage::F32(floats) => Ok(floats),
            _ => Err(self.failed(candle_core::Error::Msg("the result is not f32".to_owned()))),
        }
    }

    fn failed(&self, source: candle_core::Error) -> Error {
        Error::Tensor { name: self.name.clone(), format: self.storage.dtype(), source }
    }
}

/// Matrices over the same input, side by side: one product where their formats agree, several where not.
pub(super) struct Stack {
    parts: Vec<Matrix>,
    rows: usize,
}

impl Stack {
    /// As [`Matrix::multiply`] with the parts' results next to each other in every row of `out`.
    pub(super) fn multiply(&self, inputs: &[f32], out: &mut [f32], spare: &mut Vec<f32>) -> Result<(), Error> {
        if let [only] = self.parts.as_slice() {
            return only.multiply(inputs, out, spare);
        }
        let mut start = 0;
        for part in &self.parts {
            let (count, rows) = (inputs.len() / part.columns(), part.rows());
            let mut results = vec![0.0; count * rows];
            part.multiply(inputs, &mut results, spare)?;
            for (out, result) in out.chunks_exact_mut(self.rows).zip(results.chunks_exact(rows)) {
                out[start..start + rows].copy_from_slice(result);
            }
            start += rows;
        }
        Ok(())
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(Matrix::bytes).sum()
    }
}

/// How a tensor is held.
#[derive(PartialEq)]
enum Target {
    Packed,
    Floats,
    Stored(GgmlDType),
}

/// Reads tensors by name and shape.
pub(super) struct Loader<'a> {
    header: &'a Header,
    file: File,
    format: WeightFormat,
}

impl<'a> Loader<'a> {
    pub(super) fn new(header: &'a Header, file: File, format: WeightFormat) -> Self {
        Self { header, file, format }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.header.tensors.contains_key(name)
    }

    pub(super) fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix, Error> {
        self.stored_together(&[(name, rows)], columns)
    }

    /// Matrices of the given names and rows that share their input.
    pub(super) fn stack(&mut self, parts: &[(&str, usize)], columns: usize) -> Result<Stack, Error> {
        let rows = parts.iter().map(|(_, rows)| rows).sum();
        let mut formats = Vec::new();
        for (name, _) in parts {
            formats.push(self.target(self.header.tensor(name).map_err(Error::Header)?));
        }
        let alike = formats.iter().all(|format| *format == formats[0]);
        let matrices = if alike {
            vec![self.stored_together(parts, columns)?]
        } else {
            let single = parts.iter().map(|(name, rows)| self.matrix(name, *rows, columns));
            single.collect::<Result<_, _>>()?
        };
        Ok(Stack { parts: matrices, rows })
    }

    /// Bytes that matrices which share their input will take in memory, as [`Self::stack`] holds them.
    pub(super) fn bytes_of(&self, parts: &[(&str, usize)], columns: usize) -> Result<usize, Error> {
        let mut places = Vec::new();
        for (name, rows) in parts {
            places.push((*rows, self.place(name, &[*rows, columns])?));
        }
        let target = self.target(&places[0].1);
        if places.iter().any(|(_, place)| self.target(place) != target) {
            return parts.iter().map(|part| self.bytes_of(&[*part], columns)).sum();
        }
        let rows: usize = places.iter().map(|(rows, _)| rows).sum();
        Ok(match target {
            Target::Packed => Packed::bytes_of(rows, columns),
            Target::Floats => rows * columns * size_of::<f32>(),
            Target::Stored(_) => places.iter().map(|(_, place)| place.bytes).sum(),
        })
    }

    /// A tensor of one dimension as floats: norms and rotation factors.
    pub(super) fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, Error> {
        let place = self.place(name, &[length])?;
        let mut floats = Vec::with_capacity(length);
        self.pieces(name, &place, |piece| {
            floats.extend_from_slice(piece);
        })?;
        Ok(floats)
    }

    fn stored_together(&mut self, parts: &[(&str, usize)], columns: usize) -> Result<Matrix, Error> {
        let rows = parts.iter().map(|(_, rows)| rows).sum();
        let (first, _) = parts[0];
        let mut places = Vec::new();
        for (name, rows) in parts {
            places.push((*name, self.place(name, &[*rows, columns])?));
        }
        let storage = match self.target(&places[0].1) {
            Target::Packed => return Ok(Matrix::Packed(self.packed(&places, rows, columns)?)),
            Target::Floats => self.as_floats(&places)?,
            Target::Stored(_) => self.as_stored(&places)?,
        };
        Ok(Matrix::Stored(Stored { name: first.to_owned(), storage, rows, columns }))
    }

    /// How a tensor is held.
    fn target(&self, place: &TensorPlace) -> Target {
        let columns = place.shape.last().copied().unwrap_or(1);
        match (self.format, place.format) {
            (WeightFormat::F32, _) => Target::Floats,
            // Block formats of less than 8 bits with fast kernels would only grow.
            (
                WeightFormat::Q8_0,
                GgmlDType::Q8_0
                | GgmlDType::Q8_1
                | GgmlDType::Q4_1
                | GgmlDType::Q5_0
                | GgmlDType::Q5_1
                | GgmlDType::F32
                | GgmlDType::F16
                | GgmlDType::BF16,
            ) if columns % BLOCK == 0 => Target::Packed,
            (_, stored) => Target::Stored(stored),
        }
    }

    fn packed(&mut self, places: &[(&str, TensorPlace)], rows: usize, columns: usize) -> Result<Packed, Error> {
        let mut packed = Packed::new(rows, columns);
        let mut number = 0;
        for (name, place) in places {
            if place.format == GgmlDType::Q8_0 {
                self.raw_pieces(name, place, |bytes| {
                    for block in bytes.chunks_exact(place.format.type_size()) {
                        packed.set_stored_block(number, block);
                        number += 1;
                    }
                    Ok(())
                })?;
                continue;
            }
            self.pieces(name, place, |piece| {
                for block in piece.chunks_exact(BLOCK) {
                    packed.set_block(number, block);
                    number += 1;
                }
            })?;
        }
        Ok(packed)
    }

    fn as_floats(&mut self, places: &[(&str, TensorPlace)]) -> Result<Box<dyn QuantizedType>, Error> {
        let mut floats: Vec<f32> = Vec::new();
        for (name, place) in places {
            self.pieces(name, place, |piece| floats.extend_from_slice(piece))?;
        }
        Ok(Box::new(floats))
    }

    fn as_stored(&mut self, places: &[(&str, TensorPlace)]) -> Result<Box<dyn QuantizedType>, Error> {
        let mut bytes = vec![0; places.iter().map(|(_, place)| place.bytes).sum()];
        let mut start = 0;
        for (name, place) in places {
            self.read(name, place.start, &mut bytes[start..start + place.bytes])?;
            start += place.bytes;
        }
        Ok(places[0].1.format.from_data(Cow::Borrowed(&bytes)))
    }

    /// Hands a tensor's numbers over as floats, whole blocks at a time and in order.
    fn pieces(&mut self, name: &str, place: &TensorPlace, mut take: impl FnMut(&[f32])) -> Result<(), Error> {
        let format = place.format;
        let failed = |source| Error::Tensor { name: name.to_owned(), format, source };
        self.raw_pieces(name, place, |bytes| {
            let elements = bytes.len() / format.type_size() * format.block_size();
            match format.from_data(Cow::Borrowed(bytes)).dequantize(elements).map_err(failed)? {
                CpuStorage::F32(floats) => take(&floats),
                _ => return Err(failed(candle_core::Error::Msg("the numbers are not f32".to_owned()))),
            }
            Ok(())
        })
    }

    /// Hands a tensor's bytes over, whole blocks at a time and in order.
    fn raw_pieces(
        &mut self,
        name: &str,
        place: &TensorPlace,
        mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Whole blocks of the format, and of 32 numbers where its own blocks are single numbers.
        let unit = place.format.type_size() * BLOCK;
        let piece_bytes = PIECE / unit * unit;
        let mut buffer = vec![0; piece_bytes.min(place.bytes)];
        let mut done = 0;
        while done < place.bytes {
            let count = piece_bytes.min(place.bytes - done);
            self.read(name, place.start + done as u64, &mut buffer[..count])?;
            take(&buffer[..count])?;
            done += count;
        }
        Ok(())
    }

    fn read(&mut self, name: &str, start: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let failed = |source| Error::ReadTensor { name: name.to_owned(), source };
        self.file.seek(SeekFrom::Start(start)).map_err(failed)?;
        self.file.read_exact(buffer).map_err(failed)
    }

    fn place(&self, name: &str, expected: &[usize]) -> Result<TensorPlace, Error> {
        let place = self.header.tensor(name).map_err(Error::Header)?;
        if place.shape != expected {
            return Err(Error::TensorShape {
                name: name.to_owned(),
                found: place.shape.clone(),
                expected: expected.to_vec(),
            });
        }
        Ok(place.clone())
    }
}
