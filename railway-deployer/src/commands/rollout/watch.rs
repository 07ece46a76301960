//! `rollout watch`.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use futures::FutureExt as _;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute};
use serde_json::json;
use spectra_delivery::{DeploymentLogs, Following, Logged, is_acted_on, request_of};
use spectra_journal::{Journal, Record};
use spectra_railway::{Client, ClientConfig};
use spectra_rollout::{Entry, Outcome, Place};
use spectra_types::{ExitCode, error_chain};

use super::logs::{self, Logs};
use super::open_existing;
use super::place::{Which, flags};
use super::watched::Watched;
use crate::failure::Failure;
use crate::printer::{Printer, drawn};

/// How long one look at the keyboard takes; the journal is read in between.
const LOOK: Duration = Duration::from_millis(250);

/// Arguments of `rollout watch`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    logs: Logs,
}

/// Why it is watched no longer.
enum End {
    Finished(Box<Outcome>),
    /// Its process is gone.
    Abandoned,
    /// The user has seen enough.
    Left,
}

/// Ends with the exit code of the rollout.
pub(super) async fn run(arguments: Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let journal = open_existing(journal).await?;
    let rollout = arguments.which.rollout(&journal).await?;
    let request = request_of(&journal, &rollout).await?;
    let place = request.place.clone();
    let mut watched = Watched::new(&rollout, request);
    let client = client(arguments.logs, printer);
    let mut logs = client.as_ref().map(|client| DeploymentLogs::new(client, &rollout));
    let end = if printer.is_interactive() && !printer.is_json() {
        on_screen(&journal, &place, &mut watched, logs.as_mut()).await?
    } else {
        line_by_line(&journal, &place, &mut watched, logs.as_mut(), printer).await?
    };
    match end {
        End::Finished(outcome) => {
            let value = json!({
                "rollout": rollout,
                "outcome": outcome.phase(),
                "exit_code": outcome.exit_code().code(),
                "code": outcome.failure().map(|failure| failure.reason.code()),
                "message": outcome.to_string(),
                "project_id": place.project,
                "environment_id": place.environment,
                "service_id": place.service,
            });
            let text = format!("rollout {rollout} ended: {outcome}");
            printer.outcome("rollout.result", &value, text, outcome.exit_code())
        }
        End::Abandoned => {
            let flags = flags(&place);
            printer.note(&format!("`railway-deployer rollout abort {flags}` brings back what ran before"));
            Err(Failure::State {
                message: format!(
                    "rollout {rollout} is open, but its process is gone: nobody goes on with it"
                ),
                hint: "abort it, or begin the next rollout, which does that first",
            })
        }
        End::Left => Err(Failure::Interrupted),
    }
}

/// Who reads the logs, where they are wanted. They are a help: without a token, they are left out.
fn client(logs: Logs, printer: Printer) -> Option<Client> {
    if !logs.shown(printer) {
        return None;
    }
    match ClientConfig::from_env().and_then(Client::new) {
        Ok(client) => Some(client),
        Err(error) => {
            printer.note(&format!("the logs of the deployments are left out: {}", error_chain(&error)));
            None
        }
    }
}

/// Follows the deployments that are named by what was read. Of a rollout that is over, nothing is followed.
fn take(logs: Option<&mut DeploymentLogs<'_>>, read: &[(Record, Option<Entry>)]) {
    let Some(logs) = logs else { return };
    let entries = || read.iter().filter_map(|(_, entry)| entry.as_ref());
    if !entries().any(|entry| matches!(entry, Entry::Finished { .. })) {
        entries().for_each(|entry| logs.take(entry));
    }
}

/// What the records say about the end; a lease that is gone counts once the journal has nothing new to say.
async fn end(
    journal: &Journal,
    place: &Place,
    read: &[(Record, Option<Entry>)],
) -> Result<Option<End>, Failure> {
    let finished = read.iter().find_map(|(_, entry)| match entry {
        Some(Entry::Finished { outcome }) => Some(End::Finished(Box::new(outcome.clone()))),
        _ => None,
    });
    if finished.is_some() || !read.is_empty() || is_acted_on(journal, place).await? {
        return Ok(finished);
    }
    Ok(Some(End::Abandoned))
}

