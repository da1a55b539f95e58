//! What clients ask, in whyflow's terms.

use std::time::Duration;

use prost::Message as _;
use schemas::Reporter;
use schemas::filter::{ActionMatch, Filter, MatchType, PolicyMatch, PortMatch, StringMatch};
use tonic::Status;

use super::proto;
use crate::ask::{CountedBy, HintOf, Order, Paging, StatisticsAsked, StatisticsOf};

/// A filter; what is unspecified asks for nothing.
pub(super) fn filter(asked: Option<proto::Filter>) -> Result<Filter, Status> {
    let Some(asked) = asked else { return Ok(Filter::default()) };
    let strings = |all: Vec<proto::StringMatch>| all.into_iter().map(string).collect();
    let ports = asked.dest_ports.into_iter().map(port).collect::<Result<_, _>>()?;
    let policies = asked.policies.iter().map(policy).collect::<Result<_, _>>()?;
    Ok(Filter {
        source_names: strings(asked.source_names),
        source_namespaces: strings(asked.source_namespaces),
        dest_names: strings(asked.dest_names),
        dest_namespaces: strings(asked.dest_namespaces),
        protocols: strings(asked.protocols),
        dest_ports: ports,
        actions: asked.actions.into_iter().filter_map(action).collect(),
        pending_actions: asked.pending_actions.into_iter().filter_map(action).collect(),
        reporter: match proto::Reporter::try_from(asked.reporter) {
            Ok(proto::Reporter::Src) => Some(Reporter::Src),
            Ok(proto::Reporter::Dst) => Some(Reporter::Dst),
            _ => None,
        },
        policies,
        ..Filter::default()
    })
}

