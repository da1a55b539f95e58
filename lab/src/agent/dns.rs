//! A small authoritative resolver for the cluster's names.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

use super::udp::Answer;

/// The names of a cluster, read anew when their file changes.
pub(super) struct Zone {
    file: PathBuf,
    read_at: Option<SystemTime>,
    names: BTreeMap<String, Vec<IpAddr>>,
}

/// How long an answer may be kept, in seconds: as CoreDNS has it for a cluster's names.
pub(super) const TTL: u32 = 30;

// === impl Zone ===

impl Zone {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, read_at: None, names: BTreeMap::new() }
    }

    fn refresh(&mut self) {
        let changed = fs::metadata(&self.file).and_then(|metadata| metadata.modified()).ok();
        if changed == self.read_at {
            return;
        }
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        // The last names that could be read stay in force.
        if let Ok(names) = serde_json::from_str(&text) {
            (self.names, self.read_at) = (names, changed);
        }
    }
}

impl Answer for Zone {
    fn answer(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        self.refresh();
        let query = Packet::parse(datagram).ok()?;
        if query.has_flags(PacketFlag::RESPONSE) {
            return None;
        }
        let mut reply = Packet::new_reply(query.id());
        reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        for question in &query.questions {
            let name = question.qname.to_string().to_lowercase();
            match self.names.get(&name) {
                None => *reply.rcode_mut() = RCODE::NameError,
                Some(addresses) => {
                    let data = addresses.iter().filter_map(|ip| record(*ip, question.qtype));
                    reply.answers.extend(data.map(|data| {
                        ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, data)
                    }));
                }
            }
        }
        reply.questions.clone_from(&query.questions);
        reply.build_bytes_vec_compressed().ok()
    }
}

fn record(address: IpAddr, asked: QTYPE) -> Option<RData<'static>> {
    match (address, asked) {
        (IpAddr::V4(v4), QTYPE::TYPE(TYPE::A) | QTYPE::ANY) => Some(RData::A(v4.into())),
        (IpAddr::V6(v6), QTYPE::TYPE(TYPE::AAAA) | QTYPE::ANY) => Some(RData::AAAA(v6.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::{Name, QCLASS, Question};

    fn ask(zone: &mut Zone, name: &str, asked: TYPE) -> (RCODE, usize) {
        let mut query = Packet::new_query(7);
        let name = Name::new(name).unwrap();
        query.questions.push(Question::new(name, asked.into(), QCLASS::CLASS(CLASS::IN), false));
        let reply = zone.answer(&query.build_bytes_vec().unwrap()).unwrap();
        let reply = Packet::parse(&reply).unwrap();
        assert_eq!(reply.id(), 7);
        (reply.rcode(), reply.answers.len())
    }

    #[test]
    fn a_known_name_has_addresses_by_family_and_an_unknown_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("names.json");
        fs::write(&file, r#"{"cart.shop.svc.cluster.local": ["10.96.0.10"]}"#).unwrap();
        let mut zone = Zone::new(file);
        let name = "Cart.shop.svc.cluster.local";
        assert_eq!(ask(&mut zone, name, TYPE::A), (RCODE::NoError, 1));
        assert_eq!(ask(&mut zone, name, TYPE::AAAA), (RCODE::NoError, 0));
        assert_eq!(ask(&mut zone, "nobody", TYPE::A), (RCODE::NameError, 0));
    }

    #[test]
    fn bytes_that_are_no_query_have_no_answer() {
        assert_eq!(Zone::new(PathBuf::new()).answer(&[1, 2, 3]), None);
    }
}
