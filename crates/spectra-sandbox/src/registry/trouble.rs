//! Fault rules at work on one request of the registry: what answers in place of it, what happens to its body, and how its
//! answer is spoilt.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    response::{IntoResponse, Response},
};
use futures::{StreamExt as _, stream};
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use spectra_types::Algorithm;

use super::{
    CONTENT_DIGEST,
    error::{ApiError, Code},
    store::digest_of,
};
use crate::faults::{Action, AfterCommit, Cut};

/// How long silence lasts unless the rule says otherwise.
const SILENCE: Duration = Duration::from_hours(1);
const GATEWAY_TIMEOUT: &str = "<html><head><title>504 Gateway Time-out</title></head><body></body></html>";

/// A rule that applies to a request.
#[derive(Debug)]
struct Taken {
    id: String,
    action: Action,
    /// Whether it has made a difference.
    acted: AtomicBool,
}

impl Taken {
    fn act(&self) {
        self.acted.store(true, Ordering::SeqCst);
    }
}

/// The rules that apply to one request, in the order they were set.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Vec<Taken>);

impl Trouble {
    pub(crate) fn new(rules: Vec<(String, Action)>) -> Self {
        let taken = |(id, action)| Taken { id, action, acted: AtomicBool::new(false) };
        Self(rules.into_iter().map(taken).collect())
    }

    /// The rules that could do nothing to the request.
    pub(crate) fn idle(&self) -> impl Iterator<Item = &str> {
        let idle = self.0.iter().filter(|taken| !taken.acted.load(Ordering::SeqCst));
        idle.map(|taken| taken.id.as_str())
    }

    /// What the first rule that says something says; it has acted.
    fn first_of<T>(&self, says: impl Fn(&Action) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|taken| says(&taken.action).inspect(|_| taken.act()))
    }

    /// How long nothing is said before the connection is cut.
    pub(crate) fn silence(&self) -> Option<Duration> {
        self.first_of(|action| match action {
            Action::Hang { duration } => Some(duration.map_or(SILENCE, spectra_types::HumanDuration::get)),
            _ => None,
        })
    }

    pub(crate) fn revokes_tokens(&self) -> bool {
        self.0.iter().any(|taken| taken.action == Action::TokenRevoked)
    }

    /// There were tokens to revoke, or a refusal took their place.
    pub(crate) fn has_revoked(&self) {
        self.0.iter().filter(|taken| taken.action == Action::TokenRevoked).for_each(Taken::act);
    }

    /// The answer that comes in place of the request's execution.
    pub(crate) fn instead(&self) -> Option<Response> {
        self.first_of(|action| match action {
            Action::Reset => Some(cut()),
            Action::Html => Some(
                ([(header::CONTENT_TYPE, "text/html")], "<html><body>Welcome</body></html>").into_response(),
            ),
            Action::Http { status, body, retry_after } => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut response = match body {
                    Some(body) => (status, body.clone()).into_response(),
                    None => refusal(status).into_response(),
                };
                if let Some(seconds) = retry_after {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
                }
                Some(response)
            }
            Action::Busy { after, date } => {
                let mut response = refusal(StatusCode::TOO_MANY_REQUESTS).into_response();
                let value = if *date { retry_date(*after) } else { Some(HeaderValue::from(*after)) };
                if let Some(value) = value {
                    response.headers_mut().insert(header::RETRY_AFTER, value);
                }
                Some(response)
            }
            _ => None,
        })
    }

    fn breaks_after(&self) -> Option<u64> {
        self.0.iter().find_map(|taken| match &taken.action {
            Action::ResetAfter { bytes } => Some(*bytes),
            _ => None,
        })
    }

    /// The request's body as far as it comes, and a flag that is set once it has broken off.
    pub(crate) fn request_body(&self, method: &Method, body: Body) -> (Body, Arc<AtomicBool>) {
        let broken = Arc::new(AtomicBool::new(false));
        match self.breaks_after() {
            Some(bytes) if sends(method) => (first(body, bytes, Some(Arc::clone(&broken))), broken),
            _ => (body, broken),
        }
    }

    /// What the client gets to see of an answer.
    pub(crate) fn spoil(&self, method: &Method, mut response: Response, broken: &AtomicBool) -> Response {
        if broken.load(Ordering::SeqCst) {
            self.first_of(|action| matches!(action, Action::ResetAfter { .. }).then_some(()));
            return cut();
        }
        for taken in &self.0 {
            // What is read has to be there: not after a refusal, not in a redirection, not in an answer to HEAD.
            let length =
                length(&response).filter(|_| response.status().is_success() && *method != Method::HEAD);
            match &taken.action {
                Action::FailAfterCommit { with: AfterCommit::Reset } => {
                    taken.act();
                    return cut();
                }
                Action::FailAfterCommit { .. } => {
                    taken.act();
                    return (
                        StatusCode::GATEWAY_TIMEOUT,
                        [(header::CONTENT_TYPE, "text/html")],
                        GATEWAY_TIMEOUT,
                    )
                        .into_response();
                }
                Action::ResetAfter { bytes } if !sends(method) => {
                    let Some(length) = length.filter(|length| length > bytes) else { continue };
                    taken.act();
                    // The length stays: the client sees that something is missing.
                    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                    response = response.map(|body| first(body, *bytes, Some(Arc::default())));
                }
                Action::ShortBody { missing } => {
                    let Some(length) = length.filter(|length| *length > 0 && *missing > 0) else { continue };
                    taken.act();
                    let length = length.saturating_sub(*missing);
                    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                    response = response.map(|body| first(body, length, None));
                }
                Action::CorruptBody => {
                    if length.is_none_or(|length| length == 0) {
                        continue;
                    }
                    taken.act();
                    response = response.map(|body| {
                        let mut fresh = true;
                        Body::from_stream(body.into_data_stream().map(move |piece| {
                            piece.map(|piece| {
                                let mut piece = piece.to_vec();
                                if let Some(byte) = piece.first_mut().filter(|_| std::mem::take(&mut fresh)) {
                                    *byte ^= 0xff;
                                }
                                Bytes::from(piece)
                            })
                        }))
                    });
                }
                Action::WrongDigest => {
                    let other = digest_of(Algorithm::Sha256, b"something else").to_string();
                    if let (Ok(other), true) =
                        (HeaderValue::from_str(&other), response.headers().contains_key(CONTENT_DIGEST))
                    {
                        taken.act();
                        response.headers_mut().insert(CONTENT_DIGEST, other);
                    }
                }
                Action::Location { to } => {
                    if let (Ok(to), true) =
                        (HeaderValue::from_str(to), response.headers().contains_key(header::LOCATION))
                    {
                        taken.act();
                        response.headers_mut().insert(header::LOCATION, to);
                    }
                }
                _ => {}
            }
        }
        response
    }
}

