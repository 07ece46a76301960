//! The requests of one deployment, one by one: the only HTTP signal that tells deployments apart.

use std::time::Duration;

use jiff::Timestamp;
use spectra_types::DeploymentId;

use crate::client::Client;
use crate::deployment::timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::gql::{HttpLogs, Operation, http_logs};

/// Rows that one request asks for.
const PAGE: i64 = 500;
/// Rows that are asked for when a whole page is of one moment.
const LARGEST_PAGE: i64 = 8_000;
/// A page with fewer rows is the last one. Not the number asked for, since nobody documents how many Railway gives.
const SMALL_PAGE: usize = 50;

/// One request that went to a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// When it was logged.
    pub at: Timestamp,
    /// The status of the answer.
    pub status: u16,
    /// How long it took, from the edge's view.
    pub duration: Duration,
    /// Such as `GET`.
    pub method: String,
    /// Without the query string.
    pub path: String,
    /// The replica that was asked; `None` if the edge asked none.
    pub replica: Option<String>,
    /// What went wrong between edge and replica.
    pub upstream_error: Option<String>,
}

/// Requests of a deployment in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRequests {
    /// Oldest first.
    pub requests: Vec<HttpRequest>,
    /// `Some`: there are more than were wanted, and what is left out was logged up to this moment. Everything later
    /// is here.
    pub cut: Option<Timestamp>,
}

impl Client {
    /// The requests of a deployment that were logged from `from` up to `to`, the newest first to be read. Reading stops
    /// with the page that brings `most`, and the result says so.
    ///
    /// One request for each 500 rows and one more; each weighs 21 of the 500 points that Railway processes at once.
    pub async fn http_logs(
        &self,
        deployment: &DeploymentId,
        from: Timestamp,
        to: Timestamp,
        most: usize,
    ) -> Result<HttpRequests> {
        let attempt = || format!("read the requests of deployment `{deployment}`");
        self.http_logs_inner(deployment, from, to, most).await.map_err(|error| error.attempting(attempt))
    }

    async fn http_logs_inner(
        &self,
        deployment: &DeploymentId,
        from: Timestamp,
        to: Timestamp,
        most: usize,
    ) -> Result<HttpRequests> {
        if from >= to {
            let message = format!("the window from {from} to {to} is empty");
            return Err(Error::new(ErrorKind::BadInput, HttpLogs::NAME, message));
        }
        let mut log = HttpRequests::default();
        // Of the oldest moment of a page there may be more on the next one, which begins there.
        let mut held: Vec<HttpRequest> = Vec::new();
        let (mut anchor, mut limit) = (to, PAGE);
        loop {
            let (rows, mut page) = self.http_log_page(deployment, from, anchor, limit).await?;
            if page.iter().any(|request| request.at == anchor) {
                held.clear();
            }
            let older = page.iter().any(|request| request.at < anchor);
            let full = rows >= usize::try_from(limit).unwrap_or(usize::MAX);
            if !older && full && limit < LARGEST_PAGE {
                limit *= 4;
                continue;
            }
            page.append(&mut held);
            if !older && full {
                // More of one moment than any page holds.
                log.cut = Some(anchor);
                break;
            }
            let oldest = page.iter().map(|request| request.at).min();
            let Some(oldest) = oldest.filter(|_| older && rows >= SMALL_PAGE) else {
                log.requests.append(&mut page);
                break;
            };
            let (boundary, mut rest): (Vec<_>, Vec<_>) =
                page.into_iter().partition(|request| request.at == oldest);
            log.requests.append(&mut rest);
            if log.requests.len() + boundary.len() >= most {
                log.cut = Some(oldest);
                break;
            }
            (held, anchor, limit) = (boundary, oldest, PAGE);
        }
        log.requests.sort_by_key(|request| request.at);
        Ok(log)
    }

    /// The newest rows up to the anchor: how many came, and those within the window.
    async fn http_log_page(
        &self,
        deployment: &DeploymentId,
        from: Timestamp,
        anchor: Timestamp,
        limit: i64,
    ) -> Result<(usize, Vec<HttpRequest>)> {
        let variables = http_logs::Variables {
            id: deployment.to_string(),
            anchor: Some(anchor.to_string()),
            before: Some(from.to_string()),
            limit: Some(limit),
        };
        let rows = self.query::<HttpLogs>(variables).await?.http_logs;
        let count = rows.len();
        let mut page = Vec::with_capacity(count);
        for row in rows {
            let at = timestamp::<HttpLogs>(&row.timestamp)?;
            if at < from || at > anchor {
                continue;
            }
            page.push(HttpRequest {
                at,
                status: u16::try_from(row.http_status).unwrap_or(0),
                duration: Duration::from_millis(u64::try_from(row.total_duration).unwrap_or(0)),
                method: row.method,
                path: row.path,
                replica: Some(row.deployment_instance_id).filter(|id| !id.is_empty()),
                upstream_error: Some(row.upstream_errors).filter(|text| !text.is_empty()),
            });
        }
        Ok((count, page))
    }
}
