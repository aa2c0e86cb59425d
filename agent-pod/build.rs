//! Makes Rust types of `proto/gateway.proto`, and the description that gRPC reflection serves; needs `protoc`.

use std::{env, io, path::PathBuf};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=proto/gateway.proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?);
    tonic_prost_build::configure()
        .bytes(".")
        .build_client(true)
        .file_descriptor_set_path(out.join("gateway.bin"))
        .compile_protos(&["proto/gateway.proto"], &["proto"])
}
