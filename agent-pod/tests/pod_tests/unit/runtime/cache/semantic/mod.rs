//! Answers to nearly equal prompts: what decides that they are near enough.

mod guard;
mod index;
mod shadow;
