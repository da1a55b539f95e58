//! Namespaces and veths for one test, removed when it ends, however it ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use collector::{Config, Control, Metrics, Namespace, Source, Tables};
use nix::sched::{CloneFlags, setns};
use prometheus_client::registry::Registry;
use schemas::Ledger;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// How long a condition may take to hold.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A node with pods: one namespace each, a veth from each pod to the node.
pub(crate) struct World {
    /// Beginning of every name that this test uses.
    pub(crate) name: String,
    /// Namespaces made.
    namespaces: Vec<String>,
    /// Instances opened.
    instances: Vec<String>,
}

/// A collector that runs, and all that it needs.
pub(crate) struct Running {
    pub(crate) source: Source,
    pub(crate) control: Control,
    pub(crate) tables: Tables,
}

/// Whether this machine can run these tests; if not, it says so, and with `CI=true` it fails.
#[expect(clippy::print_stderr, reason = "a skipped test has to be seen")]
pub(crate) fn can_run() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    let has_bpf = Path::new("/sys/kernel/btf/vmlinux").exists();
    if is_root && has_bpf {
        return true;
    }
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let missing = if is_root { "a kernel with BTF" } else { "root" };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} needs {missing}");
    eprintln!("SKIPPED {test}: it needs {missing}");
    false
}

/// Runs a command and returns what it printed.
///
/// # Panics
/// When it fails.
pub(crate) fn run(command: &str) -> String {
    let output = attempt(command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{command}` failed: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command that may fail.
pub(crate) fn attempt(command: &str) -> Output {
    let words: Vec<&str> = command.split_ascii_whitespace().collect();
    Command::new(words[0]).args(&words[1..]).output().expect("the command runs")
}

/// Changes a namespace's packet filter.
pub(crate) fn nft(netns: &str, rule: &str) {
    run(&format!("ip netns exec {netns} nft {rule}"));
}

/// Waits until something holds.
///
/// # Panics
/// When it does not within the patience.
#[expect(clippy::disallowed_methods, reason = "a test's patience ends by the clock")]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come to hold in {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Does something in a namespace, in a thread that stays there.
pub(crate) fn inside<T: Send>(netns: &str, body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(Path::new("/run/netns").join(netns)).expect("the namespace");
            setns(&file, CloneFlags::CLONE_NEWNET).expect("root may enter");
            body()
        });
        thread.join().expect("the body ends")
    })
}

impl World {
    /// Nothing but a name.
    pub(crate) fn new() -> Self {
        // What the collector says is shown with a test that fails.
        drop(tracing_subscriber::fmt().with_test_writer().try_init());
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wf{}x{number}", std::process::id());
        Self { name, namespaces: Vec::new(), instances: Vec::new() }
    }

    /// Makes a namespace that forwards, and returns its name.
    pub(crate) fn namespace(&mut self, short: &str) -> String {
        let name = format!("{}-{short}", self.name);
        run(&format!("ip netns add {name}"));
        self.namespaces.push(name.clone());
        run(&format!("ip -n {name} link set lo up"));
        let sysctl = "net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
                      net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0";
        run(&format!("ip netns exec {name} sysctl -qw {sysctl}"));
        name
    }

    /// Makes a pod with the addresses `10.77.N.2` and `fd77:N::2`, and a veth `pod-N` in the node.
    pub(crate) fn pod(&mut self, node: &str, number: u8) -> String {
        let pod = self.namespace(&format!("p{number}"));
        Self::wire(node, &pod, number);
        pod
    }

    /// Joins a pod to the node.
    pub(crate) fn wire(node: &str, pod: &str, number: u8) {
        let near = format!("pod-{number}");
        run(&format!("ip -n {node} link add {near} type veth peer name eth0 netns {pod}"));
        run(&format!("ip -n {node} addr add 10.77.{number}.1/24 dev {near}"));
        run(&format!("ip -n {node} addr add fd77:{number}::1/64 dev {near} nodad"));
        run(&format!("ip -n {pod} addr add 10.77.{number}.2/24 dev eth0"));
        run(&format!("ip -n {pod} addr add fd77:{number}::2/64 dev eth0 nodad"));
        run(&format!("ip -n {node} link set {near} up"));
        run(&format!("ip -n {pod} link set eth0 up"));
        run(&format!("ip -n {pod} route add default via 10.77.{number}.1"));
        run(&format!("ip -n {pod} -6 route add default via fd77:{number}::1"));
    }

    /// A config that watches nodes: pods are `pod-*`.
    pub(crate) fn config(&self, nodes: &[&str]) -> Config {
        let namespace = |node: &&str| Namespace { node: (*node).into(), path: PathBuf::from(node) };
        Config {
            instance: self.name.clone(),
            namespaces: nodes.iter().map(namespace).collect(),
            pods: vec!["pod-*".into()],
            uplinks: vec!["up-*".into()],
            interval: Duration::from_millis(200),
            ..Config::default()
        }
    }

    /// Opens a collector.
    pub(crate) fn open(&mut self, config: Config, stored: Option<&Ledger>) -> Running {
        self.instances.push(config.instance.clone());
        let (tables, mut registry) = (Tables::default(), Registry::default());
        let metrics = Metrics::register(&mut registry);
        let (source, control) =
            collector::open(config, &tables, metrics, stored).expect("the collector opens");
        Running { source, control, tables }
    }

    /// Notes an instance that another process opens, so that its pins are removed.
    pub(crate) fn adopt(&mut self, instance: &str) {
        self.instances.push(instance.to_owned());
    }
}

impl Running {
    /// Waits until these interfaces' hooks are in place.
    pub(crate) fn until_attached(&self, wanted: &[(&str, &str)]) {
        until("the interfaces' hooks", || {
            let report = self.control.report();
            wanted.iter().all(|(node, name)| {
                let is_it = |it: &&collector::report::InterfaceReport| {
                    &*it.interface.netns == *node && &*it.interface.name == *name
                };
                report.interfaces.iter().find(is_it).is_some_and(|it| it.is_attached)
            })
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for instance in self.instances.drain(..) {
            let config = Config { instance: instance.clone(), ..Config::default() };
            // A collector whose test has failed may need a moment to end.
            for _ in 0..100 {
                match collector::unload(&config) {
                    Ok(_) => break,
                    Err(_) => thread::sleep(Duration::from_millis(50)),
                }
            }
        }
        for name in self.namespaces.drain(..) {
            attempt(&format!("ip netns del {name}"));
        }
    }
}
