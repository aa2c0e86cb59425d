//! Makes Rust types of `proto/external_scaler.proto`; needs `protoc`.

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=proto/external_scaler.proto");
    // Tests ask as KEDA does, so the client is made too.
    tonic_prost_build::configure().compile_protos(&["proto/external_scaler.proto"], &["proto"])
}
