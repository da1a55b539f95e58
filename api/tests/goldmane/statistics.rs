//! Statistics.List.

use api::goldmane::proto::{
    self, Action, PolicyMatch, RuleDirection, StatisticType, StatisticsGroupBy, StatisticsRequest,
    StatisticsResult,
};

use super::served::{NOW, Served, end_of_tier, flow, hit, key};

async fn statistics(served: &Served, request: StatisticsRequest) -> Vec<StatisticsResult> {
    let mut stream = served.statistics().list(request).await.unwrap().into_inner();
    let mut results = Vec::new();
    while let Some(result) = stream.message().await.unwrap() {
        results.push(result);
    }
    results
}

fn by(group_by: StatisticsGroupBy, r#type: StatisticType) -> StatisticsRequest {
    StatisticsRequest {
        group_by: group_by.into(),
        r#type: r#type.into(),
        ..StatisticsRequest::default()
    }
}

/// Ten flows, each with a policy of its own and one that all have, half of them reported by each
/// side: Goldmane's own test.
fn ten(start: u64) -> Vec<proto::Flow> {
    let flow = |number: i64| {
        let mut key = key(&format!("client-{number}"), "cart-*");
        key.reporter = if number % 2 == 0 { 1 } else { 2 };
        let own = hit("np", "shop", &format!("own-{number}"), 2);
        let common = proto::PolicyHit { policy_index: 1, ..hit("gnp", "", "common", 3) };
        key.policies = Some(proto::PolicyTrace {
            enforced_policies: vec![own, common],
            pending_policies: Vec::new(),
        });
        flow(&key, start, 1)
    };
    (0..10).map(flow).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_is_counted_by_policy_and_by_rule() {
    let served = Served::default().await;
    served.push(ten(NOW - 60)).await;
    let of = |r#type| by(StatisticsGroupBy::Policy, r#type);
    let policies = statistics(&served, of(StatisticType::PacketCount)).await;
    assert_eq!(policies.len(), 11);
    let common = |results: &[StatisticsResult]| {
        let is_it = |result: &&StatisticsResult| result.policy.as_ref().unwrap().name == "common";
        results.iter().filter(is_it).cloned().collect::<Vec<_>>()
    };
    let [found] = &common(&policies)[..] else { panic!("one policy is common") };
    assert_eq!((&found.allowed_in[..], &found.allowed_out[..]), (&[10][..], &[10][..]));
    assert_eq!(
        (&found.denied_in[..], &found.passed_out[..], &found.x[..]),
        (&[0][..], &[0][..], &[][..])
    );
    assert_eq!(found.direction, i32::from(RuleDirection::Any));
    assert_eq!(found.policy.as_ref().unwrap().action, 0);
    let bytes = common(&statistics(&served, of(StatisticType::ByteCount)).await);
    assert_eq!(bytes[0].allowed_in, [1_000]);
    let live = common(&statistics(&served, of(StatisticType::LiveConnectionCount)).await);
    assert_eq!((&live[0].allowed_in[..], &live[0].allowed_out[..]), (&[5][..], &[5][..]));

    let rules = by(StatisticsGroupBy::PolicyRule, StatisticType::PacketCount);
    let rules = statistics(&served, rules).await;
    assert_eq!(rules.len(), 12, "the common rule has two directions");
    let found = common(&rules);
    let ways: Vec<i32> = found.iter().map(|result| result.direction).collect();
    assert_eq!(ways, [RuleDirection::Ingress as i32, RuleDirection::Egress as i32]);
    // Goldmane puts the place of the policy where the rule's belongs (defect 5).
    assert!(found.iter().all(|result| result.policy.as_ref().unwrap().rule_index == 3));
    assert!(found.iter().all(|result| result.allowed_in == [5]));

    served.push(ten(NOW - 30)).await;
    let doubled = common(&statistics(&served, of(StatisticType::PacketCount)).await);
    assert_eq!(doubled[0].allowed_in, [20]);
    let series = StatisticsRequest { time_series: true, ..of(StatisticType::PacketCount) };
    let series = common(&statistics(&served, series).await);
    let now = i64::try_from(NOW).unwrap();
    assert_eq!(series[0].x, [now - 60, now - 30], "windows that have any");
    assert_eq!(series[0].allowed_in, [10, 10]);
    // A level is the newest window's (defect 7): Goldmane says 10.
    let live = common(&statistics(&served, of(StatisticType::LiveConnectionCount)).await);
    assert_eq!(live[0].allowed_in, [5]);
}

/// Goldmane counts a flow twice when a policy stands at different places of its two traces
/// (defect 5).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_counts_once_for_each_policy() {
    let served = Served::default().await;
    let mut key = key("a", "b");
    let at = |index| proto::PolicyHit { policy_index: index, ..hit("np", "shop", "allow", 0) };
    key.policies = Some(proto::PolicyTrace {
        enforced_policies: vec![at(0)],
        pending_policies: vec![hit("snp", "shop", "staged", 0), at(1)],
    });
    served.push([flow(&key, NOW - 30, 7)]).await;
    for group_by in [StatisticsGroupBy::Policy, StatisticsGroupBy::PolicyRule] {
        let results = statistics(&served, by(group_by, StatisticType::PacketCount)).await;
        let found = results.iter().map(|it| (it.policy.clone().unwrap().name, it.allowed_in[0]));
        assert_eq!(found.collect::<Vec<_>>(), [("allow".to_owned(), 7), ("staged".to_owned(), 7)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_of_tier_counts_for_the_policy_that_caused_it() {
    let served = Served::default().await;
    let flows = (0..10).map(|number| {
        let mut key = key("a", "b");
        key.action = Action::Deny.into();
        key.policies = Some(proto::PolicyTrace {
            enforced_policies: vec![end_of_tier("shop", &format!("deny-{number}"))],
            pending_policies: Vec::new(),
        });
        flow(&key, NOW - 30, 1)
    });
    served.push(flows).await;
    let rules = by(StatisticsGroupBy::PolicyRule, StatisticType::PacketCount);
    let results = statistics(&served, rules).await;
    assert_eq!(results.len(), 10);
    for result in results {
        let policy = result.policy.unwrap();
        assert_eq!(policy.kind, i32::from(proto::PolicyKind::CalicoNetworkPolicy));
        assert_eq!((policy.rule_index, policy.action), (-1, Action::Deny.into()));
        assert_eq!(
            (result.denied_in, result.allowed_in, result.passed_in),
            (vec![1], vec![0], vec![0])
        );
    }
}

/// Goldmane finds nothing when a policy is asked for with an action.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_found_by_name_and_action_and_none_is_said_to_be_none() {
    let served = Served::default().await;
    served.push(ten(NOW - 60)).await;
    let asked = |name: &'static str, action: Action| StatisticsRequest {
        policy_match: Some(PolicyMatch {
            name: name.into(),
            action: action.into(),
            ..PolicyMatch::default()
        }),
        ..StatisticsRequest::default()
    };
    let found = statistics(&served, asked("common", Action::Allow)).await;
    assert_eq!((found.len(), found[0].allowed_in[0]), (1, 10));
    let mut none =
        served.statistics().list(asked("common", Action::Deny)).await.unwrap().into_inner();
    assert_eq!(none.message().await.unwrap(), Some(StatisticsResult::default()));
    assert_eq!(none.message().await.unwrap_err().code(), tonic::Code::NotFound);
}
