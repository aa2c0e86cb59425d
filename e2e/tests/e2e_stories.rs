//! What users do with Docket, and what happens to it meanwhile.

#[path = "stories/alone/mod.rs"]
mod alone;
#[path = "stories/bad_objects.rs"]
mod bad_objects;
#[path = "stories/canaries.rs"]
mod canaries;
#[path = "stories/credentials.rs"]
mod credentials;
#[path = "stories/deletion.rs"]
mod deletion;
#[path = "stories/deputy/mod.rs"]
mod deputy;
#[path = "stories/devices.rs"]
mod devices;
#[path = "stories/documents.rs"]
mod documents;
#[path = "stories/fetchers.rs"]
mod fetchers;
#[path = "stories/hardening.rs"]
mod hardening;
#[path = "stories/kills.rs"]
mod kills;
#[path = "stories/letters.rs"]
mod letters;
#[path = "stories/metrics.rs"]
mod metrics;
#[path = "stories/pipelines.rs"]
mod pipelines;
#[path = "stories/pools.rs"]
mod pools;
#[path = "stories/replacements.rs"]
mod replacements;
#[path = "stories/results.rs"]
mod results;
#[path = "stories/samples.rs"]
mod samples;
#[path = "stories/scaling.rs"]
mod scaling;
#[path = "stories/tampering.rs"]
mod tampering;
