//! Makes the messages and services of Goldmane's flow API, with a compiler written in Rust: no
//! protoc is needed.

use std::env;
use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

const PROTO: &str = "goldmane.proto";
const FOLDER: &str = "../schemas/proto";

/// Fields that whyflow reads and writes as bytes, which look the same on the wire.
///
/// A flow's key is encoded once and sent many times, and one that comes is looked up by its bytes.
/// A policy match has messages in the current form and plain strings in the older one.
const AS_BYTES: &[(&str, &str)] = &[
    ("Flow", "Key"),
    ("PolicyMatch", "tier"),
    ("PolicyMatch", "namespace"),
    ("PolicyMatch", "name"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={FOLDER}/{PROTO}");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let described = protox::compile([PROTO], [FOLDER])?;
    // What reflection tells is what is written.
    std::fs::write(out.join("goldmane.bin"), described.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_transport(false)
        .bytes(".goldmane")
        .compile_fds(with_bytes(described))?;
    Ok(())
}

fn with_bytes(mut described: FileDescriptorSet) -> FileDescriptorSet {
    for message in described.file.iter_mut().flat_map(|file| &mut file.message_type) {
        let name = message.name().to_owned();
        for field in &mut message.field {
            if AS_BYTES.contains(&(name.as_str(), field.name())) {
                field.set_type(Type::Bytes);
                field.type_name = None;
            }
        }
    }
    described
}
