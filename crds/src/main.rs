//! Writes the CustomResourceDefinitions: `cargo run -p crds [FOLDER]`, by default into `config/crd`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("config/crd"), PathBuf::from);
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to write the definitions into {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for definition in crds::definitions() {
        let (name, text) = crds::manifest(&definition);
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}
