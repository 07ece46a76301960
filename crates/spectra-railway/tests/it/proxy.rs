//! Subscriptions behind a proxy.

use std::time::Duration;

use spectra_railway::{Client, ClientConfig, LogKind, LogNews, Polling};

use crate::fake::TOKEN;

const CHILD: &str = "SPECTRA_TEST_PROXIED";

/// Which proxy there is, is the process's, so this is a process of its own: this test once more, with the variable set.
#[tokio::test]
async fn behind_a_proxy_logs_are_read_again_and_again() {
    if std::env::var_os(CHILD).is_some() {
        let mut config = ClientConfig::new(TOKEN.into());
        // Nobody is there, and nobody is asked.
        config.endpoint = "https://railway.invalid/graphql/v2".parse().unwrap();
        config.polling = Some(Polling { watch: Duration::from_millis(1), ..Polling::LOOPBACK });
        let client = Client::new(config).unwrap();
        let mut lines = client.stream_logs(&"d1".parse().unwrap(), LogKind::Deploy);
        let LogNews::Trouble(reason) = lines.next().await else { panic!("there is no log") };
        assert!(reason.starts_with("no connection to the API"), "{reason}");
        return;
    }
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "proxy::behind_a_proxy_logs_are_read_again_and_again"])
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env(CHILD, "1")
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(50), child).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
