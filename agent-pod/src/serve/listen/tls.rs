//! TLS with certificates that are read again when they change.
//!
//! A mounted Secret changes by a link, so the files are told apart by their content. New connections get the new
//! certificate, those that are open go on. Files that are wrong change nothing: it is said in the log and counted.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    error::chain,
    runtime::{metrics::Metrics, stop::Stop},
    serve::config::TlsFiles,
};

/// Time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(3);

/// What is spoken over a connection: a client chooses by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Protocols {
    /// HTTP/2, or HTTP/1.1.
    Http,
    /// HTTP/2 alone.
    Grpc,
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::serve) enum Error {
    /// The user can fix it.
    #[error("failed to read \"{}\"", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// The user can fix it.
    #[error("\"{}\" holds no PEM block that can be read as {what}", path.display())]
    Pem { path: PathBuf, what: &'static str, source: rustls::pki_types::pem::Error },
    /// The user can fix it.
    #[error("\"{}\" holds no certificate", path.display())]
    Empty { path: PathBuf },
    /// The user can fix it.
    #[error("\"{}\" holds a certificate that cannot be trusted", path.display())]
    Untrusted { path: PathBuf, source: rustls::Error },
    /// The user can fix it: certificate and key do not belong together, or are of a kind that is not known.
    #[error("failed to use the certificate in \"{}\" with the key in \"{}\"", certificate.display(), key.display())]
    Use { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    /// The user can fix it.
    #[error("failed to ask clients for certificates of \"{}\"", path.display())]
    Verify { path: PathBuf, source: rustls::server::VerifierBuilderError },
    /// A fault of this program.
    #[error("failed to choose versions of TLS")]
    Versions(#[source] rustls::Error),
}

/// The files as they are now.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What a handshake needs, for each kind of protocols.
struct Configs {
    http: Arc<ServerConfig>,
    grpc: Arc<ServerConfig>,
}

/// The certificate that counts now.
pub(in crate::serve) struct Tls {
    files: TlsFiles,
    configs: RwLock<Arc<Configs>>,
}

impl Tls {
    /// Reads the files.
    pub(in crate::serve) fn open(files: TlsFiles) -> Result<Self, Error> {
        let configs = RwLock::new(Arc::new(configs(&files, &contents(&files)?)?));
        Ok(Self { files, configs })
    }

    /// Fails where a file holds no certificates.
    pub(in crate::serve) fn check_certificates(path: &Path) -> Result<(), Error> {
        certificates(path, &read(path)?).map(drop)
    }

    /// The connection after its handshake; `None`, and said so, where there is none in time.
    pub(super) async fn accept(&self, stream: TcpStream, protocols: Protocols) -> Option<TlsStream<TcpStream>> {
        let configs = Arc::clone(&self.configs.read().unwrap_or_else(PoisonError::into_inner));
        let config = match protocols {
            Protocols::Http => &configs.http,
            Protocols::Grpc => &configs.grpc,
        };
        match timeout(HANDSHAKE, TlsAcceptor::from(Arc::clone(config)).accept(stream)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
            Err(_) => tracing::debug!("a handshake took too long"),
        }
        None
    }

    /// Reads the files again when they change, until the process stops.
    pub(in crate::serve) async fn follow(&self, metrics: &Metrics, stop: &Stop) {
        let mut seen = self.look().await.as_ref().ok().map(Contents::digest);
        loop {
            tokio::select! {
                () = stop.cordoned() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let found = self.look().await;
            let digest = found.as_ref().ok().map(Contents::digest);
            if digest == seen {
                continue;
            }
            seen = digest;
            match found.and_then(|found| configs(&self.files, &found)) {
                Ok(read) => {
                    *self.configs.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
                    tracing::info!("new connections get the new certificate");
                    metrics.tls_reload("loaded");
                }
                Err(error) => {
                    tracing::error!(error = %chain(&error), "the new certificate cannot be used; the one before it still counts");
                    metrics.tls_reload("failed");
                }
            }
        }
    }

    async fn look(&self) -> Result<Contents, Error> {
        let files = self.files.clone();
        let looked = tokio::task::spawn_blocking(move || contents(&files)).await;
        looked.unwrap_or_else(|error| {
            let source = std::io::Error::other(error);
            Err(Error::Read { path: self.files.certificate.clone(), source })
        })
    }
}

impl Contents {
    /// To see whether they have changed, without keeping a key in memory for it.
    fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for part in [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten() {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.finalize()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn contents(files: &TlsFiles) -> Result<Contents, Error> {
    Ok(Contents {
        certificate: read(&files.certificate)?,
        key: read(&files.key)?,
        client_ca: files.client_ca.as_deref().map(read).transpose()?,
    })
}

fn configs(files: &TlsFiles, contents: &Contents) -> Result<Configs, Error> {
    let speaking = |protocols: &[&str]| {
        let mut config = config(files, contents)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok::<_, Error>(Arc::new(config))
    };
    Ok(Configs { http: speaking(&["h2", "http/1.1"])?, grpc: speaking(&["h2"])? })
}

fn config(files: &TlsFiles, contents: &Contents) -> Result<ServerConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(Error::Versions)?;
    let builder = match (&files.client_ca, &contents.client_ca) {
        (Some(path), Some(pem)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path, pem)? {
                roots.add(certificate).map_err(|source| Error::Untrusted { path: path.clone(), source })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|source| Error::Verify { path: path.clone(), source })?)
        }
        _ => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|source| Error::Pem {
        path: files.key.clone(),
        what: "a private key",
        source,
    })?;
    builder
        .with_single_cert(certificates(&files.certificate, &contents.certificate)?, key)
        .map_err(|source| Error::Use { certificate: files.certificate.clone(), key: files.key.clone(), source })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|source| Error::Pem { path: path.to_owned(), what: "a certificate", source })?;
    if found.is_empty() {
        return Err(Error::Empty { path: path.to_owned() });
    }
    Ok(found)
}
