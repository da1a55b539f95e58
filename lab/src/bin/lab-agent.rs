//! A pod's program by itself, and the making of a lab by itself: what the lab's own tests start.

use std::path::Path;
use std::process::ExitCode;

use lab::{Lab, Program, Spec, agent, manifests};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [config] => agent::run(Path::new(config)),
        ["up", name, folder] => up(name, Path::new(folder)),
        _ => {
            eprintln!("usage: lab-agent CONFIG.json | lab-agent up NAME FOLDER");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprintln!("  because {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn up(name: &str, folder: &Path) -> lab::Result<()> {
    let objects = manifests::read(folder)?;
    Lab::up(Spec::new(name, objects, Program::this(&[])?)).map(Lab::keep)
}
