//! `whyflow lab`: a miniature cluster of network namespaces on this machine.

use std::path::PathBuf;

use ::lab::status::{self, Status};
use ::lab::{Lab, Lie, Program, Spec, agent, manifests};
use anyhow::{Context as _, Result, bail};
use clap::{Subcommand, ValueEnum};

use crate::cli::Exit;
use crate::terminal::{self, table};

/// What to do with which lab.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  whyflow lab up --manifests lab/manifests
  whyflow lab up --name two --manifests lab/manifests --lie unexplained-drop
  whyflow lab status --json
  whyflow lab down";

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a cluster out of manifests and let its programs run
    Up(Up),
    /// Show what is there
    Status(Shown),
    /// Remove a lab in whatever state it is, and end every process in its namespaces
    Down(Down),
    /// Be a pod's program
    #[command(hide = true)]
    Agent {
        /// What it is to do
        config: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Up {
    /// The lab's name: 1 to 12 of a-z and 0-9
    #[arg(long, default_value = "demo")]
    name: String,
    /// A folder of Kubernetes YAML
    #[arg(long, value_name = "FOLDER")]
    manifests: PathBuf,
    /// Enforce something else than the policies say, where the manifests are marked for it
    #[arg(long, value_enum)]
    lie: Vec<Lies>,
    /// Tell every lie, as the demo does
    #[arg(long)]
    demo: bool,
}

#[derive(Debug, clap::Args)]
struct Shown {
    /// One lab; without it, all
    #[arg(long)]
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Down {
    /// The lab's name
    #[arg(long, default_value = "demo")]
    name: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lies {
    /// An nft drop that no policy explains
    UnexplainedDrop,
    /// A deny whose nft rule was taken out
    MissingDeny,
}

/// Makes, shows or removes a lab.
///
/// # Errors
/// When there is no privilege, or the manifests are not what they should be.
pub fn run(args: Args) -> Result<Exit> {
    match args.action {
        Action::Up(up) => make(up),
        Action::Status(shown) => show(&shown),
        Action::Down(Down { name }) => {
            let found = ::lab::down(&name)?;
            let said = if found { "is down" } else { "was not up" };
            terminal::line(&format!("lab {name} {said}"))?;
            Ok(Exit::Answered)
        }
        Action::Agent { config } => {
            agent::run(&config)?;
            Ok(Exit::Answered)
        }
    }
}

fn make(up: Up) -> Result<Exit> {
    let objects = manifests::read(&up.manifests)?;
    if objects.is_empty() {
        bail!("found no manifest in {}, expected .yaml or .json files", up.manifests.display());
    }
    let lies: Vec<Lie> = if up.demo {
        vec![Lie::UnexplainedDrop, Lie::MissingDeny]
    } else {
        up.lie.into_iter().map(Lie::from).collect()
    };
    let program = Program::this(&["lab", "agent"])?;
    let spec = Spec::new(&up.name, objects, program).lying(&lies);
    let lab = Lab::up(spec).context("the lab could not be made")?;
    let nodes: Vec<_> = lab.nodes().iter().map(|node| node.netns.name().to_owned()).collect();
    terminal::line(&format!(
        "lab {} is up: {} pods on {} ({})",
        lab.name(),
        lab.pods().count(),
        lab.nodes().iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(" and "),
        nodes.join(", "),
    ))?;
    terminal::line(&format!("live manifests: {}", lab.manifests().display()))?;
    lab.keep();
    Ok(Exit::Answered)
}

fn show(shown: &Shown) -> Result<Exit> {
    let names = match &shown.name {
        Some(name) => vec![name.clone()],
        None => status::labs()?,
    };
    let mut labs = Vec::new();
    let mut broken = Vec::new();
    for name in names {
        match Lab::attach(&name) {
            Ok(lab) => labs.push(lab.status()),
            Err(error) => broken.push(error),
        }
    }
    if shown.json {
        terminal::line(&serde_json::to_string_pretty(&labs)?)?;
    } else if labs.is_empty() && broken.is_empty() {
        terminal::line("no lab is up")?;
    } else {
        for lab in &labs {
            terminal::line(page(lab).trim_end())?;
        }
    }
    for error in &broken {
        eprintln!("{error}");
    }
    Ok(if broken.is_empty() { Exit::Answered } else { Exit::NotAnswered })
}

/// A lab as a person reads it.
fn page(lab: &Status) -> String {
    let list = |addresses: &[std::net::IpAddr]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let nodes = table(
        ["NODE", "NAMESPACE", "ADDRESSES"],
        lab.nodes.iter().map(|n| [n.name.clone(), n.netns.clone(), list(&n.addresses)]),
    );
    let pods = table(
        ["POD", "NODE", "INTERFACE", "ADDRESSES", "SERVES", "CALLS", "PROGRAM"],
        lab.pods.iter().map(|pod| {
            let program = match pod.running {
                None => "none",
                Some(true) => "runs",
                Some(false) => "has ended",
            };
            [
                pod.name.clone(),
                pod.node.clone().unwrap_or_default(),
                pod.interface.clone().unwrap_or_default(),
                list(&pod.addresses),
                pod.serves.join(" "),
                pod.calls.len().to_string(),
                program.to_owned(),
            ]
        }),
    );
    let services = table(
        ["SERVICE", "ADDRESSES"],
        lab.services.iter().map(|service| [service.name.clone(), list(&service.addresses)]),
    );
    let (name, manifests) = (&lab.name, lab.manifests.display());
    format!("lab {name}: live manifests in {manifests}\n\n{nodes}\n{pods}\n{services}")
}

// === impl Lies ===

impl From<Lies> for Lie {
    fn from(lie: Lies) -> Self {
        match lie {
            Lies::UnexplainedDrop => Self::UnexplainedDrop,
            Lies::MissingDeny => Self::MissingDeny,
        }
    }
}
