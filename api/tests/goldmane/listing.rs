//! Flows.List and Flows.FilterHints: time arguments, sums, sorting, paging, filters.

use api::goldmane::proto::{
    self, Filter, FilterHintsRequest, FilterType, FlowListRequest, MatchType, PolicyMatch,
    PortMatch, SortBy, SortOption, StringMatch,
};
use prost::Message as _;

use super::served::{Made, NOW, Served, end_of_tier, flow, hit, key, key_of, served};

/// A window of one second for each of a minute's, the last one ahead of the clock: what Goldmane's
/// own test of time ranges has.
async fn minute() -> Served {
    let served = Served::with_window(1).await;
    let key = key("frontend-*", "cart-*");
    served.push((0..60).map(|second| flow(&key, NOW - 58 + second, 1))).await;
    served
}

async fn connections(served: &Served, gte: i64, lt: i64) -> i64 {
    let request =
        FlowListRequest { start_time_gte: gte, start_time_lt: lt, ..FlowListRequest::default() };
    let flows = served.list(request).await.flows;
    flows.iter().map(|result| result.flow.as_ref().unwrap().num_connections_started).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_arguments_are_absolute_relative_or_left_out() {
    let served = minute().await;
    let now = i64::try_from(NOW).unwrap();
    for (gte, lt, wanted) in [
        (0, 0, 58),
        (0, now + 2, 60),
        (now - 10, now, 10),
        (now - 12, now - 7, 5),
        (-10, 0, 10),
        (-20, -5, 15),
        (now + 100, now + 200, 0),
    ] {
        assert_eq!(connections(&served, gte, lt).await, wanted, "{gte} to {lt}");
    }
    let reversed =
        FlowListRequest { start_time_gte: -5, start_time_lt: -20, ..FlowListRequest::default() };
    let refused = served.flows().list(reversed).await.unwrap_err();
    assert!(refused.message().contains("must be less than"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_one_flow_over_the_whole_range() {
    let served = Served::default().await;
    let key = key("frontend-*", "cart-*");
    let mut other = key.clone();
    other.dest_port = 9090;
    let flows = (0..4).map(|window| flow(&key, NOW - 60 + window * 15, 10));
    served.push(flows.chain([flow(&other, NOW - 60, 1)])).await;
    let result = served.list(FlowListRequest::default()).await;
    assert_eq!(result.flows.len(), 2);
    let found = result.flows.iter().find(|found| key_of(found).dest_port == 8080).unwrap();
    assert_eq!(key_of(found), key, "the key comes back as it was pushed");
    let sum = found.flow.as_ref().unwrap();
    assert_eq!((sum.packets_in, sum.bytes_out, sum.num_connections_started), (40, 4_000, 4));
    let now = i64::try_from(NOW).unwrap();
    assert_eq!((sum.start_time, sum.end_time), (now - 60, now));
    assert_eq!(
        (&sum.source_labels[..], &sum.dest_labels[..]),
        (&["app=frontend".to_owned()][..], &["app=cart".to_owned()][..],)
    );
}

/// Goldmane adds up the levels of all windows (defect 7).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_connections_over_a_range_are_those_of_its_newest_window() {
    let served = Served::default().await;
    let key = key("frontend-*", "cart-*");
    served.push((0..4).map(|window| flow(&key, NOW - 60 + window * 15, 1))).await;
    let result = served.list(FlowListRequest::default()).await;
    assert_eq!(result.flows[0].flow.as_ref().unwrap().num_connections_live, 1);
}

/// Goldmane takes the next window's labels after an intersection that is empty (defect 4).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_that_were_not_always_there_do_not_come_back() {
    let served = Served::default().await;
    let key = key("frontend-*", "cart-*");
    let labelled = |window: u64, label: &str| proto::Flow {
        source_labels: vec![label.to_owned()],
        ..flow(&key, NOW - 60 + window * 15, 1)
    };
    served.push([labelled(0, "a=1"), labelled(1, "b=1"), labelled(2, "c=1")]).await;
    let result = served.list(FlowListRequest::default()).await;
    assert_eq!(result.flows[0].flow.as_ref().unwrap().source_labels, Vec::<String>::new());
}

/// Goldmane takes the interval and does nothing with it (defect 12).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aggregation_interval_gives_one_result_for_each_interval() {
    let served = Served::default().await;
    let key = key("frontend-*", "cart-*");
    served.push((0..8).map(|window| flow(&key, NOW - 120 + window * 15, 1))).await;
    let request = FlowListRequest { aggregation_interval: 30, ..FlowListRequest::default() };
    let result = served.list(request).await;
    let flows: Vec<_> = result.flows.iter().map(|result| result.flow.clone().unwrap()).collect();
    assert_eq!((flows.len(), result.meta.unwrap().total_results), (4, 4));
    assert!(flows.iter().all(|flow| flow.packets_in == 2 && flow.end_time - flow.start_time == 30));
    assert!(flows.is_sorted_by_key(|flow| -flow.start_time), "newest first");
    let odd = FlowListRequest { aggregation_interval: 20, ..FlowListRequest::default() };
    let refused = served.flows().list(odd).await.unwrap_err();
    assert!(refused.message().contains("multiple of 15"), "{refused}");
}

fn sorted(by: &[SortBy]) -> FlowListRequest {
    let sort_by = by.iter().map(|by| SortOption { sort_by: (*by).into() }).collect();
    FlowListRequest { sort_by, ..FlowListRequest::default() }
}

/// Goldmane refuses to sort by type, and more than one key (defect 14).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_sorted_by_every_field_and_by_several() {
    let served = Served::default().await;
    let mut flows = Vec::new();
    for (number, (source, destination)) in
        [("c", "x"), ("a", "z"), ("b", "x"), ("a", "y")].into_iter().enumerate()
    {
        let mut key = key(source, destination);
        key.source_namespace = format!("ns-{destination}");
        key.dest_type = [1, 4, 2, 3][number];
        flows.push(flow(&key, NOW - 60 + 15 * u64::try_from(number).unwrap(), 1));
    }
    served.push(flows).await;
    let names = async |by: &[SortBy]| {
        let flows = served.list(sorted(by)).await.flows;
        let name = |result: &proto::FlowResult| {
            let key = key_of(result);
            format!("{}{}", key.source_name, key.dest_name)
        };
        flows.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]).await, ["ay", "bx", "az", "cx"], "newest first");
    assert_eq!(names(&[SortBy::Time]).await, ["ay", "bx", "az", "cx"]);
    assert_eq!(names(&[SortBy::SourceName, SortBy::DestName]).await, ["ay", "az", "bx", "cx"]);
    assert_eq!(names(&[SortBy::DestName, SortBy::SourceName]).await, ["bx", "cx", "ay", "az"]);
    assert_eq!(names(&[SortBy::DestType]).await, ["cx", "bx", "ay", "az"]);
    assert_eq!(
        names(&[SortBy::SourceNamespace, SortBy::SourceName]).await,
        ["bx", "cx", "ay", "az"]
    );
    assert_eq!(names(&[SortBy::DestNamespace, SortBy::SourceType]).await.len(), 4);
}

