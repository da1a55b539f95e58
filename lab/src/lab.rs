//! A running lab: made from manifests, changed while it runs, taken down without a trace.

mod changes;
mod contents;
mod run;

use std::collections::BTreeMap;
use std::process::Child;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::annotations::Lie;
use crate::declared::Declared;
use crate::enforce::Enforcement;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::live;
use crate::manifests::{Id, Object};
use crate::names;
use crate::netns;
use crate::plan::Plan;
use crate::programs::{self, Program};
use crate::services;
use crate::topology;

/// What a lab is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Its name: 1 to 12 of a-z and 0-9.
    pub name: String,
    /// The cluster's objects.
    pub objects: Vec<Object>,
    /// The pods' program.
    pub program: Program,
    /// Lies, and whether drops are recorded.
    pub enforcement: Enforcement,
    /// Whether what leaves the cluster leaves with the node's address.
    pub masquerade: bool,
}

/// A lab that is up. It goes down when it is dropped, unless it is kept.
#[derive(Debug)]
pub struct Lab {
    state: State,
    files: Files,
    /// Programs that this process started, so that it can wait for their end.
    children: BTreeMap<String, Child>,
    /// What the live manifests say.
    published: BTreeMap<Id, Value>,
    /// The rules that each node has, by table.
    loaded: BTreeMap<(String, &'static str), String>,
    kept: bool,
}

/// What is written down of a lab, so that another process can find it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) spec: Spec,
    pub(crate) plan: Plan,
    /// Process numbers of the programs by `NS/NAME`.
    pub(crate) programs: BTreeMap<String, u32>,
}

/// The name under which the outside's program is known.
pub const OUTSIDE: &str = "outside";

/// Takes a lab down, in whatever state it was left; true if there was anything of it.
///
/// Every process in its namespaces ends, whoever started it.
///
/// # Errors
/// No privilege.
pub fn down(name: &str) -> Result<bool> {
    names::check_lab(name)?;
    take_down(name, || ())
}

fn take_down(name: &str, reap: impl FnMut()) -> Result<bool> {
    let files = Files::new(name);
    let namespaces = netns::named(&names::netns_prefix(name))?;
    let found = !namespaces.is_empty() || files.folder().exists();
    programs::end_all(&namespaces, reap);
    for namespace in &namespaces {
        namespace.delete()?;
    }
    files.remove()?;
    Ok(found)
}

// === impl Spec ===

impl Spec {
    /// A lab that enforces what its policies say.
    pub fn new(name: &str, objects: Vec<Object>, program: Program) -> Self {
        let enforcement = Enforcement::default();
        Self { name: name.to_owned(), objects, program, enforcement, masquerade: true }
    }

    /// Keeps each tuple that a policy drops where a probe finds it at once.
    #[must_use]
    pub fn recording_drops(mut self) -> Self {
        self.enforcement.record_drops = true;
        self
    }

    /// Tells these lies.
    #[must_use]
    pub fn lying(mut self, lies: &[Lie]) -> Self {
        self.enforcement.lies = lies.to_vec();
        self
    }
}

// === impl Lab ===

impl Lab {
    /// Makes the lab and waits until its programs serve.
    ///
    /// # Errors
    /// What went wrong first; what was made until then is taken away again.
    pub fn up(spec: Spec) -> Result<Self> {
        names::check_lab(&spec.name)?;
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let declared = Declared::read(&spec.objects)?;
        let plan = Plan::new(&spec.name, &declared)?;
        let files = Files::new(&spec.name);
        let taken = !netns::named(&names::netns_prefix(&spec.name))?.is_empty();
        if taken || !files.create()? {
            return Err(Error::AlreadyUp { name: spec.name });
        }
        let mut lab = Self {
            state: State { spec, plan, programs: BTreeMap::new() },
            files,
            children: BTreeMap::new(),
            published: BTreeMap::new(),
            loaded: BTreeMap::new(),
            kept: false,
        };
        topology::build(&lab.state.plan)?;
        lab.settle()?;
        topology::settle(&lab.state.plan)?;
        lab.start_outside()?;
        lab.save()?;
        let started = lab.files.started();
        lab.files.write(&started, "")?;
        Ok(lab)
    }

    /// A lab that another process made, and which stays when this value goes.
    ///
    /// # Errors
    /// It is not up, or its state cannot be read.
    pub fn attach(name: &str) -> Result<Self> {
        names::check_lab(name)?;
        let files = Files::new(name);
        let path = files.state();
        if !path.exists() {
            return Err(Error::NotUp { name: name.to_owned(), path });
        }
        let state: State = files.state_of()?;
        let declared = Declared::read(&state.spec.objects)?;
        let ports = services::ports(&declared, &state.plan);
        let published = live::objects(&state.spec.objects, &declared, &state.plan, &ports);
        let (children, loaded) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { state, files, children, published, loaded, kept: true })
    }

    /// Lets it run on after this value is gone.
    pub fn keep(mut self) {
        self.kept = true;
    }

    /// Takes it down.
    ///
    /// # Errors
    /// No privilege.
    pub fn down(mut self) -> Result<()> {
        self.kept = true;
        self.take_down()
    }

    fn take_down(&mut self) -> Result<()> {
        let children = &mut self.children;
        take_down(&self.state.spec.name, || reap(children)).map(drop)
    }

    fn save(&self) -> Result<()> {
        self.files.write_json(&self.files.state(), &self.state)
    }
}

fn reap(children: &mut BTreeMap<String, Child>) {
    children.retain(|_, child| matches!(child.try_wait(), Ok(None)));
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.take_down()
        {
            eprintln!("lab '{}' was not taken down: {error}", self.state.spec.name);
        }
    }
}
