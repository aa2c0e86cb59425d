//! The tests of the demonstration's documents, as one program: it is linked once, and its tests run side by side.

mod files;
mod normalise;
mod split;
mod truth;
