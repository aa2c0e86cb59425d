//! What users do with Docket, and what happens to it meanwhile.

#[path = "stories/bad_objects.rs"]
mod bad_objects;
#[path = "stories/chains.rs"]
mod chains;
#[path = "stories/credentials.rs"]
mod credentials;
#[path = "stories/deletion.rs"]
mod deletion;
#[path = "stories/devices.rs"]
mod devices;
#[path = "stories/documents.rs"]
mod documents;
#[path = "stories/gaps.rs"]
mod gaps;
#[path = "stories/kills.rs"]
mod kills;
#[path = "stories/letters.rs"]
mod letters;
#[path = "stories/pipelines.rs"]
mod pipelines;
#[path = "stories/pools.rs"]
mod pools;
#[path = "stories/samples.rs"]
mod samples;
#[path = "stories/scaling.rs"]
mod scaling;
#[path = "stories/tampering.rs"]
mod tampering;
#[path = "stories/tokens.rs"]
mod tokens;
