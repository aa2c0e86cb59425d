//! Where the results of a pipeline are written before its documents end.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Where results are written. A document ends after its result is durable in all of them.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.table) || has(self.postgres)").message("set at least one of table, postgres"))]
pub struct Results {
    /// A LanceDB table with a row a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableSink>,
    /// A PostgreSQL database with a row a document, a log of what happened, and pending audits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresSink>,
    /// Expression over `document` and `stages` that gives the document's anomaly from 0 to 1, for example
    /// `stages.check.score`. Default: the highest score of the stages with a head of kind Anomaly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub anomaly: Option<String>,
    /// A document whose anomaly is above it becomes a pending audit in PostgreSQL.
    #[serde(default = "anomaly_threshold")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub anomaly_threshold: f64,
}

fn anomaly_threshold() -> f64 {
    0.7
}

/// A LanceDB table for results.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.uri.contains('://')").message("a table is kept in a folder, or at `default`; no address can be used").field_path(".uri"))]
pub struct TableSink {
    /// The folder that holds it: `default` (results in the state folder) or a folder.
    #[serde(default = "default_uri")]
    #[schemars(length(min = 1, max = 1024))]
    pub uri: String,
}

fn default_uri() -> String {
    "default".to_owned()
}

/// A PostgreSQL database for results.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.passwordEnv) || !has(self.passwordFile)").message("set at most one of passwordEnv, passwordFile"))]
pub struct PostgresSink {
    /// `postgres://user@host:5432/database`, without a password; `sslmode=require` asks for TLS, which needs `caFile`.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Environment variable with the password, of the processes that write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub password_env: Option<String>,
    /// File with the password, at the processes that write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub password_file: Option<String>,
    /// File with the certificates (PEM) of those who may sign the server's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub ca_file: Option<String>,
}
