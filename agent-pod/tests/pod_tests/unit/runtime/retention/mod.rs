//! What is removed by itself, and what stays.

mod marks;
mod passes;