/// Whether an action can make a difference to a request, as far as its head tells. What cannot is left to another request that
/// may be on its way at the same time.
pub(crate) fn can_do(action: &Action, parts: &Parts) -> bool {
    let sent = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match action {
        Action::ResetAfter { bytes } if sends(&parts.method) => sent.is_none_or(|sent: u64| sent > *bytes),
        Action::ResetAfter { .. } | Action::ShortBody { .. } | Action::CorruptBody => {
            parts.method != Method::HEAD
        }
        _ => true,
    }
}

/// How many bytes an answer has.
fn length(response: &Response) -> Option<u64> {
    let stated = response.headers().get(header::CONTENT_LENGTH);
    stated
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .or_else(|| HttpBody::size_hint(response.body()).exact())
}

/// An answer that never leaves: the server cuts the connection.
pub(crate) fn cut() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Cut);
    response
}

const fn sends(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn refusal(status: StatusCode) -> ApiError {
    let code = match status.as_u16() {
        401 => Code::Unauthorized,
        403 => Code::Denied,
        404 => Code::NameUnknown,
        429 => Code::TooManyRequests,
        _ => Code::Unknown,
    };
    ApiError::new(code, "a fault rule of the sandbox answers so").status(status)
}

/// The time after so many seconds as HTTP writes it, rounded up to a whole second.
fn retry_date(seconds: u64) -> Option<HeaderValue> {
    let wait = jiff::SignedDuration::from_secs(i64::try_from(seconds).ok()?.checked_add(1)?);
    let date = jiff::Timestamp::now().checked_add(wait).ok()?;
    let text = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    HeaderValue::from_str(&text).ok()
}

/// The first bytes of a body; after them its end or, with a flag to set, an error.
fn first(body: Body, length: u64, broken: Option<Arc<AtomicBool>>) -> Body {
    let state = (body.into_data_stream(), length, broken);
    Body::from_stream(stream::unfold(state, |(mut pieces, mut left, broken)| async move {
        if left == 0 {
            let flag = broken?;
            if flag.swap(true, Ordering::SeqCst) {
                return None;
            }
            // The server sends what it has when there is nothing to read for a moment.
            tokio::task::yield_now().await;
            let error = io::Error::new(io::ErrorKind::ConnectionReset, "a fault rule broke the body off");
            return Some((Err(error), (pieces, 0, Some(flag))));
        }
        match pieces.next().await? {
            Ok(mut piece) => {
                piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                left -= piece.len() as u64;
                Some((Ok(piece), (pieces, left, broken)))
            }
            Err(error) => Some((Err(io::Error::other(error)), (pieces, left, broken))),
        }
    }))
}
