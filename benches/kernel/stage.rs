//! A node and a pod for the bench, in namespaces of their own, and what stands at their veth.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use collector::bench::{Attached, Cost, Rival, attach, costs};
use collector::report::DrainReport;
use collector::{Config, Control, Metrics, Namespace, Tables};
use nix::sched::{CloneFlags, setns};

use crate::traffic;

/// What counts at the hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Candidate {
    /// Nothing: the cost of being called.
    Empty,
    /// A HASH map.
    Hash,
    /// The collector.
    Table,
}

/// Two namespaces and a veth, removed at the end.
pub(crate) struct Stage {
    pub(crate) node: String,
    pub(crate) pod: String,
    instance: String,
}

/// A candidate at the hooks, and the numbers of its programs.
pub(crate) struct AtHooks {
    ids: Vec<u32>,
    rival: Option<Drained>,
    collector: Option<Running>,
}

/// A rival whose map is drained every second, as the collector's is.
struct Drained {
    is_over: Arc<AtomicBool>,
    drain: Option<thread::JoinHandle<()>>,
}

struct Running {
    control: Option<Control>,
    reader: Option<thread::JoinHandle<()>>,
    config: Config,
}

// === impl Stage ===

impl Stage {
    pub(crate) fn new() -> Result<Self> {
        let name = format!("wfb{}", std::process::id());
        let stage =
            Self { node: format!("{name}-node"), pod: format!("{name}-pod"), instance: name };
        let Self { node, pod, .. } = &stage;
        for netns in [node, pod] {
            run(&format!("ip netns add {netns}"))?;
            run(&format!("ip -n {netns} link set lo up"))?;
        }
        run(&format!("ip -n {node} link add pod-1 type veth peer name eth0 netns {pod}"))?;
        run(&format!("ip -n {node} addr add 10.78.1.1/16 dev pod-1"))?;
        run(&format!("ip -n {pod} addr add 10.78.1.2/16 dev eth0"))?;
        run(&format!("ip -n {node} link set pod-1 up"))?;
        run(&format!("ip -n {pod} link set eth0 up"))?;
        for netns in [node, pod] {
            let path = "net.ipv4.conf.all.forwarding=0";
            run(&format!("ip netns exec {netns} sysctl -qw {path}"))?;
        }
        // Addresses that nobody has: what is sent there is dropped without an answer.
        let far = |from: &str, device: &str, other: &str, peer: &str, to: &str| -> Result<()> {
            let link = run(&format!("ip -n {other} -br link show {peer}"))?;
            let mac = link.split_ascii_whitespace().nth(2).context("a link's address")?.to_owned();
            run(&format!("ip -n {from} neigh replace {to} lladdr {mac} dev {device}"))?;
            Ok(())
        };
        far(node, "pod-1", pod, "eth0", "10.78.2.2")?;
        far(pod, "eth0", node, "pod-1", "10.78.2.1")?;
        Ok(stage)
    }

    /// Does something in a namespace, in a thread of its own.
    pub(crate) fn inside<T: Send>(netns: &str, body: impl FnOnce() -> T + Send) -> Result<T> {
        let file = File::open(Path::new("/run/netns").join(netns))?;
        let entered = thread::scope(|scope| {
            scope
                .spawn(|| setns(&file, CloneFlags::CLONE_NEWNET).map(|()| body()))
                .join()
                .map_err(|_| anyhow::anyhow!("a thread of the bench failed"))
        });
        Ok(entered??)
    }

    /// Puts a candidate at both hooks; programs with these numbers are others'.
    pub(crate) fn attach(&self, candidate: Candidate, others: &[u32]) -> Result<AtHooks> {
        let mut at_hooks = AtHooks { ids: Vec::new(), rival: None, collector: None };
        let rival = match candidate {
            Candidate::Empty => Some(Rival::Empty),
            Candidate::Hash => Some(Rival::Hash),
            Candidate::Table => None,
        };
        match rival {
            Some(rival) => {
                let attached = Self::inside(&self.node, || attach(rival, "pod-1"))??;
                at_hooks.rival = Some(Drained::new(attached));
            }
            None => at_hooks.collector = Some(self.collect(Duration::from_secs(1), 0)?),
        }
        let is_at_hook = |cost: &Cost| {
            let drops = ["whyflow_drops", "whyflow_clock"];
            !others.contains(&cost.id) && !drops.contains(&&*cost.name)
        };
        at_hooks.ids = costs().into_iter().filter(is_at_hook).map(|cost| cost.id).collect();
        Ok(at_hooks)
    }

