//! What is known to be wrong with an image: scanners, waivers, and the gate.

mod gate;
mod grype;
mod layers;
mod trivy;
mod waivers;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ffi::OsStr,
    path::Path,
    time::Duration,
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

pub use gate::{Gate, Judged, Waived};
pub use layers::Layers;
pub use waivers::{Waiver, Waivers};

use crate::{
    Error, Finding, Tool,
    environment::{Environment, of_process},
    sarif,
    text::plain,
    tool::{Setting, no_settings},
};

/// A scanner of images.
#[derive(Debug, Clone)]
pub enum Scanner {
    /// Aqua's Trivy.
    Trivy(Tool),
    /// Anchore's Grype.
    Grype(Tool),
}

/// What to do when there is none.
const ADVICE: &str = "install Trivy (https://trivy.dev) or Grype (https://github.com/anchore/grype), or run another scanner and give its \
                      report: `--scanner sarif --sarif FILE`";

impl Scanner {
    /// Trivy if it is on PATH, else Grype.
    pub fn find() -> Result<Self, Error> {
        let trivy = Tool::find("trivy").map(Self::Trivy);
        trivy.or_else(|| Tool::find("grype").map(Self::Grype)).ok_or(Error::NoTool {
            attempt: "scan the image",
            missing: "neither `trivy` nor `grype` is on PATH",
            advice: ADVICE,
        })
    }

    /// Trivy, if it is on PATH.
    pub fn trivy() -> Result<Self, Error> {
        let missing =
            Error::NoTool { attempt: "scan the image", missing: "`trivy` is not on PATH", advice: ADVICE };
        Tool::find("trivy").map(Self::Trivy).ok_or(missing)
    }

    /// Grype, if it is on PATH.
    pub fn grype() -> Result<Self, Error> {
        let missing =
            Error::NoTool { attempt: "scan the image", missing: "`grype` is not on PATH", advice: ADVICE };
        Tool::find("grype").map(Self::Grype).ok_or(missing)
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Trivy(tool) | Self::Grype(tool) => tool.name(),
        }
    }
}

/// What scanners found.
#[derive(Debug, Default)]
pub struct Scan {
    /// The findings, each once, the worst first.
    pub findings: Vec<Finding>,
    /// The scanners that ran or whose reports were read.
    pub tools: Vec<String>,
    /// What should be known about it.
    pub notes: Vec<String>,
    /// Of scanners that say so, the day on which their database was made, in UTC.
    pub databases: BTreeMap<String, Date>,
}

/// Has a scanner look into an OCI layout that holds the one image.
///
/// `layers` are those of the image, by which findings name them, also where the layout has them compressed and the image does not.
/// `directory` is where it runs: an empty one, since scanners read settings and lists of ignored findings from where they are.
/// A scanner that fails is an error: its silence says nothing about the image.
pub async fn scan(
    scanner: &Scanner,
    layout: &Path,
    layers: &Layers,
    directory: &Path,
    timeout: Duration,
) -> Result<Scan, Error> {
    scan_from(&of_process(), scanner, layout, layers, directory, timeout).await
}

/// [`scan`] in an environment that need not be the process's own.
async fn scan_from(
    environment: &Environment,
    scanner: &Scanner,
    layout: &Path,
    layers: &Layers,
    directory: &Path,
    timeout: Duration,
) -> Result<Scan, Error> {
    let (tool, arguments, own, with) = match scanner {
        Scanner::Trivy(tool) => (tool, trivy::arguments(layout), trivy::OWN, &[][..]),
        Scanner::Grype(tool) => {
            (tool, grype::arguments(layout, no_settings(directory)?), grype::OWN, &grype::WITH[..])
        }
    };
    let with: Vec<_> = with.iter().map(|(name, value)| (*name, OsStr::new(*value))).collect();
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    let setting = Setting { directory, environment, own, with: &with, timeout };
    let bytes = tool.run(&arguments, &setting).await?;
    let mut scan = match scanner {
        Scanner::Trivy(_) => {
            let mut scan = trivy::parse(&bytes, layers)?;
            // Without an answer the scan is worth as much as with one.
            let answer = tool.run(&trivy::VERSION.map(OsStr::new), &setting).await.unwrap_or_default();
            scan.databases.extend(trivy::database(&answer).map(|day| (tool.name().to_owned(), day)));
            scan
        }
        Scanner::Grype(_) => grype::parse(&bytes, layers)?,
    };
    scan.tidy();
    Ok(scan)
}

/// The day of a time that a scanner has written, in UTC. A time that is not known is written as the first day of the year 1.
fn day(time: &str) -> Option<Date> {
    let time: Timestamp = time.parse().ok()?;
    Some(TimeZone::UTC.to_datetime(time).date()).filter(|day| day.year() > 1)
}

impl Scan {
    /// Reads the reports of other scanners; each is a name for messages and the bytes.
    pub fn from_sarif(reports: &[(String, Vec<u8>)]) -> Result<Self, Error> {
        let mut scan = Self::default();
        for (name, bytes) in reports {
            let log = sarif::read(&format!("`{name}`"), bytes)?;
            if log.suppressed > 0 {
                scan.notes.push(format!(
                    "`{name}` itself suppresses {} results; they do not count",
                    log.suppressed
                ));
            }
            scan.notes.extend(log.doubts.iter().map(|doubt| format!("`{name}` {doubt}")));
            scan.findings.extend(log.findings);
            scan.tools.extend(log.tools);
        }
        scan.tidy();
        Ok(scan)
    }

    /// Puts the findings of another scan to these.
    pub fn merge(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.tools.extend(other.tools);
        self.notes.extend(other.notes);
        self.databases.extend(other.databases);
        self.tidy();
    }

    /// The worst first; what was found twice at one place once, with the worse of what is said of it. So no report makes another
    /// one weaker.
    fn tidy(&mut self) {
        Finding::sort(&mut self.findings);
        let mut places = BTreeMap::new();
        let mut once: Vec<Finding> = Vec::new();
        for finding in self.findings.drain(..) {
            match places.entry((finding.fingerprint.clone(), finding.installed.clone())) {
                Entry::Vacant(place) => {
                    place.insert(once.len());
                    once.push(finding);
                }
                Entry::Occupied(place) => once[*place.get()].join(finding),
            }
        }
        self.findings = once;
        for note in &mut self.notes {
            *note = plain(note);
        }
        self.tools.sort();
        self.tools.dedup();
    }
}

#[cfg(test)]
mod tests;
