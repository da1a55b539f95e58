//! Makes the messages of `schemas/proto/flow.proto`, which the bench of Kafka has as its baseline.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../schemas/proto/flow.proto");
    let described = protox::compile(["flow.proto"], ["../schemas/proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .compile_fds(described)?;
    Ok(())
}