/// Goldmane leaves ties unordered, so that pages may have holes, and says nothing of a page that is
/// past the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_have_every_result_once_and_say_how_many_there_are() {
    let served = Served::default().await;
    served.push((0..30).map(|n| flow(&key(&format!("client-{n}"), "cart-*"), NOW - 60, 1))).await;
    let mut ids = Vec::new();
    for page in 0..7 {
        let request = FlowListRequest { page, page_size: 5, ..FlowListRequest::default() };
        let result = served.list(request).await;
        let meta = result.meta.unwrap();
        assert_eq!((meta.total_pages, meta.total_results), (6, 30));
        assert_eq!(result.flows.len(), if page < 6 { 5 } else { 0 });
        ids.extend(result.flows.iter().map(|result| result.id));
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 30);
    let everything = served.list(FlowListRequest::default()).await;
    assert_eq!((everything.flows.len(), everything.meta.unwrap().total_pages), (30, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_updates_of_one_key_are_one_flow() {
    let served = Served::default().await;
    let key = key("frontend-*", "cart-*");
    served.push((0..20_000).map(|packets| flow(&key, NOW - 15, packets))).await;
    let result = served.list(FlowListRequest::default()).await;
    assert_eq!(result.flows.len(), 1);
    let sum = result.flows[0].flow.as_ref().unwrap();
    assert_eq!((sum.packets_in, sum.num_connections_started), (199_990_000, 20_000));
}

fn exact(value: &str) -> StringMatch {
    StringMatch { value: value.to_owned(), r#type: MatchType::Exact.into() }
}

fn fuzzy(value: &str) -> StringMatch {
    StringMatch { value: value.to_owned(), r#type: MatchType::Fuzzy.into() }
}

fn policy() -> PolicyMatch {
    PolicyMatch::default()
}

fn part(asked: &StringMatch) -> bytes::Bytes {
    asked.encode_to_vec().into()
}

/// Three flows: allowed (a), denied at the end of a tier (b), and from the public network with a
/// staged policy that would deny it (c).
async fn three() -> Served {
    let served = Served::default().await;
    let mut denied = key("b-*", "db");
    denied.action = proto::Action::Deny.into();
    denied.dest_namespace = "data".into();
    denied.policies = Some(proto::PolicyTrace {
        enforced_policies: vec![end_of_tier("data", "db-clients")],
        pending_policies: vec![end_of_tier("data", "db-clients")],
    });
    let mut staged = key("pub", "cart-*");
    (staged.source_namespace, staged.source_type) = ("-".to_owned(), 4);
    (staged.reporter, staged.proto, staged.dest_port) =
        (proto::Reporter::Dst.into(), "udp".to_owned(), 53);
    let deny = proto::PolicyHit {
        action: proto::Action::Deny.into(),
        tier: "strict".to_owned(),
        ..hit("snp", "shop", "no-world", 0)
    };
    staged.policies = Some(proto::PolicyTrace {
        enforced_policies: vec![hit("pro", "", "kns.shop", 0)],
        pending_policies: vec![deny],
    });
    let keys = [key("a-*", "cart-*"), denied, staged];
    served.push(keys.iter().map(|key| flow(key, NOW - 60, 1))).await;
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_leave_what_they_ask_for() {
    let served = three().await;
    let names = async |filter: Filter| {
        let request = FlowListRequest { filter: Some(filter), ..sorted(&[SortBy::SourceName]) };
        let flows = served.list(request).await.flows;
        flows.iter().map(|result| key_of(result).source_name).collect::<Vec<_>>().join(" ")
    };
    let none = Filter::default;
    let policies = |policies: Vec<PolicyMatch>| Filter { policies, ..none() };
    let cases: Vec<(Filter, &str)> = vec![
        (none(), "a-* b-* pub"),
        (Filter { source_names: vec![exact("a-*")], ..none() }, "a-*"),
        (Filter { source_names: vec![exact("a-*"), exact("b-*")], ..none() }, "a-* b-*"),
        (Filter { source_names: vec![exact("a")], ..none() }, ""),
        (Filter { source_names: vec![fuzzy("-")], ..none() }, "a-* b-*"),
        (Filter { source_names: vec![exact("PUBLIC NETWORK")], ..none() }, "pub"),
        (Filter { source_namespaces: vec![exact("-")], ..none() }, "pub"),
        (Filter { source_namespaces: vec![exact("Global")], ..none() }, "pub"),
        (Filter { dest_names: vec![exact("db")], ..none() }, "b-*"),
        (Filter { dest_namespaces: vec![fuzzy("at")], ..none() }, "b-*"),
        (Filter { dest_namespaces: vec![fuzzy("AT")], ..none() }, ""),
        (Filter { protocols: vec![exact("udp")], ..none() }, "pub"),
        (Filter { dest_ports: vec![PortMatch { port: 53 }], ..none() }, "pub"),
        (Filter { actions: vec![proto::Action::Deny.into()], ..none() }, "b-*"),
        (Filter { pending_actions: vec![proto::Action::Deny.into()], ..none() }, "b-* pub"),
        (
            Filter {
                actions: vec![proto::Action::Allow.into()],
                pending_actions: vec![proto::Action::Deny.into()],
                ..none()
            },
            "pub",
        ),
        (Filter { reporter: proto::Reporter::Dst.into(), ..none() }, "pub"),
        (
            policies(vec![PolicyMatch { kind: proto::PolicyKind::Profile.into(), ..policy() }]),
            "pub",
        ),
        (policies(vec![PolicyMatch { tier: part(&exact("strict")), ..policy() }]), "pub"),
        (policies(vec![PolicyMatch { tier: part(&fuzzy("str")), ..policy() }]), "pub"),
        (policies(vec![PolicyMatch { name: part(&exact("allow-all")), ..policy() }]), "a-*"),
        (
            policies(vec![
                PolicyMatch { name: part(&exact("allow-all")), ..policy() },
                PolicyMatch { name: part(&exact("no-world")), ..policy() },
            ]),
            "a-* pub",
        ),
        (
            policies(vec![PolicyMatch {
                kind: proto::PolicyKind::StagedNetworkPolicy.into(),
                tier: part(&exact("strict")),
                namespace: part(&exact("shop")),
                name: part(&exact("no-world")),
                action: proto::Action::Deny.into(),
            }]),
            "pub",
        ),
        (
            policies(vec![PolicyMatch {
                name: part(&exact("no-world")),
                action: proto::Action::Allow.into(),
                ..policy()
            }]),
            "",
        ),
    ];
    for (filter, wanted) in cases {
        assert_eq!(names(filter.clone()).await, wanted, "{filter:?}");
    }
}

/// Goldmane's hints name an end of tier by the policy that caused it, and its filters do not find
/// it (defect 6).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_hint_finds_something() {
    let served = three().await;
    let hints = async |r#type: FilterType| {
        let request = FilterHintsRequest { r#type: r#type.into(), ..FilterHintsRequest::default() };
        let result = served.flows().filter_hints(request).await.unwrap().into_inner();
        result.hints.into_iter().map(|hint| hint.value).collect::<Vec<_>>()
    };
    assert_eq!(hints(FilterType::SourceName).await, ["a-*", "b-*", "pub"]);
    assert_eq!(hints(FilterType::DestName).await, ["cart-*", "db"]);
    assert_eq!(hints(FilterType::SourceNamespace).await, ["-", "shop"]);
    assert_eq!(hints(FilterType::DestNamespace).await, ["data", "shop"]);
    assert_eq!(hints(FilterType::PolicyTier).await, ["default", "strict"]);
    let kinds = hints(FilterType::PolicyKind).await;
    assert_eq!(kinds, ["CalicoNetworkPolicy", "StagedNetworkPolicy"]);
    assert_eq!(hints(FilterType::PolicyNamespace).await, ["data", "shop"]);
    let names = hints(FilterType::PolicyName).await;
    assert_eq!(names, ["allow-all", "db-clients", "no-world"]);
    for name in names {
        let named = PolicyMatch { name: part(&exact(&name)), ..policy() };
        let filter = Some(Filter { policies: vec![named], ..Filter::default() });
        let found = served.list(FlowListRequest { filter, ..FlowListRequest::default() }).await;
        assert_eq!(found.flows.len(), 1, "{name}");
    }
    let filter = Some(Filter { dest_names: vec![exact("db")], ..Filter::default() });
    let request = FilterHintsRequest {
        r#type: FilterType::SourceName.into(),
        filter,
        ..FilterHintsRequest::default()
    };
    let result = served.flows().filter_hints(request).await.unwrap().into_inner();
    assert_eq!(result.hints.len(), 1);
    let paged = FilterHintsRequest {
        r#type: FilterType::SourceName.into(),
        page: 1,
        page_size: 2,
        ..FilterHintsRequest::default()
    };
    let result = served.flows().filter_hints(paged).await.unwrap().into_inner();
    assert_eq!((result.hints[0].value.as_str(), result.meta.unwrap().total_pages), ("pub", 2));
    let none = served.flows().filter_hints(FilterHintsRequest::default()).await.unwrap_err();
    assert!(none.message().contains("it takes 1 to 8"), "{none}");
}

/// Clients before v3.32 send plain text where the current ones send a message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_older_policy_match_is_understood() {
    let served = three().await;
    let older = PolicyMatch {
        tier: "default".into(),
        namespace: "data".into(),
        name: "db-clients".into(),
        ..policy()
    };
    let filter = Some(Filter { policies: vec![older], ..Filter::default() });
    let found = served.list(FlowListRequest { filter, ..FlowListRequest::default() }).await;
    assert_eq!(found.flows.len(), 1);
    assert_eq!(key_of(&found.flows[0]).source_name, "b-*");
    let bytes = PolicyMatch { tier: bytes::Bytes::from_static(&[0xff, 0xfe]), ..policy() };
    let filter = Some(Filter { policies: vec![bytes], ..Filter::default() });
    let request = FlowListRequest { filter, ..FlowListRequest::default() };
    let refused = served.flows().list(request).await.unwrap_err();
    assert!(refused.message().contains("policies.tier"), "{refused}");
}

/// Goldmane forgets everything at a restart and answers a start before its memory with what it has
/// (defects 3 and 19): here the answer says from when on there is something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_before_the_history_says_so() {
    let served = served(Made::default()).await;
    served.push([flow(&key("a", "b"), NOW - 60, 1)]).await;
    let request = |gte| FlowListRequest { start_time_gte: gte, ..FlowListRequest::default() };
    let now = i64::try_from(NOW).unwrap();
    let older = served.flows().list(request(now - 7_200)).await.unwrap();
    let from = older.metadata().get("whyflow-history-from").unwrap();
    assert_eq!(from.to_str().unwrap(), (now - 60).to_string());
    assert_eq!(older.into_inner().flows.len(), 1);
    let whole = served.flows().list(request(now - 60)).await.unwrap();
    assert!(whole.metadata().get("whyflow-history-from").is_none());
}
