//! What a person is asked, worked out before the document waits for the answer.

use crds::Approve;
use serde_json::{Value, json};

use super::{Executed, Failure, context::Context};
use crate::runtime::services::Services;

/// Longest text that is shown to a person; more is no question.
const MAX_REASON: usize = 64 << 10;

/// Stores the question, and what stands for an answer if none comes.
pub(super) async fn ask(services: &Services, approve: &Approve, context: &Context) -> Result<Executed, Failure> {
    let reason = match &approve.reason {
        Some(template) => {
            let mut text = context.render(services, "approve.reason", template).await?;
            text.truncate(text.floor_char_boundary(MAX_REASON));
            Value::String(text)
        }
        None => Value::Null,
    };
    let silence = approve.timeout.map(|timeout| format!("nobody answered within {timeout}"));
    Ok(Executed::Asks {
        request: services.put_json(&json!({"reason": reason})).await?,
        unanswered: services.put_json(&answer(true, None, silence.as_deref(), None)).await?,
    })
}

/// The output of a stage that a person has answered, for later stages and results.
pub(crate) fn answer(approved: bool, by: Option<&str>, comment: Option<&str>, at: Option<&str>) -> Value {
    json!({"approved": approved, "by": by, "comment": comment, "at": at})
}
