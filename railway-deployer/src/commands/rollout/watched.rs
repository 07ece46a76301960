//! What a watched rollout looks like on a terminal.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline};
use spectra_rollout::{Entry, Phase, RolloutRequest, Verdict};

/// So many lines and measurements are kept.
const KEPT: usize = 500;
/// The height of a sparkline with its title.
const SPARK: u16 = 3;

/// A rollout as far as it was read.
pub(super) struct Watched {
    rollout: String,
    request: RolloutRequest,
    begun: Option<Timestamp>,
    last: Option<Timestamp>,
    phase: Option<Phase>,
    step: Option<String>,
    /// Titles of the steps, and how far each is.
    steps: Vec<(String, Mark)>,
    health: VecDeque<bool>,
    metrics: BTreeMap<String, Series>,
    lines: VecDeque<(Timestamp, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Ahead,
    Now,
    Done,
}

#[derive(Default)]
struct Series {
    values: VecDeque<f64>,
    verdict: String,
}

impl Watched {
    pub(super) fn new(rollout: &str, request: RolloutRequest) -> Self {
        let steps = request.all_steps().iter().map(|step| (step.title(), Mark::Ahead)).collect();
        Self {
            rollout: rollout.to_owned(),
            request,
            begun: None,
            last: None,
            phase: None,
            step: None,
            steps,
            health: VecDeque::new(),
            metrics: BTreeMap::new(),
            lines: VecDeque::new(),
        }
    }

    pub(super) fn rollout(&self) -> &str {
        &self.rollout
    }

    /// Takes one entry in, with its line for people.
    pub(super) fn take(&mut self, at: Timestamp, entry: &Entry, line: &str) {
        self.begun.get_or_insert(at);
        self.last = Some(at);
        keep(&mut self.lines, (at, line.to_owned()));
        match entry {
            Entry::Stage { phase, step } => {
                self.phase = Some(*phase);
                self.step.clone_from(step);
                self.mark();
            }
            Entry::Finished { outcome } => {
                self.phase = Some(outcome.phase());
                self.step = None;
                self.mark();
            }
            Entry::Measured { measurement, .. } => {
                keep(&mut self.health, measurement.verdict == Verdict::Healthy);
            }
            Entry::Sampled { metric, sampled, verdict, .. } => {
                let series = self.metrics.entry(metric.clone()).or_default();
                series.verdict.clone_from(verdict);
                let value = sampled.answer.as_ref().ok().and_then(|sample| sample.value);
                if let Some(value) = value.filter(|value| value.is_finite()) {
                    keep(&mut series.values, value);
                }
            }
            _ => {}
        }
    }

    /// Takes a line of a log in.
    pub(super) fn print(&mut self, at: Timestamp, line: String) {
        keep(&mut self.lines, (at, line));
    }

