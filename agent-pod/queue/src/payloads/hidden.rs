//! What a store is asked with stays out of what is told of its errors: S3 names the key that it refuses, gives a token that has
//! expired back whole, and the client quotes its answers. Must not know who tells of errors.

use std::{error::Error as StdError, sync::Arc};

use object_store::{
    Error as StoreError,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
};

/// Shorter ones are words of every message; no store gives such out.
const SHORTEST: usize = 8;
/// What stands in the place of a secret.
const MASK: &str = "***";

/// The secrets of a store.
#[derive(Clone, Default)]
pub(super) struct Hidden(Arc<[String]>);

/// What an error says, without the secrets that it repeats.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

impl Hidden {
    /// Those that a client of S3 signs its requests with.
    pub(super) fn of(builder: &AmazonS3Builder) -> Self {
        let keys = [AmazonS3ConfigKey::AccessKeyId, AmazonS3ConfigKey::SecretAccessKey, AmazonS3ConfigKey::Token];
        let values = keys.iter().filter_map(|key| builder.get_config_value(key));
        Self(values.filter(|value| value.len() >= SHORTEST).collect())
    }

    /// The error as it may be told: as it is, where it repeats none of them.
    pub(super) fn told(&self, error: StoreError) -> Box<dyn StdError + Send + Sync> {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let said = cause.to_string();
            if !text.contains(&said) {
                text = format!("{text}: {said}");
            }
            source = cause.source();
        }
        if !self.0.iter().any(|secret| text.contains(secret)) {
            return Box::new(error);
        }
        Box::new(Told(self.0.iter().fold(text, |text, secret| text.replace(secret, MASK))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const TOKEN: &str = "FwoGZXIvYXdzEXAMPLE+token/with=signs";

    fn refused(said: &str) -> StoreError {
        StoreError::PermissionDenied { path: "ab/cd".to_owned(), source: said.to_owned().into() }
    }

    fn hidden() -> Hidden {
        Hidden::of(&AmazonS3Builder::new().with_access_key_id(KEY).with_secret_access_key(SECRET).with_token(TOKEN))
    }

    #[test]
    fn a_key_that_a_store_repeats_is_not_told() {
        let said = format!("<AWSAccessKeyId>{KEY}</AWSAccessKeyId><Token-0>{TOKEN}</Token-0> {SECRET} {KEY}");
        let told = hidden().told(refused(&said));
        for text in [told.to_string(), format!("{told:?}")] {
            assert!(text.contains("<AWSAccessKeyId>***</AWSAccessKeyId><Token-0>***</Token-0> *** ***"), "{text}");
            assert!(text.contains("ab/cd"), "what it is about stays: {text}");
        }
        assert!(told.source().is_none(), "the cause would say it again");
    }

    #[test]
    fn an_error_that_repeats_none_is_told_as_it_is() {
        let told = hidden().told(refused("<Code>AccessDenied</Code>"));
        assert!(told.to_string().contains("<Code>AccessDenied</Code>"), "{told}");
        assert!(told.source().is_some());
        // Too short to be a key.
        let short = Hidden::of(&AmazonS3Builder::new().with_access_key_id("denied"));
        assert!(short.told(refused("access denied")).to_string().contains("access denied"));
    }
}
