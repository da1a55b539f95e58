//! What clients are told.

use schemas::UnixNanos;
use schemas::policy::Decider;

use super::{proto, words};
use crate::ask::{Counted, CountedBy, Direction, Paging, Series, StatisticsAsked, StatisticsOf};
use crate::memory::Sum;

/// A sum as one of Goldmane's flows.
pub(super) fn flow_result(sum: &Sum) -> proto::FlowResult {
    let counters = &sum.counters;
    let flow = proto::Flow {
        key: sum.group.encoded.clone(),
        start_time: seconds(sum.window.start),
        end_time: seconds(sum.window.end),
        source_labels: sum.source_labels(),
        dest_labels: sum.destination_labels(),
        packets_in: number(counters.packets_in),
        packets_out: number(counters.packets_out),
        bytes_in: number(counters.bytes_in),
        bytes_out: number(counters.bytes_out),
        num_connections_started: number(counters.connections_started),
        num_connections_completed: number(counters.connections_completed),
        num_connections_live: number(counters.connections_live),
    };
    proto::FlowResult { id: sum.group.id, flow: Some(flow) }
}

/// Pages and results in all, the same on every page, also past the end.
pub(super) fn meta(paging: Paging, total: usize) -> proto::ListMetadata {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    proto::ListMetadata { total_pages: count(paging.pages(total)), total_results: count(total) }
}

/// A policy's or rule's numbers.
pub(super) fn statistics(counted: Counted, asked: &StatisticsAsked) -> proto::StatisticsResult {
    let Counted { policy, rule, series } = counted;
    let mut hit = words::named(&policy);
    let mut direction = proto::RuleDirection::Any;
    if let Some((action, decider, way)) = rule {
        hit.action = words::action(action).into();
        hit.rule_index = match decider {
            Decider::Rule(rule) => rule.calico_index.into(),
            Decider::EndOfTier => -1,
        };
        direction = match way {
            Direction::Ingress => proto::RuleDirection::Ingress,
            Direction::Egress => proto::RuleDirection::Egress,
        };
    }
    let Series { starts, allowed, denied, passed } = series;
    let split = |pairs: Vec<(u64, u64)>| -> (Vec<i64>, Vec<i64>) {
        pairs.into_iter().map(|(into, out)| (number(into), number(out))).unzip()
    };
    let (allowed_in, allowed_out) = split(allowed);
    let (denied_in, denied_out) = split(denied);
    let (passed_in, passed_out) = split(passed);
    proto::StatisticsResult {
        policy: Some(hit),
        direction: direction.into(),
        group_by: match asked.by {
            CountedBy::Policy => proto::StatisticsGroupBy::Policy.into(),
            CountedBy::Rule => proto::StatisticsGroupBy::PolicyRule.into(),
        },
        r#type: match asked.of {
            StatisticsOf::Packets => proto::StatisticType::PacketCount.into(),
            StatisticsOf::Bytes => proto::StatisticType::ByteCount.into(),
            StatisticsOf::LiveConnections => proto::StatisticType::LiveConnectionCount.into(),
        },
        allowed_in,
        allowed_out,
        denied_in,
        denied_out,
        passed_in,
        passed_out,
        x: starts.into_iter().map(seconds).collect(),
    }
}

pub(super) fn seconds(at: UnixNanos) -> i64 {
    i64::try_from(at.secs()).unwrap_or(i64::MAX)
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
