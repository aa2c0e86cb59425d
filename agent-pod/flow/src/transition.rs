//! The next record from an event (to be written; the signatures are agreed).
