//! Compiles the kernel programs (`ebpf/*.bpf.c`) with clang, from 14 on.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's names, the plain one first.
const COMPILERS: &[&str] =
    &["clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"];

fn main() {
    println!("cargo::rerun-if-changed=ebpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let compiler = compiler();
    for program in ["capture", "drops", "bench"] {
        compile(&compiler, program, &out);
    }
}

/// `$CLANG`, or the first of Debian's names that runs.
fn compiler() -> OsString {
    if let Some(chosen) = env::var_os("CLANG") {
        return chosen;
    }
    let runs = |name: &&&str| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    match COMPILERS.iter().find(runs) {
        Some(found) => found.into(),
        None => panic!(
            "the kernel programs need clang 14 or later: none of {} runs; install Debian's \
             `clang` and `libbpf-dev`, or name one in $CLANG",
            COMPILERS.join(", ")
        ),
    }
}

fn compile(compiler: &OsString, program: &str, out: &Path) {
    let machine = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the target");
    let endian = env::var("CARGO_CFG_TARGET_ENDIAN").expect("cargo sets the target");
    assert!(endian == "little", "the kernel programs are written for little-endian machines");
    let mut command = Command::new(compiler);
    command
        .args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpfel", "-mcpu=v3"])
        // Debian keeps <asm/types.h> in the host's own folder.
        .arg(format!("-I/usr/include/{machine}-linux-gnu"))
        // So that the object does not say where it was built.
        .arg("-fdebug-prefix-map=ebpf/=")
        .arg("-c")
        .arg(format!("ebpf/{program}.bpf.c"))
        .arg("-o")
        .arg(out.join(format!("{program}.bpf.o")));
    let status = command.status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{command:?} failed ({status:?}); it needs clang 14 or later and libbpf-dev"
    );
}
