//! Of commands: what they read and what they print.

mod client;