fn string(asked: proto::StringMatch) -> StringMatch {
    let is_fuzzy = asked.r#type == i32::from(proto::MatchType::Fuzzy);
    let r#type = if is_fuzzy { MatchType::Fuzzy } else { MatchType::Exact };
    StringMatch { value: asked.value, r#type }
}

fn port(asked: proto::PortMatch) -> Result<PortMatch, Status> {
    let wrong = |_| {
        let found = asked.port;
        Status::invalid_argument(format!("dest_ports: found {found}; a port is 0 to 65535"))
    };
    Ok(PortMatch { value: asked.port.try_into().map_err(wrong)?, r#type: MatchType::Exact })
}

fn action(asked: i32) -> Option<ActionMatch> {
    match proto::Action::try_from(asked).ok()? {
        proto::Action::Unspecified => None,
        proto::Action::Allow => Some(ActionMatch::Allow),
        proto::Action::Deny => Some(ActionMatch::Deny),
        proto::Action::Pass => Some(ActionMatch::Pass),
    }
}

/// One policy match, in the current form or the older one.
pub(super) fn policy(asked: &proto::PolicyMatch) -> Result<PolicyMatch, Status> {
    let kind = proto::PolicyKind::try_from(asked.kind).unwrap_or_default();
    let kind = match kind {
        proto::PolicyKind::KindUnspecified => None,
        known => Some(known.as_str_name().to_owned()),
    };
    Ok(PolicyMatch {
        kind,
        tier: text("tier", &asked.tier)?,
        namespace: text("namespace", &asked.namespace)?,
        name: text("name", &asked.name)?,
        action: action(asked.action),
    })
}

/// A StringMatch message, or the plain text of clients before v3.32: no name begins with the byte
/// of a message's field.
fn text(field: &str, bytes: &[u8]) -> Result<Option<StringMatch>, Status> {
    if bytes.is_empty() {
        return Ok(None);
    }
    if matches!(bytes[0], 0x0a | 0x10)
        && let Ok(message) = proto::StringMatch::decode(bytes)
    {
        return Ok(Some(string(message)).filter(|asked| !asked.value.is_empty()));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(StringMatch::exact(text))),
        Err(_) => Err(Status::invalid_argument(format!(
            "policies.{field}: found {} bytes that are neither a StringMatch nor text",
            bytes.len()
        ))),
    }
}

/// What results are sorted by.
pub(super) fn order(asked: &[proto::SortOption]) -> Result<Vec<Order>, Status> {
    let one = |option: &proto::SortOption| match proto::SortBy::try_from(option.sort_by) {
        Ok(proto::SortBy::Time) => Ok(Order::Time),
        Ok(proto::SortBy::DestName) => Ok(Order::DestName),
        Ok(proto::SortBy::DestNamespace) => Ok(Order::DestNamespace),
        Ok(proto::SortBy::DestType) => Ok(Order::DestType),
        Ok(proto::SortBy::SourceName) => Ok(Order::SourceName),
        Ok(proto::SortBy::SourceNamespace) => Ok(Order::SourceNamespace),
        Ok(proto::SortBy::SourceType) => Ok(Order::SourceType),
        Err(_) => {
            let found = option.sort_by;
            Err(Status::invalid_argument(format!("sort_by: there is no {found}; 0 to 6 are known")))
        }
    };
    asked.iter().map(one).collect()
}

/// A page from 0 and its size, where 0 is everything.
pub(super) fn paging(page: i64, size: i64) -> Result<Paging, Status> {
    let number = |field: &str, value: i64| {
        let wrong =
            |_| Status::invalid_argument(format!("{field}: found {value}; it counts from 0"));
        usize::try_from(value).map_err(wrong)
    };
    Ok(Paging { page: number("page", page)?, size: number("page_size", size)? })
}

/// Nothing for 0.
pub(crate) fn interval(seconds: i64, window: Duration) -> Result<Option<Duration>, Status> {
    let asked = u64::try_from(seconds).ok().map(Duration::from_secs);
    let length = window.as_nanos().max(1);
    match asked {
        Some(Duration::ZERO) => Ok(None),
        Some(asked) if asked.as_nanos().is_multiple_of(length) => Ok(Some(asked)),
        _ => Err(Status::invalid_argument(format!(
            "aggregation_interval: found {seconds}; it takes a multiple of {} seconds, or 0 for no \
             intervals",
            window.as_secs_f64()
        ))),
    }
}

/// Of what hints are wanted.
pub(super) fn hint_of(asked: i32) -> Result<HintOf, Status> {
    match proto::FilterType::try_from(asked) {
        Ok(proto::FilterType::DestName) => Ok(HintOf::DestName),
        Ok(proto::FilterType::SourceName) => Ok(HintOf::SourceName),
        Ok(proto::FilterType::DestNamespace) => Ok(HintOf::DestNamespace),
        Ok(proto::FilterType::SourceNamespace) => Ok(HintOf::SourceNamespace),
        Ok(proto::FilterType::PolicyTier) => Ok(HintOf::PolicyTier),
        Ok(proto::FilterType::PolicyName) => Ok(HintOf::PolicyName),
        Ok(proto::FilterType::PolicyKind) => Ok(HintOf::PolicyKind),
        Ok(proto::FilterType::PolicyNamespace) => Ok(HintOf::PolicyNamespace),
        Ok(proto::FilterType::Unspecified) | Err(_) => {
            Err(Status::invalid_argument(format!("type: found {asked}; it takes 1 to 8")))
        }
    }
}

/// What is counted.
pub(super) fn statistics(asked: &proto::StatisticsRequest) -> Result<StatisticsAsked, Status> {
    let of = match proto::StatisticType::try_from(asked.r#type) {
        Ok(proto::StatisticType::PacketCount) => StatisticsOf::Packets,
        Ok(proto::StatisticType::ByteCount) => StatisticsOf::Bytes,
        Ok(proto::StatisticType::LiveConnectionCount) => StatisticsOf::LiveConnections,
        Err(_) => {
            let found = asked.r#type;
            return Err(Status::invalid_argument(format!("type: found {found}; it takes 0 to 2")));
        }
    };
    let by = match proto::StatisticsGroupBy::try_from(asked.group_by) {
        Ok(proto::StatisticsGroupBy::Policy) => CountedBy::Policy,
        Ok(proto::StatisticsGroupBy::PolicyRule) => CountedBy::Rule,
        Err(_) => {
            let found = asked.group_by;
            return Err(Status::invalid_argument(format!(
                "group_by: found {found}; it takes 0, 1"
            )));
        }
    };
    let policy = asked.policy_match.as_ref().map(policy).transpose()?;
    let is_series = asked.time_series;
    Ok(StatisticsAsked { of, by, policy, filter: Filter::default(), is_series })
}
