//! Shows a rollout while it runs, and remembers what is open.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use spectra_delivery::{Heard, Logged};
use spectra_rollout::{Entry, Place};

use super::logs;
use super::place::flags;
use super::stopping::{self, Open};
use crate::failure::Failure;
use crate::printer::{Printer, drawn};

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// The terminal, shared by the rollouts of one process.
pub(super) struct Screen {
    printer: Printer,
    bars: Option<MultiProgress>,
    /// Rollouts that were begun and have not ended.
    open: Mutex<Vec<Open>>,
}

impl Screen {
    pub(super) fn new(printer: Printer) -> Self {
        let bars = printer.is_interactive().then(MultiProgress::new);
        Self { printer, bars, open: Mutex::default() }
    }

    /// A line with a time stamp.
    pub(super) fn say(&self, text: &str) {
        if self.printer.shows_progress() {
            self.put(text);
        }
    }

    fn put(&self, text: &str) {
        let line = format!("{} {text}", jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ"));
        match &self.bars {
            // Above the spinners. An error comes from a closed terminal, and there is nobody to tell.
            Some(bars) => drop(bars.println(drawn(&line))),
            None => self.printer.line(&line),
        }
    }

    /// Says at a first signal what becomes of what was begun, and what ends the process before that.
    pub(super) fn stopping(&self, after: Option<Duration>) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.say(&stopping::words(&open, after));
    }

    /// Why the process ends although something is open, and what to do about it.
    pub(super) fn left(&self, journal: &str) -> Failure {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_empty() {
            return Failure::Interrupted;
        }
        let rollouts: Vec<_> = open.iter().map(|one| format!("`{}`", one.rollout)).collect();
        let commands: Vec<_> = open
            .iter()
            .map(|one| format!("`railway-deployer rollout abort {}`", flags(&one.place)))
            .collect();
        Failure::HandedOver {
            message: format!(
                "interrupted before the environment was brought back; the journal `{journal}` holds the open rollout {}",
                rollouts.join(", ")
            ),
            hint: format!(
                "with the same journal, {} brings the environment back; so does the next rollout of the service before it \
                 begins",
                commands.join(" and ")
            ),
        }
    }

    /// The view of one rollout; `name` tells it from others.
    pub(super) fn view(&self, place: &Place, name: Option<String>) -> View<'_> {
        let spinner = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}{msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.set_prefix(name.as_ref().map(|name| drawn(&format!("{name}: "))).unwrap_or_default());
            bar.enable_steady_tick(TICK);
            bar
        });
        View { screen: self, place: place.clone(), name, spinner }
    }
}

/// One rollout on the screen.
pub(super) struct View<'a> {
    screen: &'a Screen,
    place: Place,
    name: Option<String>,
    spinner: Option<ProgressBar>,
}

impl View<'_> {
    pub(super) fn say(&self, text: &str) {
        match &self.name {
            Some(name) => self.screen.say(&format!("{name}: {text}")),
            None => self.screen.say(text),
        }
    }

    /// Takes a line of a log in. Whether they are wanted was asked before.
    pub(super) fn hear_log(&self, logged: &Logged<'_>) {
        let line = logs::line(logged);
        match &self.name {
            Some(name) => self.screen.put(&format!("{name}: {line}")),
            None => self.screen.put(&line),
        }
    }

    /// Takes one entry of the record in.
    pub(super) fn hear(&self, heard: &Heard<'_>) {
        let mut open = self.screen.open.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(heard.entry, Entry::Finished { .. }) {
            open.retain(|one| one.rollout != heard.rollout);
        } else {
            let at = open.iter().position(|one| one.rollout == heard.rollout).unwrap_or_else(|| {
                open.push(Open::new(heard.rollout, &self.place));
                open.len() - 1
            });
            open[at].hear(heard.entry);
        }
        drop(open);
        if let (Some(spinner), Entry::Stage { phase, step }) = (&self.spinner, heard.entry) {
            spinner.set_message(match step {
                Some(step) => drawn(&format!("{phase}, {step}")),
                None => phase.to_string(),
            });
        }
        match heard.entry {
            Entry::Begun { .. } | Entry::Resumed { .. } => {
                self.say(&format!("rollout {}: {}", heard.rollout, heard.line));
            }
            _ => self.say(heard.line),
        }
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
