//! What all processes and the server that they share keep of results, and its removal.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{api::Api, refusal::Refusal, tokens::Caller};
use crate::{
    commands::cache::checked_json,
    error::chain,
    runtime::cache::{
        RedisSettings, Selection,
        inventory::{self, Holding},
        orders::{self, Answer},
        semantic::shadow::Checked,
    },
};

/// What is kept, where, and how often answers to nearly equal prompts were wrong.
pub(super) async fn stats(api: &Arc<Api>, caller: &Caller) -> Result<Value, Refusal> {
    if caller.tenant.is_some() || caller.pipelines.is_some() {
        let message = "the token is of one tenant or of some pipelines, and caches are shared by all";
        return Err(Refusal::Forbidden(message.to_owned()));
    }
    let processes = orders::tell(&api.ports).await?;
    let (redis, on_redis) = match &api.redis {
        Some(settings) => {
            let (holding, checked) =
                tokio::try_join!(inventory::on_redis(settings), inventory::checked_on_redis(settings))
                    .map_err(|error| unreachable(settings, &error))?;
            (Some(holding), Some(checked))
        }
        None => (None, None),
    };
    let checked = on_redis.unwrap_or_else(|| checked_by(&processes));
    Ok(answer(redis, &processes, Some(checked)))
}

/// Whose results a caller may remove: its own tenant's, or those that it asks for.
pub(super) fn tenant<'a>(caller: &'a Caller, asked: Option<&'a str>) -> Result<Option<&'a str>, Refusal> {
    if caller.pipelines.is_some() {
        let message = "the token is of some pipelines, and what is kept does not say of which it is";
        return Err(Refusal::Forbidden(message.to_owned()));
    }
    match (caller.tenant.as_deref(), asked) {
        (Some(own), Some(asked)) if own != asked => {
            Err(Refusal::Forbidden(format!("the token is of tenant \"{own}\", not \"{asked}\"")))
        }
        (own, asked) => Ok(own.or(asked)),
    }
}

/// Removes results everywhere: from the shared server, from the processes that are there, from those that come back.
pub(super) async fn clear(api: &Arc<Api>, selection: &Selection) -> Result<Value, Refusal> {
    let mut redis = match &api.redis {
        Some(settings) => Some(clear_redis(settings, selection).await?),
        None => None,
    };
    let processes = orders::forget(&api.ports, selection).await?;
    if let (Some(settings), Some(removed)) = (&api.redis, &mut redis) {
        // A process may have given the server what it had in its folder before it forgot that.
        *removed += clear_redis(settings, selection).await?;
    }
    Ok(answer(redis, &processes, None))
}

async fn clear_redis(settings: &RedisSettings, selection: &Selection) -> Result<Holding, Refusal> {
    inventory::clear_redis(settings, selection).await.map_err(|error| unreachable(settings, &error))
}

fn unreachable(settings: &RedisSettings, error: &dyn std::error::Error) -> Refusal {
    Refusal::Unavailable(format!("Redis at {} does not answer: {}", settings.address(), chain(error)))
}

/// The sum over processes, where no server sums it up.
fn checked_by(processes: &[Answer]) -> Checked {
    let number = |answer: &Answer, name: &str| {
        answer.statistics.as_ref().and_then(|statistics| statistics["semantic"][name].as_u64()).unwrap_or(0)
    };
    let sum = |name: &str| processes.iter().map(|answer| number(answer, name)).sum();
    Checked { checked: sum("checked"), wrong: sum("wrong") }
}

fn answer(redis: Option<Holding>, processes: &[Answer], checked: Option<Checked>) -> Value {
    let mut answer = Map::new();
    answer.insert("redis".to_owned(), json!(redis));
    answer.insert("processes".to_owned(), json!(processes));
    answer.extend(checked.map(|checked| ("checked".to_owned(), checked_json(checked))));
    Value::Object(answer)
}
