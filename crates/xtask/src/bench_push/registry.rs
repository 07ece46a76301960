//! Debian's `docker-registry` on loopback, as every comparison of pushing uses it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Context;
use crate::error::Error;
use crate::http;
use crate::process::{Job, Output, Running};

/// How long it may take to answer.
const READY: Duration = Duration::from_secs(20);

pub(crate) struct Registry {
    running: Running,
    data: PathBuf,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
}

impl Registry {
    pub(crate) async fn start(context: &Context, root: &Path) -> Result<Self, Error> {
        let data = root.join("registry");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.map_err(Error::file("listen on", "127.0.0.1"))?.to_string();
        let configuration = root.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\n\
             storage: {{ filesystem: {{ rootdirectory: \"{}\" }} }}\nhttp: {{ addr: \"{address}\" }}\n",
            data.display()
        );
        std::fs::write(&configuration, text).map_err(Error::file("write", &configuration))?;
        let job = Job::new("docker-registry")
            .arg("serve")
            .arg(&configuration)
            .output(Output::File(root.join("registry.log")));
        let running = context.processes.start(&job)?;
        let url = format!("http://{address}/v2/");
        let deadline = Instant::now() + READY;
        while http::get_json(&url).await.is_err() {
            if let Some(end) = running.finished() {
                return Err(end.failure());
            }
            if Instant::now() >= deadline {
                let output = std::fs::read_to_string(root.join("registry.log")).unwrap_or_default();
                return Err(Error::TimedOut { command: job.line(), seconds: READY.as_secs(), output });
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { running, data, address })
    }

    /// Forgets everything. It keeps nothing in memory that would tell.
    pub(crate) fn empty(&self) -> Result<(), Error> {
        let stored = self.data.join("docker");
        match std::fs::remove_dir_all(&stored) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file("empty", stored)(error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn stop(mut self, context: &Context) {
        context.processes.stop(&mut self.running).await;
    }
}
