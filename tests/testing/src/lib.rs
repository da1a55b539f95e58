//! What tests share that need more of a machine than every machine has.

mod gateway;
pub mod kafka;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use gateway::Gateway;

/// Says loudly that a test does not run here, and why. Where `CI` is `true` that is a failure.
///
/// The line also goes to the file that `WHYFLOW_SKIPPED` names, because a test that passes prints
/// nothing: `make test` ends with what it finds there.
///
/// # Panics
/// When `CI` is `true`.
pub fn skip(what: &str, why: &str) {
    let line = format!("SKIPPED: {what}: {why}");
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("WHYFLOW_SKIPPED")
        && let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path)
        && let Err(error) = writeln!(file, "{line}")
    {
        eprintln!("the skip could not be written down: {error}");
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{line}");
}

/// Whether this process may make network namespaces. If not, skips.
#[must_use]
pub fn may_make_namespaces(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(what, "it makes network namespaces, which needs root");
    }
    root
}

/// Whether this process may load programs into the kernel. If not, skips.
#[must_use]
pub fn may_load_bpf(what: &str) -> bool {
    if !may_make_namespaces(what) {
        return false;
    }
    let has_btf = std::path::Path::new("/sys/kernel/btf/vmlinux").exists();
    if !has_btf {
        skip(what, "this kernel has no BTF (/sys/kernel/btf/vmlinux)");
    }
    has_btf
}

/// Looks until `holds` gives something, at most for `within`.
///
/// # Panics
/// When it never does.
pub fn eventually<T>(what: &str, within: Duration, mut holds: impl FnMut() -> Option<T>) -> T {
    const EVERY: Duration = Duration::from_millis(20);
    let looks = within.as_millis() / EVERY.as_millis();
    for _ in 0..looks {
        if let Some(found) = holds() {
            return found;
        }
        std::thread::sleep(EVERY);
    }
    panic!("{what}: not within {} s", within.as_secs());
}

/// A Python that has what `tests/readers/requirements.txt` names, in a virtual environment of the
/// cache folder (`WHYFLOW_CACHE`, else `~/.cache/whyflow`). Skips where there is none.
#[must_use]
pub fn python(what: &str) -> Option<PathBuf> {
    or_skip(what, virtual_environment(&cache().join("venv"), &readers().join("requirements.txt")))
}

/// The same for `tests/readers/requirements-openapi.txt`, in an environment of its own.
#[must_use]
pub fn schemathesis(what: &str) -> Option<PathBuf> {
    let requirements = readers().join("requirements-openapi.txt");
    or_skip(what, virtual_environment(&cache().join("venv-openapi"), &requirements))
}

/// A folder where Node finds playwright-core, which drives the Chromium that is installed. Skips
/// where there is no Chromium, Node or npm.
#[must_use]
pub fn playwright(what: &str) -> Option<PathBuf> {
    or_skip(what, node_modules(&cache().join("playwright"), "playwright-core@1.65.1"))
}

fn or_skip<T>(what: &str, made: Result<T, String>) -> Option<T> {
    made.inspect_err(|why| skip(what, why)).ok()
}

fn cache() -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_default().join(".cache/whyflow");
    std::env::var_os("WHYFLOW_CACHE").map_or_else(home, PathBuf::from)
}

/// Installs a package unless it is there; one process at a time.
fn node_modules(folder: &Path, package: &str) -> Result<PathBuf, String> {
    for needed in ["chromium", "node", "npm"] {
        run(Command::new(needed).arg("--version"))?;
    }
    let said = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(said)?;
    let lock = File::create(folder.join("lock")).map_err(said)?;
    lock.lock().map_err(said)?;
    let done = folder.join("package.txt");
    if std::fs::read_to_string(&done).is_ok_and(|made| made == package) {
        return Ok(folder.to_owned());
    }
    let npm = ["install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix"];
    run(Command::new("npm").args(npm).arg(folder).arg(package))?;
    std::fs::write(&done, package).map_err(said)?;
    Ok(folder.to_owned())
}

/// The folder of the independent readers, above the package whose tests run: Cargo runs them in its folder. (A path that is
/// compiled in would be that of the clone that built this crate first.)
///
/// # Panics
/// When there is none above.
#[must_use]
pub fn readers() -> PathBuf {
    let package = std::env::current_dir().unwrap_or_default();
    let mut above = package.ancestors().map(|folder| folder.join("tests/readers"));
    above.find(|readers| readers.is_dir()).expect("a folder tests/readers above the package")
}

/// Makes the environment unless it is as the requirements ask; one process at a time.
fn virtual_environment(folder: &Path, requirements: &Path) -> Result<PathBuf, String> {
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
    let python = folder.join("bin/python");
    let wanted = std::fs::read(requirements).map_err(|error| said(&error))?;
    std::fs::create_dir_all(folder).map_err(|error| said(&error))?;
    let lock = File::create(folder.join("lock")).map_err(|error| said(&error))?;
    lock.lock().map_err(|error| said(&error))?;
    let done = folder.join("requirements.txt");
    if std::fs::read(&done).is_ok_and(|made| made == wanted) && python.exists() {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    run(Command::new(&python).args(pip).arg(requirements))?;
    std::fs::write(&done, wanted).map_err(|error| said(&error))?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// A Go program of `tests/servers`, built once into the cache folder by `tests/servers/build`: `otelcol` is
/// a real OpenTelemetry Collector. Skips where there is no Go of its version.
#[must_use]
pub fn go_program(name: &str, what: &str) -> Option<PathBuf> {
    built(Command::new(servers().join("build")).arg(name), what)
}

/// What `tests/servers/NAME/build` made or fetched. Skips where that fails.
fn server(what: &str, name: &str) -> Option<PathBuf> {
    built(&mut Command::new(servers().join(name).join("build")), what)
}

fn servers() -> PathBuf {
    readers().parent().map(|tests| tests.join("servers")).unwrap_or_default()
}

/// What this command says that it built.
fn built(command: &mut Command, what: &str) -> Option<PathBuf> {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            skip(what, &format!("{command:?}: {error}"));
            return None;
        }
    };
    if !output.status.success() {
        skip(what, String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// Whether this command is there. If not, skips; `package` is Debian's name of what has it.
#[must_use]
pub fn has_command(command: &str, package: &str, what: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(command).is_file());
    if !is_there {
        skip(what, &format!("no `{command}` on the PATH (Debian: {package})"));
    }
    is_there
}
