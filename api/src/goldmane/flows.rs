//! The service Flows: List, Stream and FilterHints.

use std::pin::Pin;

use schemas::UnixNanos;
use schemas::filter::Filter;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::proto::flows_server::Flows;
use super::stream::{NoStream, Stream, Streamed, Told};
use super::{asked, proto, reply};
use crate::ask::{HintOf, Order, Paging, hints, list};
use crate::asker::{AskError, Asker};

/// Answers from memory, and from the lake where that does not reach.
#[derive(Clone)]
pub(super) struct FlowsService(pub(super) Asker);

/// Says from when on there is something, where a question began before that: seconds since 1970.
pub(super) const HISTORY_FROM: &str = "whyflow-history-from";

/// What a question of a list is.
struct ListAsked {
    gte: i64,
    lt: i64,
    filter: Filter,
    order: Vec<Order>,
    interval: Option<std::time::Duration>,
    paging: Paging,
}

/// Looks for an answer on a thread that may be busy for a while.
pub(super) async fn look<T: Send + 'static>(
    look: impl FnOnce() -> Result<T, AskError> + Send + 'static,
) -> Result<T, Status> {
    let looked = tokio::task::spawn_blocking(look).await;
    let found = looked.map_err(|error| Status::internal(format!("looking it up: {error}")))?;
    found.map_err(|error| refusal(&error))
}

fn refusal(error: &AskError) -> Status {
    match error {
        AskError::Range(_) => Status::invalid_argument(error.to_string()),
        AskError::TooMany => Status::resource_exhausted(error.to_string()),
        AskError::Lake(source) => Status::unavailable(format!("{error}: {source}")),
    }
}

/// An answer that says from when on there is something.
pub(super) fn response<T>(message: T, only_from: Option<UnixNanos>) -> Response<T> {
    let mut response = Response::new(message);
    if let Some(from) = only_from {
        let value = MetadataValue::from(reply::seconds(from));
        response.metadata_mut().insert(HISTORY_FROM, value);
    }
    response
}

#[tonic::async_trait]
impl Flows for FlowsService {
    async fn list(
        &self,
        request: Request<proto::FlowListRequest>,
    ) -> Result<Response<proto::FlowListResult>, Status> {
        let asker = self.0.clone();
        let asked = ListAsked::new(request.into_inner(), &asker)?;
        look(move || {
            let found = asker.find(asked.gte, asked.lt)?;
            let ListAsked { filter, order, interval, paging, .. } = &asked;
            let listed = list(&found.scope, filter, order, *interval, *paging, false);
            let flows = listed.sums.iter().map(reply::flow_result).collect();
            let meta = Some(reply::meta(*paging, listed.total));
            Ok(response(proto::FlowListResult { meta, flows }, found.only_from))
        })
        .await
    }

    type StreamStream =
        Pin<Box<dyn futures::Stream<Item = Result<proto::FlowResult, Status>> + Send>>;

    async fn stream(
        &self,
        request: Request<proto::FlowStreamRequest>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let request = request.into_inner();
        let asker = self.0.clone();
        let streamed = Streamed {
            filter: asked::filter(request.filter)?,
            from: crate::ask::instant(request.start_time_gte, asker.now()),
            interval: asked::interval(request.aggregation_interval, asker.window())?,
            after: None,
        };
        let begun = tokio::task::spawn_blocking(move || Stream::new(&asker, streamed)).await;
        let begun = begun.map_err(|error| Status::internal(error.to_string()))?;
        let stream = begun.map_err(|why| match why {
            NoStream::TooMany => {
                Status::resource_exhausted("max number of streams reached, try again later")
            }
            NoStream::Ending => Status::unavailable("the daemon is ending"),
            NoStream::Past(error) => refusal(&error),
        })?;
        let only_from = stream.only_from();
        let results: Self::StreamStream = Box::pin(results(stream));
        Ok(response(results, only_from))
    }

    async fn filter_hints(
        &self,
        request: Request<proto::FilterHintsRequest>,
    ) -> Result<Response<proto::FilterHintsResult>, Status> {
        let request = request.into_inner();
        let of: HintOf = asked::hint_of(request.r#type)?;
        let paging = asked::paging(request.page, request.page_size)?;
        let filter = asked::filter(request.filter)?;
        let asker = self.0.clone();
        look(move || {
            let found = asker.find(request.start_time_gte, request.start_time_lt)?;
            let values = hints(&found.scope, &filter, of);
            let page = paging.of(&values).iter();
            let hints = page.map(|value| proto::FilterHint { value: value.clone() }).collect();
            let meta = Some(reply::meta(paging, values.len()));
            Ok(response(proto::FilterHintsResult { meta, hints }, found.only_from))
        })
        .await
    }
}

/// Results until the daemon ends. A reader who was too slow is told, and begins again where he
/// knows to be.
fn results(
    stream: Stream,
) -> impl futures::Stream<Item = Result<proto::FlowResult, Status>> + Send {
    futures::stream::unfold(Some(stream), |stream| async {
        let mut stream = stream?;
        match stream.next().await? {
            Told::Sum(told) => Some((Ok(reply::flow_result(told.sum())), Some(stream))),
            Told::Missed(missed) => {
                let status = Status::data_loss(format!(
                    "{missed}; ask again with start_time_gte set to the last end_time"
                ));
                Some((Err(status), None))
            }
        }
    })
}

// === impl ListAsked ===

impl ListAsked {
    fn new(request: proto::FlowListRequest, asker: &Asker) -> Result<Self, Status> {
        Ok(Self {
            gte: request.start_time_gte,
            lt: request.start_time_lt,
            filter: asked::filter(request.filter)?,
            order: asked::order(&request.sort_by)?,
            interval: asked::interval(request.aggregation_interval, asker.window())?,
            paging: asked::paging(request.page, request.page_size)?,
        })
    }
}
