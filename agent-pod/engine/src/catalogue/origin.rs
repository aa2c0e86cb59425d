//! Copies files out of a source, whatever it is.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use reqwest::Url;
use reqwest::blocking::Client;

use super::entry::{FileSpec, HubSource, Source};
use super::package::Packages;
use super::pull::PullSettings;
use crate::reach::{Reach, Refused};

/// Why a source did not give a file. The next source is tried.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("failed to prepare the HTTP client")]
    BuildClient(#[source] reqwest::Error),
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    /// For whoever wrote the address.
    #[error(transparent)]
    Refuse(Refused),
    /// For whoever runs the server, or wrote its address.
    #[error("it redirects to a server that is not called")]
    RefuseRedirect(#[source] Refused),
    #[error("the server answered {status}")]
    Answer { status: u16 },
    #[error("failed to copy the file")]
    Copy(#[source] io::Error),
    #[error("failed to open {path:?}")]
    Open { path: PathBuf, source: io::Error },
    #[error("failed to write the file")]
    WriteFile(#[source] io::Error),
    #[error("it has {found} bytes instead of {expected}")]
    MatchSize { found: u64, expected: u64 },
    #[error("its SHA-256 is {found} instead of {expected}")]
    MatchDigest { found: String, expected: String },
    #[error("failed to start {program:?}")]
    StartInstaller { program: PathBuf, source: io::Error },
    #[error("the package installer did not finish within {seconds} s")]
    AwaitInstaller { seconds: u64 },
    #[error("the package installer failed: {message}")]
    Install { message: String },
    #[error("failed to open the package {package}")]
    OpenPackage { package: String, source: zip::result::ZipError },
    #[error("the package {package} has no member {member:?}")]
    FindMember { package: String, member: String, source: zip::result::ZipError },
    #[error("the source does not carry it")]
    FindFile,
}

/// A source that is being read.
pub(super) enum Origin<'a> {
    Hub { web: Web, base: String, source: &'a HubSource },
    Http { web: Web, base: String },
    Folder(&'a Path),
    Packages(Packages<'a>),
}

impl<'a> Origin<'a> {
    /// `scratch` is where a source may put what it needs meanwhile.
    pub(super) fn open(source: &'a Source, settings: &'a PullSettings, scratch: &'a Path) -> Result<Self, FetchError> {
        Ok(match source {
            Source::Hub(hub) => {
                let root = settings.hub_url.trim_end_matches('/');
                let base = format!("{root}/{}/resolve/{}", hub.repo, hub.revision);
                Self::Hub { web: Web::open(settings)?, base, source: hub }
            }
            Source::Http(http) => {
                let base = http.base_url.trim_end_matches('/').to_owned();
                Self::Http { web: Web::open(settings)?, base }
            }
            Source::File { path } => Self::Folder(path),
            Source::Pypi(parts) => Self::Packages(Packages::new(parts, settings, scratch)),
        })
    }

    pub(super) fn copy(&mut self, file: &FileSpec, sink: &mut dyn Write) -> Result<(), FetchError> {
        match self {
            Self::Hub { web, base, source } => {
                let path = source.files.get(&file.path).unwrap_or(&file.path);
                web.download(&format!("{base}/{path}"), sink)
            }
            Self::Http { web, base } => web.download(&format!("{base}/{}", file.path), sink),
            Self::Folder(folder) => {
                let path = folder.join(&file.path);
                let mut opened = File::open(&path).map_err(|source| FetchError::Open { path, source })?;
                io::copy(&mut opened, sink).map_err(FetchError::Copy)?;
                Ok(())
            }
            Self::Packages(packages) => packages.copy(file, sink),
        }
    }
}

/// The name of a source in messages.
pub(super) fn describe(source: &Source) -> String {
    match source {
        Source::Hub(hub) => format!("hub {}@{}", hub.repo, hub.revision),
        Source::Http(http) => format!("web {}", http.base_url),
        Source::File { path } => format!("folder {}", path.display()),
        Source::Pypi(parts) => {
            let names: Vec<_> = parts.iter().map(|part| format!("{} {}", part.package, part.version)).collect();
            format!("Python package {}", names.join(", "))
        }
    }
}

/// Web servers, as far as they are called.
pub(super) struct Web {
    client: Client,
    reach: Reach,
}

impl Web {
    /// A client whose every wait has an end, so that a machine without a network fails in seconds.
    pub(super) fn open(settings: &PullSettings) -> Result<Self, FetchError> {
        // The client is built without a provider of its own. Whoever installed one first is right too.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let reach = settings.reach.clone();
        let builder = Client::builder()
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.read_timeout)
            .user_agent(concat!("docket/", env!("CARGO_PKG_VERSION")));
        let client = reach.blocking_client(builder).build().map_err(FetchError::BuildClient)?;
        Ok(Self { client, reach })
    }

    pub(super) fn download(&self, url: &str, sink: &mut dyn Write) -> Result<(), FetchError> {
        let request = self.client.get(url).build().map_err(FetchError::Request)?;
        let url = request.url().clone();
        self.reach.check(&url).map_err(FetchError::Refuse)?;
        let mut response = self.client.execute(request).map_err(|error| failure(&url, error))?;
        if !response.status().is_success() {
            return Err(FetchError::Answer { status: response.status().as_u16() });
        }
        io::copy(&mut response, sink).map_err(FetchError::Copy)?;
        Ok(())
    }
}

/// What became of a request for `url`, which others may have followed.
fn failure(url: &Url, error: reqwest::Error) -> FetchError {
    let Some(refused) = Refused::behind(&error).cloned() else { return FetchError::Request(error) };
    if error.is_redirect() || url.host_str() != Some(refused.host.as_str()) {
        FetchError::RefuseRedirect(refused)
    } else {
        FetchError::Refuse(refused)
    }
}
