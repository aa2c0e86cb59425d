//! Models that lie on this machine already: where pulled ones go, and which files of a folder make a model.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use crate::ModelFiles;

/// Why files do not make a model: for whoever named the path.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    #[error("failed to read {path:?}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path:?} is neither a .gguf file, nor a .safetensors file, nor a folder with exactly one of them")]
    FindWeights { path: PathBuf },
}

/// Where pulled models lie, each in a folder of its name: `$DOCKET_MODELS`, or `docket/models` in the user's cache.
pub fn models_folder() -> PathBuf {
    let from = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("DOCKET_MODELS").unwrap_or_else(|| {
        let cache = from("XDG_CACHE_HOME").or_else(|| Some(from("HOME")?.join(".cache")));
        cache.unwrap_or_else(|| PathBuf::from(".cache")).join("docket").join("models")
    })
}

/// The files of the model at `path`: a GGUF or safetensors file, or a folder that holds one.
pub fn files_at(path: &Path) -> Result<ModelFiles, LocateError> {
    let read = |source| LocateError::Read { path: path.to_owned(), source };
    let weights = if std::fs::metadata(path).map_err(read)?.is_dir() {
        let files = std::fs::read_dir(path).map_err(read)?;
        let paths = files.map(|file| Ok(file?.path())).collect::<io::Result<Vec<_>>>().map_err(read)?;
        let mut weights = paths.into_iter().filter(|path| is_weights(path));
        weights.next().filter(|_| weights.next().is_none())
    } else {
        Some(path.to_owned()).filter(|path| is_weights(path))
    };
    let weights = weights.ok_or_else(|| LocateError::FindWeights { path: path.to_owned() })?;
    let beside = |name: &str| Some(weights.with_file_name(name)).filter(|path| path.is_file());
    Ok(ModelFiles { tokenizer: beside("tokenizer.json"), config: beside("config.json"), weights })
}

fn is_weights(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gguf" || extension == "safetensors")
}
