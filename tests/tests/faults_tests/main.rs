//! The tests of the campaign of faults, as one program: the campaign itself, short, and what it is made of.

mod checker;
mod ledger;
mod measure;
mod proxy;
mod schedule;
mod short;
