//! The log, on standard error.

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// Begins logging; once. `filter` has the form of RUST_LOG.
pub fn begin(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        format!("--log (RUST_LOG) \"{filter}\" is no filter ({error}): write such as info,operator=debug")
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
