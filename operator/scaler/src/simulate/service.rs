//! How long a task is in work, from its tokens: `a+b*input+d*output`. Knows not where tokens come from.

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
    /// A factor is negative, infinite or not a number.
    #[error("\"{term}\" in the service formula must be a number of seconds that is not negative")]
    BadFactor {
        /// The term.
        term: String,
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
            if !value.is_finite() || value < 0.0 {
                return Err(Error::BadFactor { term: term.to_owned() });
            }
            *place += value;
        }
        Ok(service)
    }

    /// Seconds for a task of so many tokens.
    pub fn seconds(&self, input: f64, output: f64) -> f64 {
        self.constant + self.per_input * input + self.per_output * output
    }
}
