//! A pipeline, compiled and checked (to be written; the signatures are agreed).
