//! Whom a process calls of those that somebody else has written down: real servers on this machine, of which those that must
//! not be called count who comes.

mod fetched;
mod kinds;
mod world;
mod written;