    fn collect(&self, interval: Duration, drop_places: u32) -> Result<Running> {
        let config = Config {
            instance: self.instance.clone(),
            namespaces: vec![Namespace { node: "bench".into(), path: PathBuf::from(&self.node) }],
            pods: vec!["pod-*".into()],
            places: 262_144,
            drop_places,
            interval,
            window: interval,
            keep_pins: false,
            ..Config::default()
        };
        let (mut source, control) =
            collector::open(config.clone(), &Tables::default(), Metrics::default(), None)?;
        let reader = thread::spawn(move || while source.blocking_next().is_some() {});
        Ok(Running { control: Some(control), reader: Some(reader), config })
    }

    /// Runs and time of the drops program for one hot flow.
    pub(crate) fn drops(&self) -> Result<(u64, u64)> {
        let others: Vec<u32> = costs().into_iter().map(|cost| cost.id).collect();
        let running = self.collect(Duration::from_secs(1), 16_384)?;
        let cost = || {
            let found = costs()
                .into_iter()
                .find(|cost| cost.name == "whyflow_drops" && !others.contains(&cost.id));
            found.map(|cost| (cost.runs, cost.nanoseconds)).context("the drops program")
        };
        let before = cost()?;
        let to = "10.78.2.1:9".parse()?;
        Self::inside(&self.pod, || traffic::flood(to, Duration::from_secs(2), 1))??;
        let after = cost()?;
        drop(running);
        Ok((after.0 - before.0, after.1 - before.1))
    }

    /// The quickest of the drains that found nearly all of so many flows.
    pub(crate) fn drain(&self, flows: u32) -> Result<DrainReport> {
        let running = self.collect(Duration::from_secs(3), 0)?;
        let control = running.control.as_ref().context("a collector")?;
        let to = "10.78.2.1:0".parse()?;
        let mut drains = Vec::new();
        for _ in 0..6 {
            Self::inside(&self.pod, || traffic::fan(to, flows))??;
            let until = control.report().last_drain.number + 1;
            while control.report().last_drain.number < until {
                thread::sleep(Duration::from_millis(20));
            }
            drains.push(control.report().last_drain);
        }
        let is_whole = |drain: &DrainReport| drain.rows * 10 >= flows as usize * 9;
        let whole = drains.into_iter().filter(is_whole);
        whole.min_by_key(|drain| drain.nanoseconds).context("no drain found all flows")
    }

    /// Megabytes per second of one TCP stream from the pod to the node.
    pub(crate) fn throughput(&self, watched: bool) -> Result<f64> {
        let running =
            if watched { Some(self.collect(Duration::from_secs(1), 16_384)?) } else { None };
        let rate = traffic::stream(self, Duration::from_secs(4));
        drop(running);
        rate
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for netns in [&self.node, &self.pod] {
            drop(run(&format!("ip netns del {netns}")));
        }
    }
}

// === impl AtHooks ===

impl AtHooks {
    /// The programs' costs so far, by number.
    pub(crate) fn costs(&self) -> Vec<Cost> {
        let mut found: Vec<Cost> =
            costs().into_iter().filter(|cost| self.ids.contains(&cost.id)).collect();
        found.sort_by_key(|cost| cost.id);
        found
    }

    pub(crate) fn detach(self) {
        drop((self.rival, self.collector));
    }
}

// === impl Drained ===

impl Drained {
    fn new(attached: Attached) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let is_ours = is_over.clone();
        let drain = thread::spawn(move || {
            while !is_ours.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_secs(1));
                if attached.drain().is_err() {
                    return;
                }
            }
        });
        Self { is_over, drain: Some(drain) }
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(drain) = self.drain.take() {
            drop(drain.join());
        }
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(control) = self.control.take() {
            control.join();
        }
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
        drop(collector::unload(&self.config));
    }
}

fn run(command: &str) -> Result<String> {
    let words: Vec<&str> = command.split_ascii_whitespace().collect();
    let (program, arguments) = words.split_first().context("a command")?;
    let output = Command::new(program).args(arguments).output().context(command.to_owned())?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{command}` failed: {errors}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
