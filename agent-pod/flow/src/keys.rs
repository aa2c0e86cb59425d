//! Names under which different programs find the same things: records of documents, and what processes say of themselves.

/// Begins the keys of all records of documents: `documents/PIPELINE/DOCUMENT`.
pub const DOCUMENTS: &str = "documents/";
/// Begins the keys of all feedback: `feedback/PIPELINE/…`.
pub const FEEDBACK: &str = "feedback/";
/// What lies apart for each pipeline, so that access can be limited to it and its end removes all of it.
pub const OF_ONE_PIPELINE: [&str; 2] = [DOCUMENTS, FEEDBACK];
/// Begins the keys of gateways' statuses; those of workers begin with the name of their pool, which never has a `_`.
pub const GATEWAYS: &str = "_gateways/";
/// Begins the keys of what the agents of a pool are told, `_orders/POOL`, among the statuses: it holds for as long as somebody
/// says it again. A [`crate::PoolOrders`].
pub const ORDERS: &str = "_orders/";
/// Begins the keys of what scaling has learned of a pool, `scaling/POOL`, among the records: it outlives who learned it.
pub const SCALING: &str = "scaling/";
/// Begins the keys of what scaling has decided for a pool of late, `decisions/POOL`, among the records.
pub const DECISIONS: &str = "decisions/";

/// What the operator that leads has said last before it removed something, among the records: one of before sees by it that it has
/// a successor.
pub const LEADER: &str = "leader";

/// Whether a status is an agent's: other keys begin with a `_`.
pub fn is_of_an_agent(key: &str) -> bool {
    !key.starts_with('_')
}
