//! Names to addresses, asked of the cluster's resolver as a pod would.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, Question, RCODE, TYPE};
use tokio::time::Instant;

use super::log::Log;
use super::{Caller, dns, udp};

/// Addresses of each name and family, and until when they are good.
type Known = HashMap<(String, bool), (Instant, Vec<IpAddr>)>;

/// The resolver as a pod sees it.
pub(super) struct Resolver {
    server: Option<SocketAddr>,
    namespace: String,
    addresses: Arc<[IpAddr]>,
    log: Arc<Log>,
    known: Mutex<Known>,
}

/// How long one answer is waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Names kept; beyond that all are asked for again.
const KNOWN_MAX: usize = 256;
/// With fewer dots than this a name is looked for in the search domains first, as the
/// kubelet's `ndots` says.
const DOTS: usize = 5;

// === impl Resolver ===

impl Resolver {
    pub(super) fn new(
        server: Option<SocketAddr>,
        namespace: String,
        addresses: Arc<[IpAddr]>,
        log: &Arc<Log>,
    ) -> Self {
        let log = Arc::clone(log);
        Self { server, namespace, addresses, log, known: Mutex::new(HashMap::new()) }
    }

    /// One of the host's addresses; none if there is none of that family.
    pub(super) async fn resolve(self: &Arc<Self>, host: &str, ipv6: bool) -> Option<IpAddr> {
        if let Ok(address) = host.parse() {
            return Some(address);
        }
        let key = (host.to_owned(), ipv6);
        let kept = self.known().get(&key).cloned();
        if let Some((until, addresses)) = kept
            && Instant::now() < until
        {
            return fastrand::choice(addresses);
        }
        let addresses = self.search(host, ipv6).await?;
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        let until = Instant::now() + Duration::from_secs(u64::from(dns::TTL));
        known.insert(key, (until, addresses.clone()));
        fastrand::choice(addresses)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn search(self: &Arc<Self>, host: &str, ipv6: bool) -> Option<Vec<IpAddr>> {
        for name in self.candidates(host) {
            // A question without an answer, unlike an answer "no such name", ends the search.
            if let Some(addresses) = self.ask(&name, ipv6).await? {
                return (!addresses.is_empty()).then_some(addresses);
            }
        }
        None
    }

    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let domains = [
            format!("{host}.{}.svc.cluster.local", self.namespace),
            format!("{host}.svc.cluster.local"),
            format!("{host}.cluster.local"),
        ];
        let itself = host.to_owned();
        if host.matches('.').count() < DOTS && !host.ends_with("cluster.local") {
            domains.into_iter().chain([itself]).collect()
        } else {
            vec![itself]
        }
    }

    /// Asks once: none without an answer, `Some(None)` for no such name.
    pub(super) async fn ask(
        self: &Arc<Self>,
        name: &str,
        ipv6: bool,
    ) -> Option<Option<Vec<IpAddr>>> {
        let server = self.server?;
        let mut query = Packet::new_query(fastrand::u16(..));
        query.set_flags(PacketFlag::RECURSION_DESIRED);
        let asked = if ipv6 { TYPE::AAAA } else { TYPE::A };
        let class = QCLASS::CLASS(CLASS::IN);
        query.questions.push(Question::new(Name::new(name).ok()?, asked.into(), class, false));
        let bytes = query.build_bytes_vec().ok()?;
        let caller = Caller {
            addresses: Arc::clone(&self.addresses),
            resolver: Arc::clone(self),
            log: Arc::clone(&self.log),
        };
        let target = format!("dns:{name}");
        let question = [bytes.as_slice()].into_iter();
        let answer = udp::exchange(&caller, server, &target, ANSWERED_WITHIN, question).await?;
        let answer = Packet::parse(&answer).ok().filter(|answer| answer.id() == query.id())?;
        if answer.rcode() == RCODE::NameError {
            return Some(None);
        }
        let address = |data: &RData<'_>| match data {
            RData::A(a) => Some(IpAddr::V4(a.address.into())),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.address.into())),
            _ => None,
        };
        Some(Some(answer.answers.iter().filter_map(|record| address(&record.rdata)).collect()))
    }
}
