//! The filters of `whyflow flows`: flags as shorthand for the one filter that the API, the
//! exporters and the history speak.

use std::time::Duration;

use anyhow::Result;
use schemas::UnixNanos;

use crate::span;

/// Which flows.
#[derive(Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct Asked {
    /// Namespace of either end
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Vec<String>,
    /// Name of either end: a pod's, or the one its workload's pods share
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Namespace of the source
    #[arg(long, value_name = "NAMESPACE")]
    source_namespace: Vec<String>,
    /// Name of the source
    #[arg(long, value_name = "NAME")]
    source_name: Vec<String>,
    /// Namespace of the destination
    #[arg(long, value_name = "NAMESPACE")]
    dest_namespace: Vec<String>,
    /// Name of the destination
    #[arg(long, value_name = "NAME")]
    dest_name: Vec<String>,
    /// Destination port
    #[arg(short, long)]
    port: Vec<String>,
    /// As in tcp, udp, icmp
    #[arg(long)]
    protocol: Vec<String>,
    /// allow, deny, unknown or incomplete
    #[arg(short, long)]
    action: Vec<String>,
    /// A policy that was asked: NAMESPACE/NAME, or the name alone
    #[arg(long, value_name = "POLICY")]
    policy: Vec<String>,
    /// What became of the packets: answered, refused, delivered, dropped, lost or not_visible
    #[arg(long)]
    outcome: Vec<String>,
    /// Src or Dst: the side that saw it
    #[arg(long)]
    reporter: Option<String>,
    /// Only where what the policies say and what the kernel did disagree
    #[arg(long)]
    disagreement: bool,
    /// The filter as JSON, as in {"dest_ports":[{"value":80}]}; the flags add to it
    #[arg(long, value_name = "JSON")]
    filters: Option<String>,
    /// Windows of this long ago until now, as in 10m
    #[arg(long, value_name = "TIME", value_parser = span::parse, conflicts_with = "from")]
    since: Option<Duration>,
    /// Windows that end after this, as in 2026-01-31T08:30:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Windows that begin before this
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Rows of the past, at most
    #[arg(short, long, value_name = "ROWS")]
    limit: Option<usize>,
}

// === impl Asked ===

impl Asked {
    /// Whether nothing is said: every flow is asked for.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// As the query parameters of `/api/v1/flows`.
    pub(super) fn query(&self, now: UnixNanos, follow: bool) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.pairs(now) {
            query.append_pair(name, &value);
        }
        if follow {
            query.append_pair("follow", "true");
        }
        query.finish()
    }

    /// As a question, by the same reading as the API's.
    ///
    /// # Errors
    /// The first flag that cannot be meant.
    pub(crate) fn question(&self, now: UnixNanos) -> Result<api::Query> {
        Ok(api::Query::parse(&self.query(now, false), now)?)
    }

    fn pairs(&self, now: UnixNanos) -> Vec<(&'static str, String)> {
        let many = [
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("source_namespace", &self.source_namespace),
            ("source_name", &self.source_name),
            ("dest_namespace", &self.dest_namespace),
            ("dest_name", &self.dest_name),
            ("port", &self.port),
            ("protocol", &self.protocol),
            ("action", &self.action),
            ("policy", &self.policy),
            ("outcome", &self.outcome),
        ];
        let since = self.since.map(|since| now.before(since).to_string());
        let one = [
            ("filters", self.filters.clone()),
            ("reporter", self.reporter.clone()),
            ("disagreement", self.disagreement.then(|| "true".to_owned())),
            ("from", since.or_else(|| self.from.clone())),
            ("to", self.to.clone()),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ];
        let many = many
            .into_iter()
            .flat_map(|(name, values)| values.iter().map(move |value| (name, value.clone())));
        many.chain(one.into_iter().filter_map(|(name, value)| Some((name, value?)))).collect()
    }
}
