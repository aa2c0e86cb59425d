//! stub
#[derive(Clone)]
pub struct Config {
    pub agent_image: String,
    pub image_pull_policy: String,
    pub nats_servers: Vec<String>,
    pub nats_replicas: u32,
    pub nats_credentials: Option<Credentials>,
    pub payloads: String,
    pub models_in_image: bool,
    pub gateway_replicas: u32,
}
#[derive(Clone)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}
