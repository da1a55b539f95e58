//! A lab's programs: those that its pods run, and those that a caller runs in them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::thread;

use super::{Lab, OUTSIDE};
use crate::agent::AgentConfig;
use crate::agent::log::{self, Event};
use crate::error::{Error, Result};
use crate::netns::Netns;
use crate::plan::Pod;
use crate::programs;
use crate::topology;

impl Lab {
    pub(super) fn start_pods(&mut self, pods: &[Pod]) -> Result<()> {
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

    pub(super) fn start_outside(&mut self) -> Result<()> {
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
