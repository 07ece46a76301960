//! Queries against the strict fake.

use std::time::Duration;

use axum::http::Method;
use spectra_probe::Prometheus;
use spectra_rollout::spec::{Comparison, Metric, MetricKind};
use spectra_rollout::{MetricSource as _, Sample, Sampled};
use spectra_types::Secret;

use crate::fake::Fake;
use crate::support::{metric, scope};

const TOKEN: &str = "t0ken-of-prometheus";

fn source() -> Prometheus {
    Prometheus::new(Duration::from_secs(30), |name| match name {
        "PROMETHEUS_TOKEN" => Some(Secret::from(TOKEN)),
        "EMPTY" => Some(Secret::from("  ")),
        "BROKEN" => Some(Secret::from("t0ken-with-\n-in-it")),
        _ => None,
    })
}

fn asking(address: &str, query: &str) -> Metric {
    metric(MetricKind::Prometheus {
        address: address.to_owned(),
        query: query.to_owned(),
        stable_query: None,
        token_env: None,
    })
}

fn with_token(address: &str, variable: &str) -> Metric {
    metric(MetricKind::Prometheus {
        address: address.to_owned(),
        query: "up".to_owned(),
        stable_query: None,
        token_env: Some(variable.to_owned()),
    })
}

fn compared(address: &str, query: &str, stable: &str) -> Metric {
    let source = MetricKind::Prometheus {
        address: address.to_owned(),
        query: query.to_owned(),
        stable_query: Some(stable.to_owned()),
        token_env: None,
    };
    Metric { compare: Some(Comparison { max_ratio: Some(1.2), max_increase: None }), ..metric(source) }
}

async fn sample(metric: &Metric) -> Sampled {
    source().sample(metric, &scope()).await
}

/// What comes of an answer of this kind and result.
async fn of(kind: &str, result: &str) -> Result<Option<f64>, String> {
    let (fake, address) = Fake::start().await;
    fake.then_data(kind, result);
    sample(&asking(&address, "up")).await.answer.map(|sample| sample.value)
}

/// What is said of an answer with this status and body.
async fn error_of(status: u16, body: &str) -> String {
    let (fake, address) = Fake::start().await;
    fake.then(status, body);
    sample(&asking(&address, "up")).await.answer.unwrap_err()
}

