//! `whyflow explain` on a folder as `kubectl get -o yaml` prints it: 1,000 pods, 300 policies.
//!
//! Printed are the times of reading the folder and of each question after that, so that what a
//! question costs beside the parsing can be seen.
//!
//! `cargo bench -p benches --bench explain`

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use anyhow::{Result, ensure};
use whyflow::explain::{Asked, Asker};
use whyflow::objects;

const PODS: usize = 1_000;
const POLICIES: usize = 300;
const NAMESPACES: usize = 20;
const APPS: usize = 50;
const QUESTIONS: usize = 1_000;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let text = cluster()?;
    std::fs::write(folder.path().join("cluster.yaml"), &text)?;
    #[expect(clippy::disallowed_methods, reason = "a bench is about time")]
    let (start, lap) = (Instant::now(), Instant::now);
    let described = objects::read(folder.path(), policy::Assume::default())?;
    let read = start.elapsed();
    let (begun, mut asker) = (lap(), Asker::new(&described));
    let first = ask(&mut asker, 0)?;
    let first_took = begun.elapsed();
    let begun = lap();
    for question in 1..QUESTIONS {
        ask(&mut asker, question)?;
    }
    let rest = begun.elapsed() / u32::try_from(QUESTIONS - 1)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{PODS} pods, {POLICIES} policies, {} KiB of YAML", text.len() / 1024)?;
    writeln!(out, "read, indexed and compiled in {read:?}")?;
    writeln!(
        out,
        "the first question {first_took:?} ({first} bytes of JSON), the next {rest:?} each"
    )?;
    Ok(())
}

/// Asks one question and writes its answer out; how long that is.
fn ask(asker: &mut Asker<'_>, number: usize) -> Result<usize> {
    let (from, to) = (name(number * 7 % PODS), name(number * 13 % PODS));
    let answer = asker.ask(&Asked::parse(&from, &to, "8080")?);
    ensure!(answer.is_answered(), "{from} to {to} was not answered");
    Ok(answer.json().len())
}

fn name(pod: usize) -> String {
    format!("ns{}/app{}-{pod:05}", pod % NAMESPACES, pod % APPS)
}

/// A `List` of everything, with the fields that an API server adds.
fn cluster() -> Result<String> {
    let mut text = "apiVersion: v1\nkind: List\nitems:\n".to_owned();
    for namespace in 0..NAMESPACES {
        writeln!(
            text,
            "- {{apiVersion: v1, kind: Namespace, metadata: {{name: ns{namespace}, labels: {{team: t{}}}}}}}",
            namespace % 4
        )?;
    }
    for pod in 0..PODS {
        write!(
            text,
            include_str!("explain/pod.yaml.in"),
            app = pod % APPS,
            name = pod,
            namespace = pod % NAMESPACES,
            third = pod / 250,
            fourth = pod % 250 + 1
        )?;
    }
    for policy in 0..POLICIES {
        write!(
            text,
            include_str!("explain/policy.yaml.in"),
            app = policy % APPS,
            name = policy,
            namespace = policy % NAMESPACES,
            peer = policy * 7 % APPS,
            team = policy % 4
        )?;
    }
    Ok(text)
}
