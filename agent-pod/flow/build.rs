//! Makes Rust types of `proto/docket.proto`; needs `protoc`.

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=proto/docket.proto");
    prost_build::Config::new().btree_map(["."]).compile_protos(&["proto/docket.proto"], &["proto"])
}
