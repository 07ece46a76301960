//! Logs the way Terraform reads them: one JSON object a line on stderr.
//!
//! # Levels
//!
//! The most specific variable that is set decides; the values are those of Terraform (`TRACE`, `DEBUG`, `INFO`,
//! `WARN`, `ERROR`, `OFF`; `JSON` and anything else mean `TRACE`).
//!
//! | Variable | Decides for |
//! |---|---|
//! | `TF_LOG_PROVIDER_<NAME>_<SUBSYSTEM>` | one subsystem of this provider |
//! | `TF_LOG_PROVIDER_<NAME>` | this provider |
//! | `TF_LOG_PROVIDER` | every provider |
//! | `TF_LOG` | everything |
//!
//! `<NAME>` is the provider's name in upper case with `-` as `_`. A subsystem is the end of a tracing target or of
//! one of its parents, in upper case with `::` as `_`: `TF_LOG_PROVIDER_ACME_HTTP` decides for the targets
//! `acme::http` and `acme_client::http::pool`. Of several that fit, the longest decides. Libraries below the
//! provider (HTTP, TLS) are held to warnings unless a subsystem names them: `TF_LOG_PROVIDER_ACME_HYPER=DEBUG`.
//!
//! # Safety of the lines
//!
//! Terraform itself crashes on a line whose `@level`, `@message` or `@timestamp` is no string, so keys that begin
//! with `@` are renamed to `at_…`. Every text passes the redactor ([`set_redactor`]) before it is cut to fit the
//! 64 KiB that Terraform reads of a line. Writing happens on a thread of its own: a reader that has stopped reading
//! costs lines, never a blocked handler.

mod filter;
mod line;
pub(crate) mod panics;
mod writer;

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

pub use self::filter::LogFilter;
use self::line::HclogLayer;
use self::writer::Writer;

type Redact = Arc<dyn for<'a> Fn(&'a str) -> Cow<'a, str> + Send + Sync>;

static REDACTOR: RwLock<Option<Redact>> = RwLock::new(None);
/// The writer that [`init`] has started.
static STDERR: OnceLock<Writer> = OnceLock::new();

/// Starts logging for the provider of this name: levels from the environment, lines on stderr, panics as errors.
///
/// Does nothing more than install the panic hook when the program already has a global subscriber.
pub fn init(provider: &str) {
    panics::install();
    let filter = LogFilter::from_environment(
        provider,
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    );
    let writer = STDERR.get_or_init(|| Writer::start(io::stderr())).clone();
    let subscriber = tracing_subscriber::registry().with(HclogLayer::new(writer).with_filter(filter));
    // The subscriber that is there already stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The same as a layer for a subscriber of your own, with the lines going to `output`. The returned guard waits a
/// moment for the last lines when it is dropped.
pub fn layer<S>(
    filter: LogFilter,
    output: impl Write + Send + 'static,
) -> (impl Layer<S> + Send + Sync, Guard)
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let writer = Writer::start(output);
    (HclogLayer::new(writer.clone()).with_filter(filter), Guard(writer))
}

/// Flushes when dropped.
#[derive(Debug)]
pub struct Guard(Writer);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Waits, at most a tenth of a second, until the lines so far are written.
pub fn flush() {
    if let Some(writer) = STDERR.get() {
        writer.flush();
    }
}

/// The last resort against a secret in a log: called with every text of every line, and with the line as a whole.
///
/// It must not log. What it returns is written instead.
pub fn set_redactor(redact: impl for<'a> Fn(&'a str) -> Cow<'a, str> + Send + Sync + 'static) {
    *REDACTOR.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(redact));
}

/// The redactor at this moment; called outside the lock.
fn redactor() -> Option<Redact> {
    REDACTOR.read().unwrap_or_else(PoisonError::into_inner).clone()
}
