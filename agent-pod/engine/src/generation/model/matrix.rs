//! Weight matrices in candle's quantised formats, read from the file one piece at a time.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use candle_core::CpuStorage;
use candle_core::quantized::k_quants::{BlockQ8_0, QK8_0};
use candle_core::quantized::{GgmlDType, GgmlType, QuantizedType};

use crate::generation::{Error, WeightFormat};
use crate::gguf::{Header, TensorPlace};

/// Bytes converted at a time: large enough to be fast, small beside the weights.
const PIECE: usize = 4 << 20;

/// Rows of weights; multiplying gives one number a row.
pub(super) struct Matrix {
    name: String,
    storage: Box<dyn QuantizedType>,
    rows: usize,
    columns: usize,
}

impl Matrix {
    /// `out[i][r] = inputs[i] . row r`. Each input's result is the same whatever stands beside it.
    pub(super) fn multiply(&self, inputs: &[f32], out: &mut [f32]) -> Result<(), Error> {
        let count = inputs.len() / self.columns;
        self.storage
            .matmul_t((count, self.columns, self.rows), inputs, &mut out[..count * self.rows])
            .map_err(|source| self.failed(source))
    }

    /// The rows of the given numbers as floats.
    pub(super) fn rows_of(&self, numbers: &[u32]) -> Result<Vec<f32>, Error> {
        let storage = self.storage.embedding(numbers, self.rows, self.columns).map_err(|source| self.failed(source))?;
        self.floats(storage)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn bytes(&self) -> usize {
        self.storage.storage_size_in_bytes()
    }

    fn floats(&self, storage: CpuStorage) -> Result<Vec<f32>, Error> {
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
            return only.multiply(inputs, out);
        }
        let mut start = 0;
        for part in &self.parts {
            let count = inputs.len() / part.columns;
            spare.resize(count * part.rows, 0.0);
            part.multiply(inputs, spare)?;
            for (out, result) in out.chunks_exact_mut(self.rows).zip(spare.chunks_exact(part.rows)) {
                out[start..start + part.rows].copy_from_slice(result);
            }
            start += part.rows;
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
        let stored = places[0].1.format;
        let storage = match self.target(&places[0].1) {
            GgmlDType::Q8_0 if stored != GgmlDType::Q8_0 || places.iter().any(|(_, place)| place.format != stored) => {
                self.as_q8(&places)?
            }
            GgmlDType::F32 => self.as_floats(&places)?,
            _ => self.as_stored(&places)?,
        };
        Ok(Matrix { name: first.to_owned(), storage, rows, columns })
    }

    /// The format that a tensor is held in.
    fn target(&self, place: &TensorPlace) -> GgmlDType {
        let columns = place.shape.last().copied().unwrap_or(1);
        match (self.format, place.format) {
            (WeightFormat::F32, _) => GgmlDType::F32,
            (WeightFormat::AsStored, stored) => stored,
            // These have only scalar kernels on x86, or are wider than asked for.
            (
                WeightFormat::Q8_0,
                GgmlDType::Q4_1
                | GgmlDType::Q5_0
                | GgmlDType::Q5_1
                | GgmlDType::Q8_1
                | GgmlDType::F32
                | GgmlDType::F16
                | GgmlDType::BF16,
            ) if columns % QK8_0 == 0 => GgmlDType::Q8_0,
            (WeightFormat::Q8_0, stored) => stored,
        }
    }

    fn as_q8(&mut self, places: &[(&str, TensorPlace)]) -> Result<Box<dyn QuantizedType>, Error> {
        let elements: usize = places.iter().map(|(_, place)| place.shape.iter().product::<usize>()).sum();
        let mut blocks = vec![BlockQ8_0::zeros(); elements / QK8_0];
        let mut filled = 0;
        for (name, place) in places {
            self.pieces(name, place, |piece| {
                let count = piece.len() / QK8_0;
                BlockQ8_0::from_float(piece, &mut blocks[filled..filled + count]);
                filled += count;
            })?;
        }
        Ok(Box::new(blocks))
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
        let block_bytes = place.format.type_size();
        let piece_bytes = PIECE / block_bytes * block_bytes;
        let mut buffer = vec![0; piece_bytes.min(place.bytes)];
        let mut done = 0;
        while done < place.bytes {
            let count = piece_bytes.min(place.bytes - done);
            self.read(name, place.start + done as u64, &mut buffer[..count])?;
            let elements = count / block_bytes * place.format.block_size();
            let typed = place.format.from_data(Cow::Borrowed(&buffer[..count]));
            let failed = |source| Error::Tensor { name: name.to_owned(), format: place.format, source };
            match typed.dequantize(elements).map_err(failed)? {
                CpuStorage::F32(floats) => take(&floats),
                _ => return Err(failed(candle_core::Error::Msg("the numbers are not f32".to_owned()))),
            }
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
