//! stub
pub struct Events;
impl Events {
    pub async fn failed<K>(&self, _: &K, _: &str, _: &(dyn std::error::Error + Sync)) {}
}