async fn line_by_line(
    journal: &Journal,
    place: &Place,
    watched: &mut Watched,
    mut logs: Option<&mut DeploymentLogs<'_>>,
    printer: Printer,
) -> Result<End, Failure> {
    let tell = |logged: &Logged<'_>| {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        printer.line(&format!("{now} {}", logs::line(logged)));
    };
    let mut following = Following::after(journal, watched.rollout().to_owned(), 0);
    loop {
        // Asked first: what is read afterwards holds everything that a process wrote before it went.
        let read = following.read().await?;
        for (record, entry) in &read {
            if let Some(entry) = entry.as_ref().filter(|_| printer.shows_progress()) {
                printer.line(&format!("{} {}", record.at.strftime("%Y-%m-%dT%H:%M:%SZ"), entry.line()));
            }
        }
        take(logs.as_deref_mut(), &read);
        if let Some(end) = end(journal, place, &read).await? {
            return settled(&mut following, end).await;
        }
        match &mut logs {
            Some(logs) => tokio::select! {
                () = following.pause() => {}
                () = logs.tell(&tell) => {}
            },
            None => following.pause().await,
        }
    }
}

/// A process that wrote its last record and went between two looks is not gone in the middle.
async fn settled(following: &mut Following<'_>, end: End) -> Result<End, Failure> {
    if !matches!(end, End::Abandoned) {
        return Ok(end);
    }
    let finished = following.read().await?.into_iter().find_map(|(_, entry)| match entry {
        Some(Entry::Finished { outcome }) => Some(End::Finished(Box::new(outcome))),
        _ => None,
    });
    Ok(finished.unwrap_or(end))
}

async fn on_screen(
    journal: &Journal,
    place: &Place,
    watched: &mut Watched,
    mut logs: Option<&mut DeploymentLogs<'_>>,
) -> Result<End, Failure> {
    let failed = |source| Failure::io("draw on the terminal", source);
    let mut following = Following::after(journal, watched.rollout().to_owned(), 0);
    let _guard = Guard::enter().map_err(failed)?;
    let mut terminal = Terminal::new(CrosstermBackend::new(io::stderr())).map_err(failed)?;
    // What was there before is not ours to draw around, where a terminal has no second screen.
    terminal.clear().map_err(failed)?;
    loop {
        let read = following.read().await?;
        for (record, entry) in &read {
            if let Some(entry) = entry {
                watched.take(record.at, entry, &drawn(&entry.line()));
            }
        }
        take(logs.as_deref_mut(), &read);
        if let Some(logs) = &mut logs {
            let printed = Mutex::new(Vec::new());
            let tell = |logged: &Logged<'_>| {
                printed.lock().unwrap_or_else(PoisonError::into_inner).push(logs::line(logged));
            };
            // What is there already; the rest is shown the next time.
            let _ = logs.tell(&tell).now_or_never();
            for line in printed.into_inner().unwrap_or_else(PoisonError::into_inner) {
                watched.print(jiff::Timestamp::now(), drawn(&line));
            }
        }
        terminal.draw(|frame| watched.draw(frame)).map_err(failed)?;
        if let Some(end) = end(journal, place, &read).await? {
            return settled(&mut following, end).await;
        }
        let leave = tokio::task::spawn_blocking(wants_to_leave).await?;
        if leave.map_err(failed)? {
            return Ok(End::Left);
        }
    }
}

/// Looks at the keyboard for a moment. Ctrl-C is a key here: the terminal is raw.
fn wants_to_leave() -> io::Result<bool> {
    if !event::poll(LOOK)? {
        return Ok(false);
    }
    Ok(match event::read()? {
        Event::Key(key) => {
            matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
                || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL))
        }
        _ => false,
    })
}

/// Gives the terminal back as it was, however the watch ends.
struct Guard;

impl Guard {
    fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        let guard = Self;
        execute!(io::stderr(), EnterAlternateScreen)?;
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = execute!(io::stderr(), LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
    }
}