    /// Steps are taken in order: what stands before the one that is named is done. On the way back none is.
    fn mark(&mut self) {
        let complete = self.phase == Some(Phase::Complete);
        // Behind the steps up to the bake come the contract migrations, which are named when they run.
        let baking = self.phase == Some(Phase::Baking);
        let named =
            self.step.as_ref().and_then(|step| self.steps.iter().position(|(title, _)| step.contains(title)));
        let now = match named {
            Some(position) => position,
            None if complete => self.steps.len(),
            None if baking => self.steps.iter().filter(|(_, mark)| *mark != Mark::Ahead).count(),
            None => return,
        };
        for (position, (_, mark)) in self.steps.iter_mut().enumerate() {
            *mark = match position.cmp(&now) {
                std::cmp::Ordering::Less => Mark::Done,
                std::cmp::Ordering::Equal if named.is_some() => Mark::Now,
                _ => *mark,
            };
        }
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let charts = u16::try_from(self.metrics.len() + usize::from(self.request.health.is_some()))
            .unwrap_or(4)
            .min(4);
        let [head, middle, lines, foot] = Layout::vertical([
            Constraint::Length(4),
            Constraint::Length(
                (charts * SPARK).max(u16::try_from(self.steps.len()).unwrap_or(8).min(12) + 2),
            ),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        self.draw_head(frame, head);
        let [steps, measured] =
            Layout::horizontal([Constraint::Percentage(35), Constraint::Min(20)]).areas(middle);
        self.draw_steps(frame, steps);
        self.draw_measured(frame, measured);
        self.draw_lines(frame, lines);
        frame.render_widget(Paragraph::new("q leaves; the rollout goes on"), foot);
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect) {
        let phase = self.phase.map_or("", Phase::as_str);
        let color = match self.phase {
            Some(Phase::Complete) => Color::Green,
            Some(Phase::RollingBack | Phase::RolledBack | Phase::RollbackFailed | Phase::Refused) => {
                Color::Red
            }
            _ => Color::Yellow,
        };
        let elapsed = match (self.begun, self.last) {
            (Some(begun), Some(last)) => last.duration_since(begun).as_secs(),
            _ => 0,
        };
        let step = self.step.as_ref().map(|step| format!(" ({step})")).unwrap_or_default();
        let text = vec![
            Line::from(format!("{}  {}", self.rollout, self.request.place)),
            Line::from(self.request.candidate.to_string()),
            Line::from(vec![
                Span::styled(phase.to_owned(), Style::new().fg(color).add_modifier(Modifier::BOLD)),
                Span::raw(format!("{step}  {elapsed} s")),
            ]),
        ];
        frame.render_widget(Paragraph::new(text), area);
    }

    fn draw_steps(&self, frame: &mut Frame<'_>, area: Rect) {
        let lines: Vec<_> = self
            .steps
            .iter()
            .map(|(title, mark)| {
                // By a sign, not by colour alone.
                let (sign, style) = match mark {
                    Mark::Ahead => ("·", Style::new()),
                    Mark::Now => ("▶", Style::new().add_modifier(Modifier::BOLD)),
                    Mark::Done => ("✓", Style::new().fg(Color::Green)),
                };
                Line::styled(format!("{sign} {title}"), style)
            })
            .collect();
        frame.render_widget(Paragraph::new(lines).block(Block::bordered().title("steps")), area);
    }

    fn draw_measured(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut rows: Vec<(String, Vec<u64>)> = Vec::new();
        if self.request.health.is_some() {
            let bad = self.health.iter().filter(|good| !**good).count();
            let title = format!("health: {} probes, {bad} unhealthy", self.health.len());
            rows.push((title, self.health.iter().map(|good| if *good { 100 } else { 10 }).collect()));
        }
        for (name, series) in &self.metrics {
            let last = series.values.back().map_or_else(|| "no data".to_owned(), ToString::to_string);
            rows.push((format!("{name}: {last}, {}", series.verdict), scaled(&series.values)));
        }
        let areas = Layout::vertical(rows.iter().map(|_| Constraint::Length(SPARK))).split(area);
        for ((title, data), area) in rows.iter().zip(areas.iter()) {
            let width = usize::from(area.width);
            let shown = &data[data.len().saturating_sub(width)..];
            let spark = Sparkline::default()
                .block(Block::new().title(title.as_str()))
                .data(shown.iter().copied())
                .max(100);
            frame.render_widget(spark, *area);
        }
    }

    fn draw_lines(&self, frame: &mut Frame<'_>, area: Rect) {
        let room = usize::from(area.height.saturating_sub(2));
        let skipped = self.lines.len().saturating_sub(room);
        let lines: Vec<_> = self
            .lines
            .iter()
            .skip(skipped)
            .map(|(at, line)| Line::from(format!("{} {line}", at.strftime("%H:%M:%S"))))
            .collect();
        let block = Block::bordered().title("record");
        // Cut rather than wrapped: the newest line is always in sight.
        frame.render_widget(Paragraph::new(lines).block(block), area);
    }
}

fn keep<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == KEPT {
        list.pop_front();
    }
    list.push_back(item);
}

/// From 0 to 100, of the greatest value; what is below zero is at the bottom.
fn scaled(values: &VecDeque<f64>) -> Vec<u64> {
    let most = values.iter().copied().fold(0.0, f64::max);
    let part = |value: f64| if most > 0.0 { (value / most * 100.0).clamp(0.0, 100.0) } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 100")]
    values.iter().map(|value| part(*value).round() as u64).collect()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use spectra_rollout::{HealthPolicy, Measurement, Place};

    use super::*;

    fn watched() -> Watched {
        let place = Place {
            project: "p-1".parse().unwrap(),
            environment: "e-1".parse().unwrap(),
            service: "s-1".parse().unwrap(),
        };
        let image = format!("ghcr.io/team/web@sha256:{}", "a".repeat(64)).parse().unwrap();
        let mut request = RolloutRequest::new(place, image);
        request.health = Some(HealthPolicy::default());
        Watched::new("ro-1", request)
    }

    fn shown(watched: &Watched) -> String {
        let mut terminal = Terminal::new(TestBackend::new(64, 14)).unwrap();
        terminal.draw(|frame| watched.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn steps_health_and_the_record_are_on_one_screen() {
        let mut watched = watched();
        let at: Timestamp = "2026-08-01T12:00:00Z".parse().unwrap();
        for (index, verdict) in
            [Verdict::Unhealthy, Verdict::Healthy, Verdict::Healthy].into_iter().enumerate()
        {
            let entry = Entry::Stage { phase: Phase::Probing, step: Some("swap".to_owned()) };
            watched.take(at, &entry, &entry.line());
            let measurement =
                Measurement { subject: "GET /".to_owned(), answer: format!("answer {index}"), verdict };
            let entry = Entry::Measured { place: watched.request.place.clone(), measurement };
            watched.take(at, &entry, &entry.line());
        }
        insta::assert_snapshot!(shown(&watched), @r#"
        "ro-1  service `s-1` in environment `e-1`                        "
        "ghcr.io/team/web@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "probing (swap)  0 s                                             "
        "                                                                "
        "┌steps───────────────┐health: 3 probes, 1 unhealthy             "
        "│▶ swap              │ ██                                       "
        "└────────────────────┘▁██                                       "
        "┌record────────────────────────────────────────────────────────┐"
        "│12:00:00 phase probing (swap)                                 │"
        "│12:00:00 healthy: GET / → answer 1                            │"
        "│12:00:00 phase probing (swap)                                 │"
        "│12:00:00 healthy: GET / → answer 2                            │"
        "└──────────────────────────────────────────────────────────────┘"
        "q leaves; the rollout goes on                                   "
        "#);
    }

    #[test]
    fn a_number_is_seen_beside_the_greatest() {
        assert_eq!(scaled(&VecDeque::from([0.0, 1.0, 2.0, -3.0])), [0, 50, 100, 0]);
        assert_eq!(scaled(&VecDeque::from([0.0])), [0]);
    }
}
