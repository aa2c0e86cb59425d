//! The interface that clients of OpenAI speak.

mod admission;
mod base64;
mod chat;
mod directory;
mod embeddings;
mod fields;
mod refusal;
mod rerank;
mod workers;
