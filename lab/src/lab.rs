//! A running lab: made from manifests, changed while it runs, taken down without a trace.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::thread;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::AgentConfig;
use crate::agent::log::{self, Event};
use crate::annotations::{Lie, UnexplainedDrop};
use crate::clock;
use crate::declared::Declared;
use crate::enforce::{self, Enforcement};
use crate::error::{Error, Result};
use crate::files::Files;
use crate::live;
use crate::manifests::{Id, Object};
use crate::names;
use crate::netns::{self, Netns};
use crate::plan::{Node, Plan, Pod};
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

// === impl Lab: up and down ===

impl Lab {
    /// Makes the lab and waits until its programs serve.
    ///
    /// # Errors
    /// What went wrong first; what was made until then is taken away again.
    pub fn up(spec: Spec) -> Result<Self> {
        names::check_lab(&spec.name)?;
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
        let state: State = files.read_json(&path)?;
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

// === impl Lab: changes while it runs ===

impl Lab {
    /// Adds objects, or replaces those of the same kind and name; everything follows at once:
    /// pods come and go, rules and live manifests are made anew.
    ///
    /// # Errors
    /// What went wrong first; the lab may then be between two states.
    pub fn apply(&mut self, bodies: impl IntoIterator<Item = Value>) -> Result<()> {
        for body in bodies {
            let object = Object::new(body);
            let id = object.id();
            let objects = &mut self.state.spec.objects;
            match objects.iter_mut().find(|old| old.id() == id) {
                Some(old) => *old = object,
                None => objects.push(object),
            }
        }
        self.settle()?;
        self.save()
    }

    /// Replaces all network policies by these.
    ///
    /// # Errors
    /// A policy that no rules can be made from; the rules before it are still in force then.
    pub fn apply_policies(&mut self, bodies: impl IntoIterator<Item = Value>) -> Result<()> {
        self.state.spec.objects.retain(|object| object.id().kind != "NetworkPolicy");
        self.apply(bodies)
    }

    /// Deletes an object; false if there is none.
    ///
    /// # Errors
    /// What went wrong first.
    pub fn delete(&mut self, kind: &str, namespace: &str, name: &str) -> Result<bool> {
        let before = self.state.spec.objects.len();
        self.state.spec.objects.retain(|object| {
            let id = object.id();
            (id.kind.as_str(), id.namespace.as_str(), id.name.as_str()) != (kind, namespace, name)
        });
        self.settle()?;
        self.save()?;
        Ok(self.state.spec.objects.len() < before)
    }

    /// Adds a pod; it gets the lowest free address of its node, or those it asks for.
    ///
    /// # Errors
    /// What went wrong first.
    pub fn add_pod(&mut self, body: Value) -> Result<Pod> {
        let id = Object::new(body.clone()).id();
        self.apply([body])?;
        self.pod(&format!("{}/{}", id.namespace, id.name)).cloned()
    }

    /// Deletes a pod that stands by itself, by `NS/NAME`.
    ///
    /// # Errors
    /// There is none, or it could not be taken away.
    pub fn delete_pod(&mut self, name: &str) -> Result<()> {
        let pod = self.pod(name)?.clone();
        if self.delete("Pod", &pod.namespace, &pod.name)? {
            return Ok(());
        }
        Err(self.absent("pod without an owner", name))
    }

    /// Tells these lies from now on.
    ///
    /// # Errors
    /// The rules could not be made or loaded.
    pub fn lie(&mut self, lies: &[Lie], unexplained: &[UnexplainedDrop]) -> Result<()> {
        self.state.spec.enforcement.lies = lies.to_vec();
        self.state.spec.enforcement.unexplained = unexplained.to_vec();
        self.settle()?;
        self.save()
    }

    /// Makes everything be as the objects say.
    fn settle(&mut self) -> Result<()> {
        let declared = Declared::read(&self.state.spec.objects)?;
        self.remove_pods(&declared)?;
        self.state.plan.place_services(&declared.services)?;
        let added = self.place_pods(&declared)?;
        let ports = services::ports(&declared, &self.state.plan);
        // The rules of a pod are there before the pod is.
        let services = services::ruleset(&ports, self.state.spec.masquerade);
        let policies =
            enforce::rulesets(&declared, &self.state.plan, &self.state.spec.enforcement)?;
        for (node, rules) in policies {
            self.load(&node, "lab_services", &services)?;
            self.load(&node, "lab_policies", &rules)?;
        }
        let plan = &self.state.plan;
        self.files.write_json(&self.files.names(), &live::dns(&declared, plan, &ports))?;
        let now = live::objects(&self.state.spec.objects, &declared, plan, &ports);
        self.files.publish(&self.published, &now)?;
        self.published = now;
        self.start_pods(&added)
    }

    /// Takes away the pods that are no longer declared, or no longer what they were.
    fn remove_pods(&mut self, declared: &Declared) -> Result<()> {
        let gone: Vec<_> = {
            let pods = self.state.plan.pods.keys();
            pods.filter(|name| !declared.pods.contains_key(*name)).cloned().collect()
        };
        for name in gone {
            let Some(pod) = self.state.plan.pods.remove(&name) else { continue };
            let children = &mut self.children;
            if pod.is_host_network() {
                if let Some(pid) = self.state.programs.get(&name) {
                    let pid = i32::try_from(*pid).unwrap_or_default();
                    programs::end(pid, &pod.netns, || reap(children));
                }
            } else {
                programs::end_all(std::slice::from_ref(&pod.netns), || reap(children));
            }
            self.state.programs.remove(&name);
            topology::remove_pod(&self.state.plan.node(&pod.node)?.netns, &pod)?;
        }
        Ok(())
    }

    fn place_pods(&mut self, declared: &Declared) -> Result<Vec<Pod>> {
        let now = clock::kubernetes_time();
        let plan = &mut self.state.plan;
        let new: Vec<_> =
            declared.pods.iter().filter(|(name, _)| !plan.pods.contains_key(*name)).collect();
        // Who asks for an address gets it before the others choose.
        let (asking, others): (Vec<_>, Vec<_>) = new.into_iter().partition(|(_, pod)| {
            let annotations = pod.metadata.annotations.as_ref();
            annotations.is_some_and(|a| a.contains_key(crate::annotations::ADDRESS))
        });
        asking.into_iter().chain(others).map(|(_, pod)| plan.place(pod, &now)).collect()
    }

    fn load(&mut self, node: &str, table: &'static str, rules: &str) -> Result<()> {
        let key = (node.to_owned(), table);
        if self.loaded.get(&key).is_none_or(|loaded| loaded != rules) {
            self.state.plan.node(node)?.netns.check(&["nft", "-f", "-"], rules)?;
            self.loaded.insert(key, rules.to_owned());
        }
        Ok(())
    }
}

// === impl Lab: programs ===

impl Lab {
    fn start_pods(&mut self, pods: &[Pod]) -> Result<()> {
        for pod in pods {
            topology::build_pod(self.state.plan.node(&pod.node)?, pod)?;
        }
        let mut started = Vec::new();
        for pod in pods.iter().filter(|pod| !pod.serves.is_empty() || !pod.calls.is_empty()) {
            let name = pod.full_name();
            let config = AgentConfig {
                addresses: pod.addresses().to_vec(),
                serves: pod.serves.clone(),
                calls: pod.calls.clone(),
                ..self.agent_config(&name, &pod.namespace)
            };
            self.start(&pod.netns, &config)?;
            started.push(name);
        }
        for name in started {
            self.wait_ready(&name)?;
        }
        Ok(())
    }

    fn start_outside(&mut self) -> Result<()> {
        let outside = self.state.plan.outside.clone();
        let config = AgentConfig {
            addresses: outside.addresses,
            serves: outside.serves,
            calls: outside.calls,
            ..self.agent_config(OUTSIDE, OUTSIDE)
        };
        self.start(&outside.netns, &config)?;
        self.wait_ready(OUTSIDE)
    }

    fn agent_config(&self, name: &str, namespace: &str) -> AgentConfig {
        AgentConfig {
            program: name.to_owned(),
            namespace: namespace.to_owned(),
            addresses: Vec::new(),
            serves: Vec::new(),
            calls: Vec::new(),
            resolver: self.resolver(),
            names: self.files.names(),
            started: self.files.started(),
            log: self.files.program(name, "jsonl"),
        }
    }

    /// The service that pods ask for names, as a kubelet writes it into their resolv.conf.
    fn resolver(&self) -> Option<SocketAddr> {
        let addresses = self.state.plan.cluster_ips.get("kube-system/kube-dns")?;
        addresses.first().map(|address| SocketAddr::new(*address, 53))
    }

    fn start(&mut self, netns: &Netns, config: &AgentConfig) -> Result<()> {
        let name = &config.program;
        self.files.write_json(&self.files.program(name, "json"), config)?;
        let child = self.state.spec.program.start(netns, &self.files, name)?;
        self.state.programs.insert(name.clone(), child.id());
        self.children.insert(name.clone(), child);
        Ok(())
    }

    fn wait_ready(&mut self, name: &str) -> Result<()> {
        match self.children.get_mut(name) {
            Some(child) => programs::wait_ready(child, &self.files, name),
            None => Ok(()),
        }
    }

    /// Runs a program in a pod to its end.
    ///
    /// # Errors
    /// The pod is not there, or the program cannot be started.
    pub fn exec(&self, pod: &str, argv: &[&str]) -> Result<Output> {
        self.pod(pod)?.netns.output(argv, "")
    }

    /// Starts a program in a pod.
    ///
    /// # Errors
    /// The pod is not there, or the program cannot be started.
    pub fn spawn(&self, pod: &str, command: &mut Command) -> Result<Child> {
        let program = command.get_program().to_string_lossy().into_owned();
        let start = |source| Error::Start { program, source };
        self.pod(pod)?.netns.run(|| command.spawn())?.map_err(start)
    }

    /// Runs `work` on a thread in a pod's network namespace.
    ///
    /// # Errors
    /// The pod is not there, or its namespace cannot be entered.
    pub fn run_in<T: Send>(&self, pod: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.pod(pod)?.netns.run(work)
    }

    /// What a pod's program (or [`OUTSIDE`]'s) wrote down.
    ///
    /// # Errors
    /// The pod is not there, or its program has not begun to write.
    pub fn events(&self, pod: &str) -> Result<Vec<Event>> {
        log::read(&self.log(pod)?)
    }

    /// Where a pod's program (or [`OUTSIDE`]'s) writes what it sent and got.
    ///
    /// # Errors
    /// The pod is not there.
    pub fn log(&self, pod: &str) -> Result<PathBuf> {
        if pod == OUTSIDE {
            return Ok(self.files.program(OUTSIDE, "jsonl"));
        }
        Ok(self.files.program(&self.pod(pod)?.full_name(), "jsonl"))
    }
}

// === impl Lab: what there is ===

impl Lab {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.state.spec.name
    }

    /// The folder of live manifests.
    pub fn manifests(&self) -> PathBuf {
        self.files.manifests()
    }

    /// The folder of everything that the lab writes.
    pub fn folder(&self) -> &Path {
        self.files.folder()
    }

    /// The layout.
    pub fn plan(&self) -> &Plan {
        &self.state.plan
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.state.plan.nodes
    }

    /// All pods, by name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.state.plan.pods.values()
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// A pod by `NS/NAME`, or the first pod of the workload of that name.
    ///
    /// # Errors
    /// There is none, and what there is.
    pub fn pod(&self, name: &str) -> Result<&Pod> {
        if let Some(pod) = self.state.plan.pods.get(name) {
            return Ok(pod);
        }
        let of_workload = format!("{name}-");
        let mut pods = self.state.plan.pods.iter();
        let found = pods.find(|(full, _)| full.starts_with(&of_workload));
        found.map(|(_, pod)| pod).ok_or_else(|| self.absent("pod", name))
    }

    /// The addresses of a service, by `NS/NAME`.
    ///
    /// # Errors
    /// There is none, and what there is.
    pub fn service(&self, name: &str) -> Result<&[IpAddr]> {
        let services = &self.state.plan.cluster_ips;
        services.get(name).map(Vec::as_slice).ok_or_else(|| Error::Absent {
            lab: self.name().to_owned(),
            kind: "service",
            name: name.to_owned(),
            present: services.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    fn absent(&self, kind: &'static str, name: &str) -> Error {
        let present: Vec<_> = self.state.plan.pods.keys().map(String::as_str).collect();
        Error::Absent {
            lab: self.name().to_owned(),
            kind,
            name: name.to_owned(),
            present: present.join(", "),
        }
    }

    /// Runs `work` in each of the namespaces at once, on a thread of its own.
    pub(crate) fn in_each<K: Send, T: Send>(
        places: Vec<(K, &Netns)>,
        work: impl Fn(K) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let work = &work;
        thread::scope(|scope| {
            let threads: Vec<_> = places
                .into_iter()
                .map(|(key, netns)| scope.spawn(move || netns.run(|| work(key))?))
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        })
    }
}
