//! Channels as they are written down.

use spectra_notify::{ChannelSpec, Error, Severity, Template};

use crate::support::message;

/// One of each kind, with everything that it can have, as version 1 is kept.
const ALL: [&str; 4] = [
    r#"{"version":1,"name":"ops","kind":"slack","events":["rollout.*"],"min_severity":"warning","template":{"title":"{{title}}","text":"{{summary}}"},"url_env":"A"}"#,
    r#"{"version":1,"name":"audit","kind":"webhook","events":["*"],"url_env":"A","secret_env":"B"}"#,
    r#"{"version":1,"name":"team","kind":"email","events":["*"],"host":"mail.example.com","port":2525,"tls":"implicit","from":"a@example.com","to":["b@example.com"],"username_env":"A","password_env":"B","ca_file":"ca.pem"}"#,
    r#"{"version":1,"name":"on-call","kind":"pagerduty","events":["*"],"min_severity":"warning","routing_key_env":"A","endpoint":"https://events.eu.pagerduty.com/v2/enqueue","source":"prod"}"#,
];

fn spec(text: &str) -> ChannelSpec {
    serde_json::from_str(text).unwrap()
}

fn refused(text: &str) -> String {
    let spec: Result<ChannelSpec, _> = serde_json::from_str(text);
    match spec {
        Err(error) => error.to_string(),
        Ok(spec) => {
            let error = spec.validate().unwrap_err();
            assert_eq!(error.code().as_str(), "SPX-708");
            error.to_string()
        }
    }
}

#[test]
fn version_1_is_read_as_it_was_written() {
    for text in ALL {
        let spec = spec(text);
        spec.validate().unwrap();
        assert_eq!(serde_json::to_string(&spec).unwrap(), text);
        // As a part of something else, and by other readers than the one for text.
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::from_value::<ChannelSpec>(value).unwrap(), spec);
    }
}

#[test]
fn by_default_everything_but_info_is_wanted() {
    let channel = spec(r#"{"name":"ops","kind":"slack","url_env":"OPS_URL"}"#)
        .open(&|_| Some("https://hooks.slack.com/services/T/B/x".to_owned()))
        .unwrap();
    let with = |severity| {
        let mut message = message();
        message.severity = severity;
        message
    };
    assert!(!channel.wants(&with(Severity::Info)));
    for severity in [Severity::Success, Severity::Warning, Severity::Critical] {
        assert!(channel.wants(&with(severity)));
    }
    assert_eq!(channel.endpoint(), "https://hooks.slack.com");
}

#[test]
fn events_and_severity_are_both_asked() {
    let text = r#"{"name":"ops","kind":"slack","url_env":"A","events":["rollout.*_failed","x"],"min_severity":"info"}"#;
    let channel = spec(text).open(&|_| Some("https://hooks.slack.com/x".to_owned())).unwrap();
    let with = |event: &str| {
        let mut message = message();
        (message.event, message.severity) = (event.into(), Severity::Info);
        message
    };
    assert!(channel.wants(&with("rollout.rollback_failed")) && channel.wants(&with("x")));
    assert!(!channel.wants(&with("rollout.started")));
}

#[test]
fn what_cannot_be_is_refused_with_the_attribute() {
    for (text, said) in [
        (r#"{"name":"a","kind":"slack"}"#, "needs `url_env`"),
        (r#"{"name":"a","kind":"slack","url_env":"A","to":["b@example.com"]}"#, "has no `to`"),
        (r#"{"name":"a","kind":"slack","url_env":"A","uri_env":"A"}"#, "`uri_env`"),
        (r#"{"name":"a","kind":"teams","url_env":"A"}"#, "`teams`"),
        (r#"{"version":2,"name":"a","kind":"slack","url_env":"A"}"#, "version 2"),
        (r#"{"name":" ","kind":"slack","url_env":"A"}"#, "`name`"),
        (r#"{"name":"a","kind":"slack","url_env":"A","events":[]}"#, "`events`"),
        (r#"{"name":"a","kind":"slack","url_env":"A","events":["a b"]}"#, "`events`: `a b`"),
        (
            r#"{"name":"a","kind":"slack","url_env":"A","template":{"text":"{{user}}"}}"#,
            "`template.text` names `user`",
        ),
        (r#"{"name":"a","kind":"slack","url_env":"A","template":{"body":"x"}}"#, "`body`"),
        (r#"{"name":"a","kind":"email","host":"m.example","from":"a@b.example","to":[]}"#, "`to`"),
        (
            r#"{"name":"a","kind":"email","host":"m.example","from":"a@b.example","to":["c@d.example"],"tls":"none"}"#,
            "this machine",
        ),
        (
            r#"{"name":"a","kind":"email","host":"m.example","from":"a@b.example","to":["c@d.example"],"username_env":"A"}"#,
            "go together",
        ),
        (
            r#"{"name":"a","kind":"pagerduty","routing_key_env":"A","endpoint":"http://pd.example"}"#,
            "`endpoint`",
        ),
        (r#"{"name":"a","kind":"pagerduty","routing_key_env":"A","min_severity":"info"}"#, "`min_severity`"),
        (r#"{"name":"a","kind":"pagerduty","routing_key_env":"A","source":""}"#, "`source`"),
    ] {
        let problem = refused(text);
        assert!(problem.contains(said), "{said} in {problem}");
    }
}

#[test]
fn a_secret_in_the_place_of_a_variables_name_is_refused_and_not_repeated() {
    let text = r#"{"name":"a","kind":"slack","url_env":"https://hooks.slack.com/services/T/B/pasted"}"#;
    let problem = refused(text);
    assert!(problem.contains("`url_env`") && !problem.contains("pasted"), "{problem}");
}

#[test]
fn a_missing_variable_is_named() {
    for (text, variable, attribute) in [
        (ALL[0], "A", "url_env"),
        (ALL[1], "B", "secret_env"),
        (ALL[2], "B", "password_env"),
        (ALL[3], "A", "routing_key_env"),
    ] {
        for value in [None, Some(" \n")] {
            let env = |name: &str| {
                let value = if name == variable { value } else { Some("https://hooks.example/x") };
                value.map(str::to_owned)
            };
            let error = spec(text).open(&env).unwrap_err();
            assert_eq!(error.code().as_str(), "SPX-709");
            let said = error.to_string();
            assert!(said.contains(&format!("`{variable}` (`{attribute}`), which is not set")), "{said}");
        }
    }
}

#[test]
fn a_variable_of_no_use_is_named_and_not_shown() {
    for (text, value, said) in [
        (ALL[0], "http://hooks.example/no-tls-secret", "https"),
        (ALL[0], "no-url-secret", "cannot be used"),
        (ALL[3], "too-short-secret", "32 letters"),
    ] {
        let error = spec(text).open(&|_| Some(value.to_owned())).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("`A`") && text.contains(said) && !text.contains("secret"), "{text}");
    }
}

#[test]
fn a_file_of_certificates_that_is_not_there_is_named() {
    let error = spec(ALL[2]).open(&|_| Some("x".to_owned())).unwrap_err();
    assert!(matches!(error, Error::Spec { .. }) && error.to_string().contains("`ca.pem`"), "{error}");
}

#[test]
fn a_description_made_in_code_is_the_one_that_is_read() {
    let target = spectra_notify::Target::Slack { url_env: "A".to_owned() };
    let mut made = ChannelSpec::new("ops", target);
    assert_eq!(made, spec(r#"{"name":"ops","kind":"slack","url_env":"A"}"#));
    made.template = Template { title: Some("{{title".to_owned()), text: None };
    assert!(made.validate().is_err());
}
