//! The API server as the proxy sees it, with the administrator's certificate.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use kube::config::Kubeconfig;
use reqwest::{Certificate, Client, Identity, Method, Response};
use serde_json::Value;

use super::http::Request;

/// Headers that are about one connection.
const OF_CONNECTIONS: [&str; 6] =
    ["connection", "content-length", "host", "keep-alive", "transfer-encoding", "accept-encoding"];

/// A way to the API server.
#[derive(Clone)]
pub struct Upstream {
    client: Client,
    address: String,
}

/// An answer.
pub struct Answer {
    /// Status of HTTP.
    pub status: u16,
    /// Without those of the connection.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

/// An answer whose body goes on.
pub struct Stream {
    /// Status of HTTP.
    pub status: u16,
    /// Without those of the connection.
    pub headers: Vec<(String, String)>,
    response: Response,
}

impl Stream {
    /// The next part; none at its end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(self.response.chunk().await.context("read an answer")?.map(|chunk| chunk.to_vec()))
    }
}

impl Upstream {
    /// As a kubeconfig with one cluster and one user with a certificate says.
    pub fn of(kubeconfig: &Path) -> Result<Self> {
        let config = Kubeconfig::read_from(kubeconfig).context("read the kubeconfig")?;
        // Serialised, the key is text again.
        let config = serde_json::to_value(config).context("read the kubeconfig")?;
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let authority = Certificate::from_pem(&decoded(&cluster["certificate-authority-data"])?)?;
        let mut identity = decoded(&user["client-certificate-data"])?;
        identity.extend(decoded(&user["client-key-data"])?);
        let client = Client::builder()
            // Over one connection of HTTP/2, a watch that is held would hold up everything.
            .http1_only()
            .tls_certs_only([authority])
            .identity(Identity::from_pem(&identity).context("use the administrator's certificate")?)
            // The API server may stand still with the machine.
            .connect_timeout(Duration::from_secs(30))
            .build()
            .context("make a client of the API server")?;
        let address = cluster["server"].as_str().context("the kubeconfig names no address")?;
        Ok(Self { client, address: address.trim_end_matches('/').to_owned() })
    }

    /// Passes a request on and waits for the whole answer.
    pub async fn ask(&self, request: &Request) -> Result<Answer> {
        let Stream { status, headers, response } = self.begin(request).await?;
        let body = response.bytes().await.context("read an answer")?.to_vec();
        Ok(Answer { status, headers, body })
    }

    /// Passes a request on and waits for the beginning of its answer.
    pub async fn begin(&self, request: &Request) -> Result<Stream> {
        let method = Method::from_bytes(request.method.as_bytes()).context("pass a request on")?;
        let mut passed = self.client.request(method, format!("{}{}", self.address, request.target));
        for (name, value) in request.headers.iter().filter(|(name, _)| !OF_CONNECTIONS.contains(&name.as_str())) {
            passed = passed.header(name, value);
        }
        let response = passed.body(request.body.clone()).send().await.context("pass a request on")?;
        let headers = response.headers().iter().filter_map(|(name, value)| {
            let (name, value) = (name.as_str().to_owned(), value.to_str().ok()?.to_owned());
            (!OF_CONNECTIONS.contains(&name.as_str())).then_some((name, value))
        });
        Ok(Stream { status: response.status().as_u16(), headers: headers.collect(), response })
    }
}

/// Base64, in which a kubeconfig holds certificates.
fn decoded(text: &Value) -> Result<Vec<u8>> {
    let bytes: ByteString = serde_json::from_value(text.clone()).context("the kubeconfig holds no certificate")?;
    Ok(bytes.0)
}
