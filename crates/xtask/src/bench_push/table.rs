//! The goals, what was measured, and whether that is enough.

use super::Case;
use crate::error::Error;
use crate::report::Report;

/// A goal for a time: at most so many seconds, and so much of what the others take. What is not judged is `f64::MAX`.
#[derive(Clone, Copy)]
pub(super) struct Goal {
    pub(super) id: &'static str,
    pub(super) text: &'static str,
    pub(super) limit: f64,
    pub(super) crane: f64,
    pub(super) skopeo: f64,
}

impl Goal {
    pub(super) const fn limit(id: &'static str, text: &'static str, limit: f64) -> Self {
        Self { id, text, limit, crane: f64::MAX, skopeo: f64::MAX }
    }

    fn words(self) -> String {
        let mut words = Vec::new();
        for (factor, unit) in [(self.limit, " s"), (self.crane, " crane"), (self.skopeo, " skopeo")] {
            if factor < f64::MAX {
                words.push(format!("{factor:.2}{unit}"));
            }
        }
        format!("<= {}", words.join(", "))
    }
}

struct Row {
    id: &'static str,
    text: String,
    goal: String,
    /// Ours, crane's, skopeo's.
    figures: [String; 3],
    met: bool,
}

/// One row a goal.
#[derive(Default)]
pub(super) struct Table(Vec<Row>);

impl Table {
    pub(super) fn times(&mut self, goal: Goal, case: &Case) {
        let figures = [case.ours.seconds(), case.crane.seconds(), case.skopeo.seconds()];
        let [ours, crane, skopeo] = figures;
        let within = |limit: f64, base: Option<f64>| match (ours, base) {
            (Some(ours), Some(base)) if limit < f64::MAX => ours <= limit * base,
            _ => true,
        };
        let met = within(goal.limit, Some(1.0)) && within(goal.crane, crane) && within(goal.skopeo, skopeo);
        let met = ours.is_some() && met;
        self.row(goal.id, goal.text, goal.words(), figures.map(|figure| number(figure, " s")), met);
    }

    pub(super) fn memory(&mut self, id: &'static str, most: u64, cases: &[&Case]) {
        let highest = |costs: fn(&Case) -> Option<u64>| cases.iter().filter_map(|case| costs(case)).max();
        let figures = [
            highest(|case| case.ours.megabytes()),
            highest(|case| case.crane.megabytes()),
            highest(|case| case.skopeo.megabytes()),
        ];
        let met = figures[0].is_some_and(|ours| ours <= most);
        let words = figures
            .map(|figure| figure.map_or_else(|| "-".to_owned(), |megabytes| format!("{megabytes} MB")));
        self.row(id, "peak resident size in P1 to P4", format!("<= {most} MB"), words, met);
    }

    pub(super) fn factors(&mut self, id: &'static str, text: &str, most: f64, figures: [Option<f64>; 3]) {
        let met = figures[0].is_some_and(|ours| ours <= most);
        self.row(id, text, format!("<= {most:.2} x blob"), figures.map(|figure| number(figure, " x")), met);
    }

    pub(super) fn check(&mut self, id: &'static str, text: &str, holds: bool) {
        let word = if holds { "yes" } else { "no" };
        self.word(id, text, "yes".to_owned(), word.to_owned(), holds);
    }

    /// Tests that were run, all of which have to pass.
    pub(super) fn tests(&mut self, id: &'static str, text: &str, passed: u64, failed: u64) {
        let holds = passed > 0 && failed == 0;
        self.word(id, text, "all pass".to_owned(), format!("{passed}/{}", passed + failed), holds);
    }

    fn word(&mut self, id: &'static str, text: &str, goal: String, word: String, holds: bool) {
        self.row(id, text, goal, [word, String::new(), String::new()], holds);
    }

    fn row(&mut self, id: &'static str, text: &str, goal: String, figures: [String; 3], met: bool) {
        self.0.push(Row { id, text: text.to_owned(), goal, figures, met });
    }

    pub(super) fn print(&self, report: Report) {
        let line = |id: &str, text: &str, goal: &str, figures: [&str; 3], verdict: &str| {
            let [ours, crane, skopeo] = figures;
            let text = format!("push: {id:<3}{text:<42}{ours:>9}{crane:>9}{skopeo:>9}  {verdict:<5}{goal}");
            report.plain(text.trim_end());
        };
        line("", "", "goal", ["ours", "crane", "skopeo"], "");
        for row in &self.0 {
            let verdict = if row.met { "ok" } else { "MISS" };
            line(row.id, &row.text, &row.goal, row.figures.each_ref().map(String::as_str), verdict);
        }
        report.plain("push: `-` is not installed, cannot do it, or gave up; memory is the highest, the rest are medians");
    }

    /// An error if a goal is missed.
    pub(super) fn verdict(&self) -> Result<(), Error> {
        let missed: Vec<&Row> = self.0.iter().filter(|row| !row.met).collect();
        if missed.is_empty() {
            return Ok(());
        }
        let found: Vec<String> = missed.iter().map(|row| format!("{}: {}", row.id, row.text)).collect();
        Err(Error::Promise { promise: "every goal of pushing is met", found: found.join("; ") })
    }
}

fn number(figure: Option<f64>, unit: &str) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.3}{unit}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::measure::{Cost, Costs};
    use super::*;

    fn costs(millis: &[u64]) -> Costs {
        let mut costs = Costs::default();
        for millis in millis {
            costs.push(Cost { wall: Duration::from_millis(*millis), rss_kib: 1000 });
        }
        costs
    }

    #[test]
    fn a_goal_is_met_only_if_every_part_of_it_is() {
        let goal = Goal { id: "P1", text: "x", limit: 2.0, crane: 0.5, skopeo: 0.5 };
        let met = |ours: u64, crane: &[u64], skopeo: &[u64]| {
            let mut table = Table::default();
            let case = Case { ours: costs(&[ours, 9000, 1]), crane: costs(crane), skopeo: costs(skopeo) };
            table.times(goal, &case);
            table.verdict().is_ok()
        };
        assert!(met(1500, &[4000], &[3000]));
        assert!(!met(2100, &[9000], &[9000]), "the limit");
        assert!(!met(1500, &[2900], &[9000]), "crane");
        assert!(!met(1500, &[9000], &[2900]), "skopeo");
        assert!(met(1500, &[], &[]), "who is not there is not compared with");
    }
}
