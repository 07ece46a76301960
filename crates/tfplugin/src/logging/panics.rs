//! Panics: an error line for those that are caught, a crash report for those that end the process.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::sync::{Once, OnceLock};
use std::thread::{self, ThreadId};
use std::{io, panic};

/// The thread whose panic ends the process.
static MAIN: OnceLock<ThreadId> = OnceLock::new();

thread_local! {
    /// A panic while a panic is being reported (in a redactor, say) must not report again.
    static REPORTING: Cell<bool> = const { Cell::new(false) };
}

/// What a panic said.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&'static str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Notes that the current thread is the program's main one.
pub(super) fn on_main_thread() {
    // The first call is the one from `main`.
    let _ = MAIN.set(thread::current().id());
}

/// Puts our hook in front of the one that is there. Only the first call has an effect.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if REPORTING.replace(true) {
                return;
            }
            report(info, &previous);
            REPORTING.set(false);
        }));
    });
}

fn report(info: &PanicHookInfo<'_>, previous: &(dyn Fn(&PanicHookInfo<'_>) + Send + Sync)) {
    let text = message(info.payload());
    let location = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let backtrace = Backtrace::force_capture();
    if let Some(report) = crate::server::record(text, &location) {
        let report_id = report.report_id;
        tracing::error!(location, report_id, %backtrace, "a handler panicked: {text}");
        return;
    }
    if !is_fatal() {
        // A background task: its owner learns of it from the join handle.
        tracing::error!(location, %backtrace, "a task panicked: {text}");
        if !tracing::enabled!(tracing::Level::ERROR) {
            previous(info);
        }
        return;
    }
    tracing::error!(location, %backtrace, "the process panicked: {text}");
    super::flush();
    // Terraform captures from a line of this form on, and shows it as the plugin's crash.
    let report = format!("panic: {text}\n\nat {location}\n\n{backtrace}\n");
    let redacted = super::redactor().map(|redact| redact(&report).into_owned()).unwrap_or(report);
    let _ = io::stderr().write_all(redacted.as_bytes());
}

/// Whether nothing above will catch this panic: the main thread, or a build that aborts.
fn is_fatal() -> bool {
    cfg!(panic = "abort") || MAIN.get() == Some(&thread::current().id())
}
