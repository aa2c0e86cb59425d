//! How long a task is in work, from its tokens: `a+b*input+d*output`. Knows not where tokens come from.

use super::trace::LONGEST;

/// Seconds of service: a constant, and so much for each token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Service {
    /// Seconds whatever the size.
    pub constant: f64,
    /// Seconds for each token that is read.
    pub per_input: f64,
    /// Seconds for each token that is written.
    pub per_output: f64,
}

/// Why a formula cannot be used; whoever wrote it can fix it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A term is none of those that are known.
    #[error("\"{term}\" in the service formula is not NUMBER, NUMBER*input or NUMBER*output")]
    ReadTerm {
        /// The term.
        term: String,
    },
    /// A factor is negative, more than a year or not a number.
    #[error("\"{term}\" in the service formula must be a number of seconds from 0 to a year")]
    BadFactor {
        /// The term.
        term: String,
    },
    /// Tasks that take no time need no pods.
    #[error("\"{formula}\" is 0 seconds for every task")]
    Nothing {
        /// The formula.
        formula: String,
    },
}

impl Service {
    /// Reads a formula such as `0.5+0.0005*input+0.02*output`.
    ///
    /// # Errors
    /// Names the term that is not understood.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut service = Self { constant: 0.0, per_input: 0.0, per_output: 0.0 };
        for term in text.split('+').map(str::trim) {
            let (factor, what) = term.split_once('*').map_or((term, ""), |(factor, what)| (factor.trim(), what.trim()));
            let place = match what {
                "" if !term.contains('*') => &mut service.constant,
                "input" => &mut service.per_input,
                "output" => &mut service.per_output,
                _ => return Err(Error::ReadTerm { term: term.to_owned() }),
            };
            let value: f64 = factor.parse().map_err(|_| Error::ReadTerm { term: term.to_owned() })?;
            // The comparison is false for NaN, so NaN is refused.
            if !(0.0..=LONGEST).contains(&value) {
                return Err(Error::BadFactor { term: term.to_owned() });
            }
            *place += value;
        }
        if service.constant + service.per_input + service.per_output <= 0.0 {
            return Err(Error::Nothing { formula: text.to_owned() });
        }
        Ok(service)
    }

    /// Seconds for a task of so many tokens.
    pub fn seconds(&self, input: f64, output: f64) -> f64 {
        self.constant + self.per_input * input + self.per_output * output
    }
}
