//! What may pass.

use jiff::{SignedDuration, civil::Date};

use super::{Scan, Waiver, Waivers};
use crate::{Finding, Severity};

/// How old a database may be before that is said. Those of Trivy and Grype are made anew at least every day.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The rule.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    /// From which severity on a finding refuses; none refuses without it.
    pub fail_on: Option<Severity>,
    /// Leave out what no version fixes.
    pub ignore_unfixed: bool,
}

/// A finding that does not count.
#[derive(Debug, Clone)]
pub struct Waived {
    /// The finding.
    pub finding: Finding,
    /// The waiver that says so.
    pub waiver: Waiver,
}

/// What came of it.
#[derive(Debug)]
pub struct Judged {
    /// What counts, the worst first.
    pub findings: Vec<Finding>,
    /// What was waived.
    pub waived: Vec<Waived>,
    /// How many were left out because nothing fixes them.
    pub unfixed: usize,
    /// How many of `findings` refuse.
    pub refusing: usize,
    /// What should be known about it: waivers that ran out, that nothing needs and that hold for long, databases of long ago.
    pub warnings: Vec<String>,
}

impl Gate {
    /// Judges a scan on a day.
    ///
    /// A finding of unknown severity refuses nothing, and is warned of: whether it matters is for a person to say.
    #[must_use]
    pub fn judge(&self, scan: &Scan, waivers: &Waivers, today: Date) -> Judged {
        let mut judged = Judged {
            findings: Vec::new(),
            waived: Vec::new(),
            unfixed: 0,
            refusing: 0,
            warnings: Vec::new(),
        };
        let mut used = vec![false; waivers.0.len()];
        for finding in &scan.findings {
            let mut by = None;
            for (waiver, used) in waivers.0.iter().zip(&mut used) {
                if waiver.covers(finding) {
                    *used = true;
                    by = by.or_else(|| (!waiver.is_expired(today)).then_some(waiver));
                }
            }
            if let Some(waiver) = by {
                judged.waived.push(Waived { finding: finding.clone(), waiver: waiver.clone() });
            } else if self.ignore_unfixed && finding.package.is_some() && finding.fixed.is_none() {
                judged.unfixed += 1;
            } else {
                judged.refusing += usize::from(self.fail_on.is_some_and(|least| finding.severity >= least));
                judged.findings.push(finding.clone());
            }
        }
        for (waiver, used) in waivers.0.iter().zip(used) {
            let about = waiver.package.as_ref().map(|name| format!(" for `{name}`")).unwrap_or_default();
            if !used {
                judged
                    .warnings
                    .push(format!("the waiver of `{}`{about} fits no finding; remove it", waiver.id));
            } else if waiver.is_expired(today) {
                judged.warnings.push(format!(
                    "the waiver of `{}`{about} ran out on {}; it does not count",
                    waiver.id, waiver.expires
                ));
            } else if waiver.is_far(today) {
                judged.warnings.push(format!(
                    "the waiver of `{}`{about} holds until {}, for more than a year; give it an end that somebody will see",
                    waiver.id, waiver.expires
                ));
            }
        }
        for (tool, made) in &scan.databases {
            if made.checked_add(MAX_AGE).is_ok_and(|last| last < today) {
                judged.warnings.push(format!(
                    "the database of {tool} is from {made}: what became known since is not looked up"
                ));
            }
        }
        let unknown = judged.findings.iter().filter(|finding| finding.severity == Severity::Unknown).count();
        if unknown > 0 && self.fail_on.is_some() {
            judged.warnings.push(format!(
                "{unknown} findings have no known severity; the threshold says nothing about them"
            ));
        }
        judged
    }
}

impl Judged {
    /// Whether the image may pass.
    #[must_use]
    pub const fn passes(&self) -> bool {
        self.refusing == 0
    }

    /// How many of the findings that count have this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}
