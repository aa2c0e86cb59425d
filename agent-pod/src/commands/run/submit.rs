//! Documents into the pipeline: payload first, then the record; as many at once as there are credits.

use bytes::Bytes;
use flow::{Cause, Submission};
use serde_json::Value;

use super::session::Session;
use crate::{
    Error, Result,
    commands::note,
    runtime::{
        driver::Submitted,
        inputs::{Input, Refusal},
    },
    stages::MAX_BYTES,
};

/// Tenant of everything that one person runs on their own machine.
pub(crate) const TENANT: &str = "local";

/// Who finds that a document cannot be taken: such a dead letter has no bytes that could be worked again.
pub(crate) const REFUSED_BY: &str = "submit";

/// Submits one document; whether it is to be waited for.
pub(crate) async fn submit(session: &Session, input: Input) -> Result<bool> {
    // What one parse stage refuses another may take.
    let parses = session.plan.stages().iter().filter_map(|stage| stage.spec.parse.as_ref());
    let limit = parses.map(|parse| parse.max_bytes.unwrap_or(MAX_BYTES)).max().unwrap_or(MAX_BYTES);
    let (bytes, refusal) = match input.read(limit) {
        Ok(bytes) => (bytes, None),
        Err(refusal) => (Bytes::new(), Some(refusal)),
    };
    let length = bytes.len() as u64;
    let ports = &session.services.ports;
    let action = || format!("submit \"{}\"", input.id);
    let payload = ports.payloads.put(bytes).await.map_err(Error::system(action()))?;
    let metadata = if input.metadata.is_empty() {
        None
    } else {
        let bytes = Bytes::from(Value::Object(input.metadata.clone()).to_string());
        Some(ports.payloads.put(bytes).await.map_err(Error::system(action()))?)
    };
    let spec = &session.plan.spec;
    let submission = Submission {
        document: input.id.clone(),
        tenant: TENANT.to_owned(),
        source: input.source.clone(),
        payload,
        metadata,
        priority: input.priority.unwrap_or(spec.priority_default),
        deadline: None,
        bytes: Some(length),
    };
    let cause = refusal.map(|Refusal { reason, message }| Cause {
        reason: reason.to_owned(),
        message,
        worker: REFUSED_BY.to_owned(),
        model: None,
    });
    let submitted = session.driver.submit(&session.plan, submission, cause).await.map_err(Error::system(action()))?;
    match submitted {
        Submitted::New => Ok(true),
        Submitted::Known { ended } => Ok(!ended),
        Submitted::OtherPayload => {
            note(&format!(
                "\"{}\" has changed since this run took it; the run goes on with what it took. Run without --resume to take it anew",
                input.id
            ));
            Ok(false)
        }
    }
}
