//! Tokens of ServiceAccounts.

mod form;
mod verdict;
