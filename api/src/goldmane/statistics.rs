//! The service Statistics.

use std::pin::Pin;

use tonic::{Request, Response, Status};

use super::flows::{look, response};
use super::proto::statistics_server::Statistics;
use super::{asked, proto, reply};
use crate::ask::statistics;
use crate::asker::Asker;

/// Traffic by policy or rule.
#[derive(Clone)]
pub(super) struct StatisticsService(pub(super) Asker);

#[tonic::async_trait]
impl Statistics for StatisticsService {
    type ListStream =
        Pin<Box<dyn futures::Stream<Item = Result<proto::StatisticsResult, Status>> + Send>>;

    async fn list(
        &self,
        request: Request<proto::StatisticsRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let request = request.into_inner();
        let asked = asked::statistics(&request)?;
        let asker = self.0.clone();
        look(move || {
            let found = asker.find(request.start_time_gte, request.start_time_lt)?;
            let counted = statistics(&found.scope, &asked);
            let mut results: Vec<Result<proto::StatisticsResult, Status>> =
                counted.into_iter().map(|counted| Ok(reply::statistics(counted, &asked))).collect();
            if results.is_empty() {
                // As Goldmane does: clients wait for a first message before they look at the end.
                results.push(Ok(proto::StatisticsResult::default()));
                results.push(Err(Status::not_found("no flow of this range has such a policy")));
            }
            let stream: Self::ListStream = Box::pin(futures::stream::iter(results));
            Ok(response(stream, found.only_from))
        })
        .await
    }
}
