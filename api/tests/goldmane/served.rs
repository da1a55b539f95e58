//! A server with a clock of its own, and flows to feed it with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use api::goldmane::proto::flow_collector_client::FlowCollectorClient;
use api::goldmane::proto::flows_client::FlowsClient;
use api::goldmane::proto::statistics_client::StatisticsClient;
use api::goldmane::proto::{self, FlowKey};
use api::goldmane::{Grpc, GrpcConfig, Nodes, Pushes};
use api::{Api, Asker, AskerConfig, Clock, Feed, Limits, Metrics, Recent, Status, Vitals};
use futures::StreamExt as _;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use prost::Message as _;
use schemas::json::Rereader;
use schemas::observation::Names;
use schemas::{Interfaces, UnixNanos};
use tonic::transport::{Channel, Endpoint};

/// The clock's first time: the edge of a window of 15 seconds.
pub(crate) const NOW: u64 = 1_800_000_000;

/// A server with what feeds it.
pub(crate) struct Served {
    pub(crate) feed: Arc<Mutex<Feed>>,
    pub(crate) recent: Recent,
    pub(crate) registry: Arc<Registry>,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    clock: Arc<AtomicU64>,
}

/// What a server is made of beside the defaults.
pub(crate) struct Made {
    pub(crate) limits: Limits,
    pub(crate) window: Duration,
    pub(crate) streams: usize,
    pub(crate) grpc: GrpcConfig,
    pub(crate) nodes: Arc<dyn Nodes>,
    pub(crate) lake: Option<std::path::PathBuf>,
    /// Holds up who asks the clock.
    pub(crate) hold: Option<Arc<Hold>>,
}

/// A hand on the clock: one who asks for the time waits until he is released.
#[derive(Default)]
pub(crate) struct Hold {
    /// Which of those to come; 0 is nobody.
    which: AtomicU64,
    is_held: AtomicBool,
    is_free: AtomicBool,
}

/// A cluster of no nodes.
pub(crate) struct NoNodes;

struct Well;

impl Nodes for NoNodes {
    fn by_address(&self, _: std::net::IpAddr) -> Option<Arc<str>> {
        None
    }

    fn is_node(&self, _: &str) -> bool {
        false
    }
}

impl Vitals for Well {
    fn status(&self) -> Status {
        Status::default()
    }

    fn not_ready(&self) -> std::collections::BTreeMap<String, String> {
        std::collections::BTreeMap::new()
    }
}

impl Default for Made {
    fn default() -> Self {
        let address = Some("127.0.0.1:0".parse().unwrap());
        Self {
            limits: Limits::default(),
            window: Duration::from_secs(15),
            streams: 8,
            grpc: GrpcConfig { address, ..GrpcConfig::default() },
            nodes: Arc::new(NoNodes),
            lake: None,
            hold: None,
        }
    }
}

// === impl Hold ===

