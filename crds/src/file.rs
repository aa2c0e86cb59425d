//! Reads files of resources (to be written).
