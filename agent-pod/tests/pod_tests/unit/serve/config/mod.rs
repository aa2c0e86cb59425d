//! Configuration files.

mod kubernetes;
