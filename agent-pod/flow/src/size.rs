//! Classes of documents by their size: what is known of a task before it is worked, by which its time can be guessed.

/// Upper bounds of the classes in bytes, from a letter to a book; one more class is above them all. They are counted from 1.
const BOUNDS: [u64; 4] = [4 << 10, 32 << 10, 256 << 10, 2 << 20];

/// The class of a document of so many bytes; 0 where nobody has counted them.
pub fn size_class(bytes: Option<u64>) -> u8 {
    bytes.map_or(0, |bytes| BOUNDS.partition_point(|bound| *bound < bytes) as u8 + 1)
}
