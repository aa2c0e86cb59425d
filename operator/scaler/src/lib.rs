//! How many agents a pool needs.