impl Hold {
    /// Holds the one who asks at this place from now on.
    pub(crate) fn after(&self, which: u64) {
        self.which.store(which, Ordering::SeqCst);
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::SeqCst)
    }

    pub(crate) fn release(&self) {
        self.is_free.store(true, Ordering::SeqCst);
    }

    fn pass(&self) {
        let down = |left: u64| left.checked_sub(1);
        if self.which.fetch_update(Ordering::SeqCst, Ordering::SeqCst, down) == Ok(1) {
            self.is_held.store(true, Ordering::SeqCst);
            while !self.is_free.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

pub(crate) async fn served(made: Made) -> Served {
    let mut registry = Registry::default();
    let (feed, recent) = api::feed(made.limits, Metrics::register(&mut registry));
    let time = Arc::new(AtomicU64::new(NOW));
    let shared = time.clone();
    let (clock, hold): (Clock, _) = match made.hold {
        None => (Arc::new(move || UnixNanos::from_secs(shared.load(Ordering::Relaxed))), None),
        Some(hold) => {
            let plain = shared.clone();
            let held: Clock = Arc::new(move || {
                hold.pass();
                UnixNanos::from_secs(shared.load(Ordering::Relaxed))
            });
            let plain: Clock =
                Arc::new(move || UnixNanos::from_secs(plain.load(Ordering::Relaxed)));
            (held, Some(plain))
        }
    };
    let (interfaces, names) = (Interfaces::default(), Names::default());
    let asker = Asker::new(
        recent.clone(),
        AskerConfig {
            clock: clock.clone(),
            window: made.window,
            lake: made.lake.map(|folder| history::Place::Folder(folder).into()),
            rereader: Arc::new(Rereader::new(interfaces.clone(), names.clone())),
            streams: made.streams,
        },
    );
    let registry = Arc::new(registry);
    let words = (interfaces, names, None);
    let api = Api::new(asker.clone(), words, registry.clone(), Arc::new(Well));
    let listener = api::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let http = listener.local_addr().unwrap();
    tokio::spawn(api::serve(listener, api, std::future::pending()));
    let server = Grpc::bind(made.grpc).await.unwrap();
    let grpc = server.address().unwrap_or(http);
    // Only questions are held.
    let pushes = Pushes::new(made.window, &recent, hold.unwrap_or(clock));
    let nodes = ("node-a".into(), made.nodes);
    tokio::spawn(server.serve(asker.clone(), pushes.clone(), nodes, std::future::pending()));
    let feed = Arc::new(Mutex::new(feed));
    // What the graph does: from the pushes to the feed.
    let (mut batches, fed) = (Box::pin(pushes.collected().batches()), Arc::downgrade(&feed));
    tokio::spawn(async move {
        while let (Some(batch), Some(feed)) = (batches.next().await, fed.upgrade()) {
            batch.rows.into_iter().for_each(|update| feed.lock().apply(update));
        }
    });
    Served { feed, recent, registry, grpc, http, clock: time }
}

// === impl Served ===

impl Served {
    pub(crate) async fn default() -> Self {
        served(Made::default()).await
    }

    pub(crate) async fn with_window(seconds: u64) -> Self {
        served(Made { window: Duration::from_secs(seconds), ..Made::default() }).await
    }

    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect_lazy()
    }

    pub(crate) fn flows(&self) -> FlowsClient<Channel> {
        FlowsClient::new(self.channel())
    }

    pub(crate) fn statistics(&self) -> StatisticsClient<Channel> {
        StatisticsClient::new(self.channel())
    }

    pub(crate) fn collector(&self) -> FlowCollectorClient<Channel> {
        FlowCollectorClient::new(self.channel())
    }

    /// Moves the clock, and lets windows settle as the daemon does.
    pub(crate) fn set_clock(&self, seconds: u64) {
        self.clock.store(seconds, Ordering::Relaxed);
        self.recent.tick(UnixNanos::from_secs(seconds));
    }

    /// Pushes flows over a connection of its own, and waits until they can be listed.
    pub(crate) async fn push(&self, flows: impl IntoIterator<Item = proto::Flow>) -> usize {
        let updates: Vec<_> =
            flows.into_iter().map(|flow| proto::FlowUpdate { flow: Some(flow) }).collect();
        let sent = updates.len();
        let before = self.counter("pushed_total");
        let response = self.collector().connect(futures::stream::iter(updates)).await.unwrap();
        let receipts = response.into_inner().map(Result::unwrap).count().await;
        assert_eq!(receipts, sent, "one receipt for each");
        assert_eq!(self.counter("pushed_total") - before, u64::try_from(sent).unwrap());
        self.taken_in().await;
        receipts
    }

    /// Waits until every flow that was pushed and is new is in memory.
    pub(crate) async fn taken_in(&self) {
        let wanted = || {
            let fell_off = self.counter("pushed_again_total")
                + self.counter("dropped_total{reason=\"pushed_invalid\"}")
                + self.counter("dropped_total{reason=\"pushed_future\"}");
            self.counter("pushed_total") - fell_off
        };
        let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
        while self.counter("rows_total") < wanted() {
            assert!(tokio::time::Instant::now() < deadline, "the pushed flows do not come");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let name = format!("api_{name} ");
        let line = text.lines().find(|line| line.starts_with(&name));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    pub(crate) async fn list(&self, request: proto::FlowListRequest) -> proto::FlowListResult {
        self.flows().list(request).await.unwrap().into_inner()
    }
}

/// A key of these names: allowed by one policy.
pub(crate) fn key(source: &str, destination: &str) -> FlowKey {
    FlowKey {
        source_name: source.to_owned(),
        source_namespace: "shop".to_owned(),
        source_type: proto::EndpointType::WorkloadEndpoint.into(),
        dest_name: destination.to_owned(),
        dest_namespace: "shop".to_owned(),
        dest_type: proto::EndpointType::WorkloadEndpoint.into(),
        dest_port: 8080,
        dest_service_name: "-".to_owned(),
        dest_service_namespace: "-".to_owned(),
        dest_service_port_name: "-".to_owned(),
        dest_service_port: 0,
        proto: "tcp".to_owned(),
        reporter: proto::Reporter::Src.into(),
        action: proto::Action::Allow.into(),
        policies: Some(proto::PolicyTrace {
            enforced_policies: vec![hit("np", "shop", "allow-all", 0)],
            pending_policies: vec![hit("np", "shop", "allow-all", 0)],
        }),
    }
}

/// An allowing hit: `np` or `gnp`, in tier `default`.
pub(crate) fn hit(kind: &str, namespace: &str, name: &str, rule: i64) -> proto::PolicyHit {
    let kind = match kind {
        "np" => proto::PolicyKind::CalicoNetworkPolicy,
        "gnp" => proto::PolicyKind::GlobalNetworkPolicy,
        "snp" => proto::PolicyKind::StagedNetworkPolicy,
        "pro" => proto::PolicyKind::Profile,
        other => panic!("{other}"),
    };
    proto::PolicyHit {
        kind: kind.into(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        tier: "default".to_owned(),
        action: proto::Action::Allow.into(),
        rule_index: rule,
        ..proto::PolicyHit::default()
    }
}

/// An end of tier that denies, with the policy that caused it.
pub(crate) fn end_of_tier(namespace: &str, name: &str) -> proto::PolicyHit {
    let trigger = proto::PolicyHit { action: 0, ..hit("np", namespace, name, 0) };
    proto::PolicyHit {
        kind: proto::PolicyKind::EndOfTier.into(),
        tier: "default".to_owned(),
        action: proto::Action::Deny.into(),
        rule_index: -1,
        trigger: Some(Box::new(trigger)),
        ..proto::PolicyHit::default()
    }
}

/// A flow that begins then; `packets` both ways.
pub(crate) fn flow(key: &FlowKey, start: u64, packets: i64) -> proto::Flow {
    let start = i64::try_from(start).unwrap();
    proto::Flow {
        key: key.encode_to_vec().into(),
        start_time: start,
        // As Felix has it.
        end_time: start,
        source_labels: vec!["app=frontend".to_owned()],
        dest_labels: vec!["app=cart".to_owned()],
        packets_in: packets,
        packets_out: packets,
        bytes_in: packets * 100,
        bytes_out: packets * 100,
        num_connections_started: 1,
        num_connections_completed: 0,
        num_connections_live: 1,
    }
}

/// The key of a result.
pub(crate) fn key_of(result: &proto::FlowResult) -> FlowKey {
    FlowKey::decode(result.flow.as_ref().unwrap().key.clone()).unwrap()
}