#[tokio::test]
async fn a_query_is_filled_in_and_asked_as_it_is_recorded() {
    let (fake, address) = Fake::start().await;
    fake.then_data("vector", r#"[{"metric":{"code":"500"},"value":[1435781451.781,"0.25"]}]"#);
    let template = r#"sum(rate(errors{service="{{service}}",env="{{environment}}",deployment="{{deployment}}"}[{{window}}])) + 1 & 2"#;
    let expected = r#"sum(rate(errors{service="canary-1",env="environment-1",deployment="deployment-new"}[1m30s])) + 1 & 2"#;
    let sampled = sample(&asking(&address, template)).await;
    assert_eq!(sampled.query, expected);
    assert_eq!(sampled.answer, Ok(Sample { value: Some(0.25), samples: None, stable: None }));
    let asked = fake.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!((&asked[0].method, asked[0].query.as_str()), (&Method::GET, expected));
    assert_eq!(asked[0].authorization, None);
}

#[tokio::test]
async fn a_long_query_goes_in_the_body() {
    let (fake, address) = Fake::start().await;
    fake.then_data("scalar", r#"[1435781451.781,"7"]"#);
    let query = format!("scalar(sum({{__name__=~\"{}\"}}))", "a|".repeat(2_000));
    let sampled = sample(&asking(&address, &query)).await;
    assert_eq!(sampled.answer.unwrap().value, Some(7.0));
    assert_eq!((&fake.asked()[0].method, &fake.asked()[0].query), (&Method::POST, &query));
}

#[tokio::test]
async fn one_number_is_a_value_and_none_is_no_data() {
    let series = |value: &str| format!(r#"[{{"metric":{{}},"value":[1435781451,"{value}"]}}]"#);
    assert_eq!(of("scalar", r#"[1435781451.781,"1e-3"]"#).await, Ok(Some(0.001)));
    assert_eq!(of("vector", &series("-4")).await, Ok(Some(-4.0)));
    assert_eq!(of("vector", "[]").await, Ok(None));
    for none in ["NaN", "+Inf", "-Inf"] {
        assert_eq!(of("vector", &series(none)).await, Ok(None), "{none}");
    }
}

#[tokio::test]
async fn what_is_no_number_is_an_error() {
    let one = r#"{"metric":{"code":"500"},"value":[1435781451,"1"]}"#;
    let several = of("vector", &format!("[{one},{one},{one}]")).await.unwrap_err();
    assert!(several.contains("gives 3 samples"), "{several}");
    let matrix = of("matrix", r#"[{"metric":{},"values":[[1435781451,"1"]]}]"#).await.unwrap_err();
    assert!(matrix.contains("gives a matrix"), "{matrix}");
    let string = of("string", r#"[1435781451,"x"]"#).await.unwrap_err();
    assert!(string.contains("gives a string"), "{string}");
    let histogram =
        of("vector", r#"[{"metric":{},"histogram":[1435781451,{"count":"1","sum":"2","buckets":[]}]}]"#)
            .await;
    assert!(histogram.as_ref().unwrap_err().contains("gives a histogram"), "{histogram:?}");
    let word = of("scalar", r#"[1435781451,"many"]"#).await.unwrap_err();
    assert!(word.contains("`many`"), "{word}");
    let shape = of("scalar", r#"{"value":1}"#).await.unwrap_err();
    assert!(shape.contains("not Prometheus' format"), "{shape}");
}

#[tokio::test]
async fn prometheus_words_are_repeated() {
    let body =
        r#"{"status":"error","errorType":"bad_data","error":"1:4: parse error: unexpected end of input"}"#;
    let message = error_of(400, body).await;
    assert!(message.contains("HTTP 400, bad_data: 1:4: parse error"), "{message}");
    // Some gateways answer 200 to everything.
    assert!(error_of(200, body).await.contains("HTTP 200, bad_data: 1:4: parse error"));
}

#[tokio::test]
async fn a_warning_keeps_nothing_from_being_answered_and_is_logged() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.reopen().unwrap()).finish();
    // For this thread, which is the one that the test runs on.
    let _guard = tracing::subscriber::set_default(subscriber);
    let (fake, address) = Fake::start().await;
    fake.then(
        200,
        r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]},"warnings":["half of it is missing"],"infos":["not a counter"]}"#,
    );
    assert_eq!(sample(&asking(&address, "up")).await.answer.unwrap().value, Some(2.0));
    let logged = std::fs::read_to_string(log.path()).unwrap();
    let warning: Vec<&str> = logged.lines().filter(|line| line.contains("half of it is missing")).collect();
    assert_eq!(warning.len(), 1, "{logged}");
    assert!(warning[0].contains("WARN") && warning[0].contains("query=\"up\""), "{logged}");
}

#[tokio::test]
async fn what_is_not_prometheus_is_quoted_without_secrets() {
    let secret: Secret<String> = Secret::from("s3cret-in-an-error-page");
    let message = error_of(502, &format!("<html>bad gateway {}</html>", secret.expose())).await;
    assert!(message.contains("HTTP 502: \"<html>bad gateway [redacted]</html>\""), "{message}");
    let long = error_of(200, &format!("[{}]", "1,".repeat(600_000))).await;
    assert!(long.contains("more than 1048576 bytes"), "{long}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_shows_no_token() {
    let message = error_of(302, "").await;
    assert!(
        message.contains("a redirect to `https://login.example/?token=***`, which is not followed"),
        "{message}"
    );
}

#[tokio::test]
async fn a_token_is_sent_where_nobody_listens() {
    let (fake, address) = Fake::start().await;
    fake.then_data("scalar", r#"[1,"2"]"#);
    let sampled = sample(&with_token(&address, "PROMETHEUS_TOKEN")).await;
    assert_eq!(sampled.answer.unwrap().value, Some(2.0));
    assert_eq!(fake.asked()[0].authorization, Some(format!("Bearer {TOKEN}")));
}

#[tokio::test]
async fn a_token_in_an_answer_is_not_repeated() {
    let (fake, address) = Fake::start().await;
    fake.then(403, format!(r#"{{"status":"error","errorType":"forbidden","error":"bad token {TOKEN}"}}"#));
    let message = sample(&with_token(&address, "PROMETHEUS_TOKEN")).await.answer.unwrap_err();
    assert!(message.contains("bad token [redacted]"), "{message}");
}

#[tokio::test]
async fn what_cannot_be_asked_safely_is_not_asked() {
    let (fake, address) = Fake::start().await;
    for (metric, expected) in [
        (with_token("http://prometheus.example", "PROMETHEUS_TOKEN"), "unencrypted"),
        (with_token(&address, "MISSING"), "`MISSING`, which `token_env` names, is not set"),
        (with_token(&address, "EMPTY"), "`EMPTY`, which `token_env` names, is not set"),
        (with_token(&address, "BROKEN"), "`BROKEN` holds cannot be sent as a token"),
        (
            asking("http://user:pass-0f-user@127.0.0.1:1", "up"),
            "`http://***:***@127.0.0.1:1/` holds credentials",
        ),
        (asking("http://127.0.0.1:1/?a=b", "up"), "a query or a fragment"),
        (asking("ftp://127.0.0.1:1/", "up"), "no http or https address"),
        (asking("prometheus:9090/x y", "up"), "no http or https address"),
        (asking("prometheus", "up"), "is no URL"),
        (asking(&address, "up{a=\"{{pod}}\"}"), "`{{pod}}` is nothing that is filled in"),
    ] {
        let message = sample(&metric).await.answer.unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn stable_is_asked_for_itself() {
    let (fake, address) = Fake::start().await;
    // Whichever is asked first.
    fake.then_data("scalar", r#"[1,"3"]"#);
    fake.then_data("scalar", r#"[1,"3"]"#);
    let template = r#"a{s="{{service}}",d="{{deployment}}"}"#;
    let sampled = sample(&compared(&address, template, template)).await;
    assert_eq!(sampled.answer, Ok(Sample { value: Some(3.0), samples: None, stable: Some(3.0) }));
    let own = r#"a{s="canary-1",d="deployment-new"}"#;
    let stable = r#"a{s="service-1",d="deployment-old"}"#;
    assert_eq!(sampled.query, format!("{own}, compared with {stable}"));
    let mut asked: Vec<String> = fake.asked().into_iter().map(|asked| asked.query).collect();
    asked.sort();
    assert_eq!(asked, [own, stable]);
}

#[tokio::test]
async fn stable_is_not_asked_where_nothing_is_compared() {
    let (fake, address) = Fake::start().await;
    fake.then_data("scalar", r#"[1,"3"]"#);
    let metric = Metric { compare: None, ..compared(&address, "up", "down") };
    assert_eq!(sample(&metric).await.query, "up");
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn an_error_of_stable_is_one_of_the_source() {
    let (fake, address) = Fake::start().await;
    let sampled = sample(&compared(&address, "up", "down{a=\"{{pod}}\"}")).await;
    let message = sampled.answer.unwrap_err();
    assert!(message.starts_with("the query for stable: `{{pod}}`"), "{message}");
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn without_a_deployment_there_is_no_data() {
    let (fake, address) = Fake::start().await;
    let mut nothing_yet = scope();
    nothing_yet.candidate = None;
    let metric = asking(&address, "a{d=\"{{deployment}}\"}");
    let sampled = source().sample(&metric, &nothing_yet).await;
    assert_eq!(sampled.answer, Ok(Sample::default()));
    assert!(fake.asked().is_empty());
    // Stable's is gone: the candidate has its number, and the judge nothing to compare it with.
    let mut alone = scope();
    alone.stable = None;
    fake.then_data("scalar", r#"[1,"3"]"#);
    let template = "a{d=\"{{deployment}}\"}";
    let sampled = source().sample(&compared(&address, template, template), &alone).await;
    assert_eq!(sampled.answer, Ok(Sample { value: Some(3.0), samples: None, stable: None }));
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let source = Prometheus::new(Duration::from_millis(50), |_| None);
    let message = source.sample(&asking(&address, "up"), &scope()).await.answer.unwrap_err();
    assert!(message.contains("no answer within"), "{message}");
    drop(listener);
    let message = source.sample(&asking(&address, "up"), &scope()).await.answer.unwrap_err();
    assert!(message.contains("no connection"), "{message}");
}

#[tokio::test]
async fn another_kind_of_metric_is_refused() {
    let message = sample(&metric(MetricKind::Cpu)).await.answer.unwrap_err();
    assert_eq!(message, "metric `errors` is no query of Prometheus");
}
