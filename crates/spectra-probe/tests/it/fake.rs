//! A Prometheus that takes instant queries in the documented form and nothing else, and answers what it was told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use url::form_urlencoded;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
}

#[derive(Clone, Default)]
pub(crate) struct Fake {
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Starts it under the path `/prometheus`, as behind a proxy, and gives its address.
    pub(crate) async fn start() -> (Self, String) {
        let fake = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address =
            format!("http://prometheus.localhost:{}/prometheus/", listener.local_addr().unwrap().port());
        let router = Router::new().fallback(take).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (fake, address)
    }

    /// Answers the next query like this.
    pub(crate) fn then(&self, status: u16, body: impl Into<String>) {
        self.answers.lock().unwrap().push_back((status, body.into()));
    }

    /// Answers the next query with this `data`.
    pub(crate) fn then_data(&self, kind: &str, result: &str) {
        self.then(
            200,
            format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#),
        );
    }

    /// Every query so far that had the documented form.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn take(
    State(fake): State<Fake>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    if uri.path() != "/prometheus/api/v1/query" {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    let form = match method {
        Method::GET if body.is_empty() => uri.query().unwrap_or_default().as_bytes().to_vec(),
        Method::POST
            if uri.query().is_none()
                && text(header::CONTENT_TYPE).as_deref() == Some("application/x-www-form-urlencoded") =>
        {
            body.to_vec()
        }
        _ => return refusal("method, parameters and body do not fit together"),
    };
    let pairs: Vec<(String, String)> = form_urlencoded::parse(&form).into_owned().collect();
    let [(name, query)] = pairs.as_slice() else { return refusal("not one parameter") };
    if name != "query" {
        return refusal(&format!("unknown parameter {name}"));
    }
    let authorization = text(header::AUTHORIZATION);
    fake.asked.lock().unwrap().push(Asked { method, query: query.clone(), authorization });
    let Some((status, body)) = fake.answers.lock().unwrap().pop_front() else {
        return refusal("nothing was prepared for this query");
    };
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    if (300..400).contains(&status) {
        let elsewhere = "https://login.example/?token=t0ken-of-a-redirect";
        response.headers_mut().insert(header::LOCATION, elsewhere.parse().unwrap());
    }
    response
}

fn refusal(message: &str) -> Response {
    let body = format!(r#"{{"status":"error","errorType":"bad_data","error":"{message}"}}"#);
    (StatusCode::BAD_REQUEST, body).into_response()
}
