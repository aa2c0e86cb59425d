//! How much fits into an object that holds something of many: one that is too large is refused by the API server, and with it what
//! all of them wait for.

/// Most bytes of an object's values. The API server takes 1 MiB, of which this leaves some to what is not counted here.
pub const ROOM: usize = 1_000_000;
